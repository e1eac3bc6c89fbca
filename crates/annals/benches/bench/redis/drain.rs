//! The worker emptying a stream into the PostgreSQL store, beside a plain COPY.

use std::sync::Arc;

use annals::store::Record;
use annals::store::postgres::PostgresStore;
use annals::transport::redis::RedisTransport;
use annals_testbed::postgres::Postgres;
use annals_testbed::redis::{DURABLE, Redis};

use crate::Outcome;
use crate::drain::{Load, drain, records};
use crate::postgres::CALM;
use crate::postgres::drain::{BATCH, EVENTS, ROUNDS, plain_into};
use crate::row::{Row, Target};

pub fn run() -> Outcome {
    let (redis, postgres) = (Redis::start(&DURABLE)?, Postgres::start(CALM)?);
    let records = records(EVENTS)?;
    let (mut ours, mut reference) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let one = ours_into(&redis, &postgres, &records)?;
        let other = plain_into(&postgres, &records, 1)?;
        // The first round warms up.
        if round > 0 {
            ours.push(one);
            reference.push(other);
        }
    }
    let what = format!(
        "drain, Redis Streams to PostgreSQL, log included, batches of {BATCH}, beside COPY"
    );
    let target = Some(Target::RatioAtLeast(0.7));
    Row { bench: "drain-redis", what: &what, unit: "events/s", ours, reference, target }.print();
    Ok(())
}

fn ours_into(redis: &Redis, postgres: &Postgres, records: &[Record]) -> Outcome<f64> {
    let url = postgres.database();
    let (queue, store) = crate::runtime()?.block_on(async {
        let queue = RedisTransport::open(&redis.url()).await?;
        Outcome::Ok((queue, PostgresStore::open(&url).await?))
    })?;
    let load = Load { records, batch: BATCH, workers: 1 };
    let rate = drain(Arc::new(queue), Arc::new(store), load);
    let database = url.rsplit('/').next().unwrap_or_default();
    postgres.sql("postgres", &format!("DROP DATABASE {database} WITH (FORCE)"));
    rate
}
