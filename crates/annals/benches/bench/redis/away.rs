//! `record` at 2,000 events a second while Redis is gone for a minute, beside the
//! minute before, when it was there. Then it is back, and everything must come, in
//! order.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use annals::transport::redis::RedisTransport;
use annals::transport::sqlite::SqliteTransport;
use annals::transport::{Transport, Want};
use annals::{Audit, AuditOptions, Event};
use annals_testbed::redis::{DURABLE, Redis};

use crate::Outcome;
use crate::product::{Product, scope};
use crate::row::{Row, Target, quantile};

/// Of ten seconds each, together a minute.
const PARTS: usize = 6;
const CALLS: u32 = 20_000;
const EVERY: Duration = Duration::from_micros(500);

pub fn run() -> Outcome {
    let server = Redis::start(&DURABLE)?;
    let runtime = crate::runtime()?;
    let directory = crate::scratch()?;
    let path = directory.path().join("spool.db").display().to_string();
    let (queue, spool) = runtime.block_on(async {
        let queue = RedisTransport::open(&server.url()).await?;
        Outcome::Ok((Arc::new(queue), Arc::new(SqliteTransport::open(&path).await?)))
    })?;
    let mut options = AuditOptions::default();
    options.spool = Some(spool.clone());
    let audit = Audit::start(queue.clone(), options)?;
    let there: Vec<f64> = (0..PARTS).map(|_| part(&audit)).collect();
    server.stop();
    let gone: Vec<f64> = (0..PARTS).map(|_| part(&audit)).collect();
    server.resume()?;
    runtime.block_on(async {
        audit.flush().await?;
        while spool.stats().await?.ready + spool.stats().await?.leased > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let expected = u64::from(CALLS) * 2 * PARTS as u64;
        let mut last = 0;
        loop {
            let some = queue.receive(Want::up_to(5_000)).await?;
            if some.is_empty() {
                break;
            }
            for delivery in &some {
                let event = Event::decode(&delivery.body)?;
                let seq = event.producer.and_then(|producer| producer.seq).unwrap_or_default();
                // One that came before is one that was sent twice.
                if seq > last + 1 {
                    return Err(format!("event {seq} came after {last}").into());
                }
                last = last.max(seq);
            }
            let receipts: Vec<_> = some.iter().map(|delivery| delivery.receipt).collect();
            queue.ack(&receipts).await?;
        }
        if last != expected {
            return Err(format!("{last} of {expected} events came").into());
        }
        Outcome::Ok(())
    })?;
    audit.shutdown_blocking(Duration::from_secs(5))?;
    Row {
        bench: "redis-away",
        what: "`record` at 2,000/s, p99.9, Redis gone for a minute, beside Redis there",
        unit: "us",
        ours: gone,
        reference: there,
        target: Some(Target::RatioAtMost(1.0)),
    }
    .print();
    Ok(())
}

/// The p99.9 of ten seconds, in microseconds.
fn part(audit: &Audit) -> f64 {
    let (before, after) = Product::change(42, 7);
    let mut times = Vec::with_capacity(CALLS as usize);
    let mut next = Instant::now();
    scope().run(|| {
        for _ in 0..CALLS {
            next += EVERY;
            thread::sleep(next.saturating_duration_since(Instant::now()));
            let began = Instant::now();
            audit.updated(&before, &after);
            times.push(u32::try_from(began.elapsed().as_nanos()).unwrap_or(u32::MAX));
        }
    });
    times.sort_unstable();
    quantile(&times, 0.999) / 1e3
}
