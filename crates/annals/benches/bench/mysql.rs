//! The worker emptying a queue into the MariaDB store, beside plain SQL.

use std::sync::Arc;
use std::time::Instant;

use annals::store::Record;
use annals::store::mysql::MysqlStore;
use annals::transport::memory::MemoryTransport;
use annals_testbed::mariadb::Mariadb;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection};

use crate::Outcome;
use crate::drain::{Load, drain, records};
use crate::row::{Row, Target};

const ROUNDS: usize = 5;
const EVENTS: u32 = 20_000;
const BATCH: usize = 1_000;

/// As a server of some size is set, and as durable as it is by default.
const CALM: &[&str] = &["innodb-buffer-pool-size=1G", "innodb-log-file-size=1G"];

/// From memory, so that the store is all of it, beside INSERTs of a thousand rows each
/// into the same table, with all values bound: without a log, positions or the look at
/// what is there already.
pub fn run_store() -> Outcome {
    let server = Mariadb::start(CALM)?;
    let records = records(EVENTS)?;
    let (mut ours, mut reference) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let one = ours_into(&server, &records)?;
        let other = plain_into(&server, &records)?;
        // The first round warms up.
        if round > 0 {
            ours.push(one);
            reference.push(other);
        }
    }
    let what = format!(
        "drain, memory to MariaDB, log included, batches of {BATCH}, one worker, beside multi-row INSERT"
    );
    let target = Some(Target::RatioAtLeast(0.65));
    Row { bench: "drain-mariadb", what: &what, unit: "events/s", ours, reference, target }.print();
    Ok(())
}

fn ours_into(server: &Mariadb, records: &[Record]) -> Outcome<f64> {
    let url = server.database();
    let store = crate::runtime()?.block_on(MysqlStore::open(&url))?;
    let load = Load { records, batch: BATCH, workers: 1 };
    let rate = drain(Arc::new(MemoryTransport::new()), Arc::new(store), load);
    forget(server, &url);
    rate
}

fn plain_into(server: &Mariadb, records: &[Record]) -> Outcome<f64> {
    let url = server.database();
    let rate = crate::runtime()?.block_on(async {
        MysqlStore::open(&url).await?;
        let mut connection = MySqlConnection::connect(&url).await?;
        let rows = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"; BATCH].join(", ");
        let sql = format!(
            "INSERT INTO annals_events (id, occurred_at, append, place, salt, action, outcome, \
             entity_type, entity_id, actor_type, actor_id, tenant, request_id, body) VALUES {rows}"
        );
        let begun = Instant::now();
        for (append, batch) in (0_i64..).zip(records.chunks_exact(BATCH)) {
            let mut insert = sqlx::query(AssertSqlSafe(sql.as_str()));
            for (place, record) in (0_i32..).zip(batch) {
                insert = insert
                    .bind(&record.id.as_bytes()[..])
                    .bind(record.occurred_at.as_micros())
                    .bind(append)
                    .bind(place)
                    .bind(&[0_u8; 32][..])
                    .bind(record.action().as_bytes())
                    .bind(record.outcome().as_bytes())
                    .bind(record.entity_type().as_bytes())
                    .bind(record.entity_id().map(str::as_bytes))
                    .bind(record.actor_type().map(str::as_bytes))
                    .bind(record.actor_id().map(str::as_bytes))
                    .bind(record.tenant().map(str::as_bytes))
                    .bind(record.request_id().map(str::as_bytes))
                    .bind(record.body());
            }
            insert.execute(&mut connection).await?;
        }
        Ok(f64::from(EVENTS) / begun.elapsed().as_secs_f64())
    });
    forget(server, &url);
    rate
}

fn forget(server: &Mariadb, url: &str) {
    server.sql("", &format!("DROP DATABASE {}", url.rsplit('/').next().unwrap_or_default()));
}
