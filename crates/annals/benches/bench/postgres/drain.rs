//! The worker emptying a queue into the PostgreSQL store, beside plain SQL.

use std::sync::Arc;

use annals::store::Record;
use annals::store::postgres::PostgresStore;
use annals::transport::memory::MemoryTransport;
use annals::transport::postgres::PostgresTransport;
use annals_testbed::postgres::Postgres;
use sqlx::postgres::PgPool;

use super::logless::Logless;
use super::{CALM, plain};
use crate::Outcome;
use crate::drain::{Load, drain, records};
use crate::row::{Row, Target};

pub const ROUNDS: usize = 7;
pub const EVENTS: u32 = 60_000;
pub const BATCH: usize = 1_000;

/// From memory into the store, beside the same worker into the same table without a log.
pub fn run_log() -> Outcome {
    let server = Postgres::start(CALM)?;
    let records = records(EVENTS)?;
    let (mut ours, mut reference) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let one = ours_into(&server, &records, 1)?;
        let other = logless_into(&server, &records)?;
        // The first round warms up.
        if round > 0 {
            ours.push(one);
            reference.push(other);
        }
    }
    let what =
        format!("drain, memory to PostgreSQL, batches of {BATCH}, with the log, beside without it");
    let target = Some(Target::RatioAtLeast(0.9));
    Row { bench: "log-postgres", what: &what, unit: "events/s", ours, reference, target }.print();
    Ok(())
}

fn logless_into(server: &Postgres, records: &[Record]) -> Outcome<f64> {
    let url = server.database();
    let store = crate::runtime()?.block_on(async {
        // For its tables.
        PostgresStore::open(&url).await?;
        Logless::open(&url).await
    })?;
    let load = Load { records, batch: BATCH, workers: 1 };
    let rate = drain(Arc::new(MemoryTransport::new()), Arc::new(store), load);
    server.sql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", name(&url)));
    rate
}

/// From memory, so that the store is all of it, beside COPY into the same table.
pub fn run_store() -> Outcome {
    let server = Postgres::start(CALM)?;
    let records = records(EVENTS)?;
    for (workers, target) in [(1, 0.8), (2, 0.75)] {
        let (mut ours, mut reference) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let one = ours_into(&server, &records, workers)?;
            let other = plain_into(&server, &records, workers)?;
            // The first round warms up.
            if round > 0 {
                ours.push(one);
                reference.push(other);
            }
        }
        let what = format!(
            "drain, memory to PostgreSQL, log included, batches of {BATCH}, workers: {workers}, beside COPY"
        );
        let target = Some(Target::RatioAtLeast(target));
        Row { bench: "drain-postgres", what: &what, unit: "events/s", ours, reference, target }
            .print();
    }
    Ok(())
}

fn ours_into(server: &Postgres, records: &[Record], workers: usize) -> Outcome<f64> {
    let url = server.database();
    let store = crate::runtime()?.block_on(PostgresStore::open(&url))?;
    let load = Load { records, batch: BATCH, workers };
    let rate = drain(Arc::new(MemoryTransport::new()), Arc::new(store), load);
    server.sql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", name(&url)));
    rate
}

/// The rate of a COPY of the same rows.
pub fn plain_into(server: &Postgres, records: &[Record], connections: usize) -> Outcome<f64> {
    let url = server.database();
    let rate = crate::runtime()?.block_on(async {
        PostgresStore::open(&url).await?;
        let pool = PgPool::connect(&url).await?;
        let table = plain::partition(&pool).await?;
        let took = plain::copy(&pool, &table, batches(records), connections).await?;
        Ok(f64::from(EVENTS) / took)
    });
    server.sql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", name(&url)));
    rate
}

/// From the queue to the store of one database, beside the plain statement.
pub fn run_move() -> Outcome {
    let server = Postgres::start(CALM)?;
    let records = records(EVENTS)?;
    let (mut ours, mut reference) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let one = ours_moved(&server, &records)?;
        let other = plain_moved(&server, &records)?;
        if round > 0 {
            ours.push(one);
            reference.push(other);
        }
    }
    let what = format!(
        "drain, queue and store in one PostgreSQL, batches of {BATCH}, beside DELETE into INSERT"
    );
    let target = Some(Target::RatioAtLeast(0.7));
    Row { bench: "move-postgres", what: &what, unit: "events/s", ours, reference, target }.print();
    Ok(())
}

fn ours_moved(server: &Postgres, records: &[Record]) -> Outcome<f64> {
    let url = server.database();
    let (queue, store) = crate::runtime()?.block_on(async {
        Outcome::Ok((PostgresTransport::open(&url).await?, PostgresStore::open(&url).await?))
    })?;
    let load = Load { records, batch: BATCH, workers: 1 };
    let rate = drain(Arc::new(queue), Arc::new(store), load);
    server.sql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", name(&url)));
    rate
}

fn plain_moved(server: &Postgres, records: &[Record]) -> Outcome<f64> {
    let url = server.database();
    let rate = crate::runtime()?.block_on(async {
        PostgresStore::open(&url).await?;
        let pool = PgPool::connect(&url).await?;
        let took = plain::move_all(&pool, batches(records), BATCH).await?;
        Ok(records.len() as f64 / took)
    });
    server.sql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", name(&url)));
    rate
}

/// The rows of each batch.
fn batches(records: &[Record]) -> Vec<Vec<u8>> {
    let batches = (0..).zip(records.chunks(BATCH));
    batches.map(|(number, batch)| plain::rows(batch, number)).collect()
}

fn name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}
