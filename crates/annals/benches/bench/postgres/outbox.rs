//! `record_in` in a PostgreSQL transaction that writes one row, beside the same
//! transaction with one more plain insert of the same bytes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::transport::memory::MemoryTransport;
use annals::transport::postgres::PostgresTransport;
use annals::{Audit, AuditOptions, Event};
use annals_testbed::postgres::Postgres;
use sqlx::postgres::{PgPool, PgPoolOptions};

use crate::Outcome;
use crate::product::{Product, encoded, scope};
use crate::row::{Row, Target};

/// Many and short, in turns: the disk's speed drifts, and with it every commit's.
const ROUNDS: usize = 41;
const LENGTH: Duration = Duration::from_millis(300);
const WRITERS: [u32; 2] = [1, 16];

/// How a transaction tells of what it wrote.
#[derive(Clone)]
enum Way {
    Ours(Audit),
    Plain(Arc<Vec<u8>>),
}

pub fn run() -> Outcome {
    let server = Postgres::start(&[])?;
    let url = server.database();
    let runtime = crate::runtime()?;
    let (audit, pool) = runtime.block_on(async {
        PostgresTransport::open(&url).await?;
        let pool = PgPoolOptions::new().max_connections(16).connect(&url).await?;
        for table in [
            "CREATE TABLE product (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, price bigint)",
            "CREATE TABLE plain (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
             event uuid NOT NULL DEFAULT gen_random_uuid(), at timestamptz NOT NULL DEFAULT now(), \
             body bytea NOT NULL)",
        ] {
            sqlx::query(table).execute(&pool).await?;
        }
        let nowhere = Arc::new(MemoryTransport::new());
        Outcome::Ok((Audit::start(nowhere, AuditOptions::default())?, pool))
    })?;
    let ways = [Way::Ours(audit.clone()), Way::Plain(Arc::new(encoded(42, 7)?.1))];
    for writers in WRITERS {
        let (mut ours, mut reference) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let mut took = [0.0; 2];
            // Neither is always the one that goes first.
            for turn in [round % 2, 1 - round % 2] {
                took[turn] = runtime.block_on(transactions(&pool, writers, ways[turn].clone()))?;
            }
            // The first round warms up.
            if round > 0 {
                ours.push(took[0]);
                reference.push(took[1]);
            }
        }
        let what = format!("`record_in`, PostgreSQL, writers: {writers}, beside a plain insert");
        let target = Some(Target::RatioAtMost(1.0));
        Row { bench: "outbox", what: &what, unit: "us", ours, reference, target }.print();
    }
    audit.shutdown_blocking(Duration::from_secs(5))?;
    Ok(())
}

/// The mean time of a transaction, in microseconds.
async fn transactions(pool: &PgPool, writers: u32, way: Way) -> Outcome<f64> {
    let until = Instant::now() + LENGTH;
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let (pool, way) = (pool.clone(), way.clone());
            tokio::spawn(scope().around(one_writer(pool, way, until)))
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await??;
    }
    Ok(LENGTH.as_secs_f64() * 1e6 * f64::from(writers) / f64::from(done))
}

async fn one_writer(pool: PgPool, way: Way, until: Instant) -> Outcome<u32> {
    let (before, after) = Product::change(42, 7);
    let mut done = 0;
    while Instant::now() < until {
        let mut tx = pool.begin().await?;
        sqlx::query("INSERT INTO product (price) VALUES ($1)")
            .bind(i64::from(done))
            .execute(&mut *tx)
            .await?;
        match &way {
            Way::Ours(audit) => {
                let event = Event::updated(&before, &after)?.ok_or("nothing changed")?;
                audit.record_in(&mut *tx, event).await?;
            }
            Way::Plain(body) => {
                sqlx::query("INSERT INTO plain (body) VALUES ($1)")
                    .bind(body.as_slice())
                    .execute(&mut *tx)
                    .await?;
            }
        }
        tx.commit().await?;
        done += 1;
    }
    Ok(done)
}
