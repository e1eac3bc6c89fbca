//! One statement that updates 10,000 rows of an attached table, beside the usual
//! row-level trigger, and beside no trigger at all.

use std::time::Instant;

use annals::attach::{AttachOptions, Mode, attach};
use annals_testbed::postgres::Postgres;
use sqlx::Executor;
use sqlx::postgres::PgPool;

use super::CALM;
use crate::Outcome;
use crate::row::{Row, Target};

const ROUNDS: usize = 9;

const TABLES: &str = "
    CREATE TABLE ours (id bigint PRIMARY KEY, name text, sku text, price integer, stock integer, note text, \
        active boolean, changed timestamptz, weight numeric, tags text[]);
    CREATE TABLE usual (LIKE ours INCLUDING ALL);
    CREATE TABLE bare (LIKE ours INCLUDING ALL);
    INSERT INTO ours SELECT g, 'product ' || g, 'sku-' || g, g, 5, repeat('x', 100), true, now(), g * 1.5, '{a,b}' \
        FROM generate_series(1, 10000) g;
    INSERT INTO usual SELECT * FROM ours;
    INSERT INTO bare SELECT * FROM ours;
    CREATE TABLE audit (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), \
        table_name text, operation text, who text, old_row jsonb, new_row jsonb);
    CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO audit (table_name, operation, who, old_row, new_row)
            VALUES (tg_table_name, tg_op, current_user, to_jsonb(old), to_jsonb(new));
        RETURN NULL;
    END $$;
    CREATE TRIGGER audit AFTER UPDATE ON usual FOR EACH ROW EXECUTE FUNCTION audit();";

pub fn run() -> Outcome {
    let server = Postgres::start(CALM)?;
    let url = server.database();
    crate::runtime()?.block_on(async {
        let pool = PgPool::connect(&url).await?;
        pool.execute(sqlx::raw_sql(TABLES)).await?;
        attach(&url, &["ours".to_owned()], &AttachOptions::default(), Mode::Apply).await?;
        for (rows, bench) in [("10,000 rows", "10000"), ("one row", "1")] {
            let (mut ours, mut usual, mut bare) = (Vec::new(), Vec::new(), Vec::new());
            for round in 0..=ROUNDS {
                let times = [
                    update(&pool, "ours", bench).await?,
                    update(&pool, "usual", bench).await?,
                    update(&pool, "bare", bench).await?,
                ];
                // The first round warms up.
                if round > 0 {
                    ours.push(times[0]);
                    usual.push(times[1]);
                    bare.push(times[2]);
                }
            }
            // What is not of the table: one row is told of, not held to a bar.
            let target = (bench != "1").then_some(Target::RatioAtMost(1.0));
            let what = format!("UPDATE of {rows} of an attached table, beside a row-level trigger");
            let print = |what: &str, reference, target| {
                let ours = ours.clone();
                Row { bench: "attach", what, unit: "ms", ours, reference, target }.print();
            };
            print(&what, usual, target);
            print(&format!("UPDATE of {rows} of an attached table, beside no trigger"), bare, None);
        }
        Ok(())
    })
}

/// The milliseconds that an update takes, of a table without dead rows.
async fn update(pool: &PgPool, table: &str, rows: &str) -> Outcome<f64> {
    let mut connection = pool.acquire().await?;
    let sql = |text: String| sqlx::AssertSqlSafe(text);
    connection.execute(sql(format!("VACUUM {table}"))).await?;
    let statement = format!("UPDATE {table} SET price = price + 1 WHERE id <= {rows}");
    let mut best = f64::INFINITY;
    // One row takes so little that several must be looked at.
    for _ in 0..if rows == "1" { 50 } else { 1 } {
        let began = Instant::now();
        connection.execute(sql(statement.clone())).await?;
        best = best.min(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(best)
}
