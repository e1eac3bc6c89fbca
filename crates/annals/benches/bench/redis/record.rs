//! The time of one buffered `record` with Redis as transport, beside the embedded
//! default.
//!
//! Bursts in turns, each waited out until it is durable, so that what a transport
//! costs the caller shows and its speed does not.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use annals::transport::redis::RedisTransport;
use annals::transport::sqlite::SqliteTransport;
use annals::{Audit, AuditOptions};
use annals_testbed::redis::{DURABLE, Redis};

use crate::Outcome;
use crate::product::{Product, scope};
use crate::row::{Row, Target};

const ROUNDS: usize = 15;
const BURSTS: u32 = 20;
const BURST: u32 = 1_000;
const REST: Duration = Duration::from_millis(20);

pub fn run() -> Outcome {
    let server = Redis::start(&DURABLE)?;
    let runtime = crate::runtime()?;
    let directory = crate::scratch()?;
    let path = directory.path().join("queue.db").display().to_string();
    let (redis, sqlite) = runtime.block_on(async {
        let redis = RedisTransport::open(&server.url()).await?;
        Outcome::Ok((redis, SqliteTransport::open(&path).await?))
    })?;
    let ours = Audit::start(Arc::new(redis), AuditOptions::default())?;
    let default = Audit::start(Arc::new(sqlite), AuditOptions::default())?;
    let changes: Vec<(Product, Product)> =
        (0..64).map(|number| Product::change(u64::from(number), number)).collect();
    let burst = |audit: &Audit| {
        thread::sleep(REST);
        let began = Instant::now();
        scope().run(|| {
            for (before, after) in changes.iter().cycle().take(BURST as usize) {
                audit.updated(before, after);
            }
        });
        let took = began.elapsed();
        runtime.block_on(async { audit.flush().await }).map(|()| took)
    };
    let (mut times, mut reference) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (mut our_time, mut their_time) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..BURSTS {
            our_time += burst(&ours)?;
            their_time += burst(&default)?;
        }
        // Nobody reads them.
        server.cli(&["FLUSHALL"]);
        // The first round warms up.
        if round > 0 {
            let per_call = |time: Duration| time.as_secs_f64() * 1e9 / f64::from(BURST * BURSTS);
            times.push(per_call(our_time));
            reference.push(per_call(their_time));
        }
    }
    for audit in [&ours, &default] {
        if audit.stats().dropped > 0 {
            return Err(format!("{} events were dropped", audit.stats().dropped).into());
        }
        audit.shutdown_blocking(Duration::from_secs(5))?;
    }
    Row {
        bench: "record-redis",
        what: "`record`, buffered, into Redis, beside into the embedded default: time per call",
        unit: "ns",
        ours: times,
        reference,
        target: Some(Target::RatioAtMost(1.0)),
    }
    .print();
    Ok(())
}
