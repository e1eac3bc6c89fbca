//! Durable events a second with 64 callers, beside the disk's own syncs.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::transport::sqlite::SqliteTransport;
use annals::{Audit, AuditOptions, Delivery, InCurrentScope};
use tokio::task::JoinSet;

use crate::Outcome;
use crate::product::{Product, scope};
use crate::row::{Row, Target};

const ROUNDS: usize = 7;
const CALLERS: u64 = 64;
const LENGTH: Duration = Duration::from_secs(2);

pub fn run() -> Outcome {
    let runtime = crate::runtime()?;
    let (mut ours, mut reference) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let directory = crate::scratch()?;
        reference.push(syncs(&directory.path().join("appended"))?);
        ours.push(runtime.block_on(events(&directory.path().join("queue.db")))?);
    }
    Row {
        bench: "durable",
        what: "durable events, 64 callers, SQLite FULL, beside fsyncs of 600 bytes",
        unit: "/s",
        ours,
        reference,
        target: Some(Target::RatioAtLeast(5.0)),
    }
    .print();
    Ok(())
}

/// Appends 600 bytes and syncs them, again and again.
fn syncs(path: &Path) -> Outcome<f64> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let (began, mut syncs) = (Instant::now(), 0_u32);
    while began.elapsed() < LENGTH / 2 {
        file.write_all(&[b'x'; 600])?;
        file.sync_data()?;
        syncs += 1;
    }
    Ok(f64::from(syncs) / began.elapsed().as_secs_f64())
}

async fn events(path: &Path) -> Outcome<f64> {
    let transport = SqliteTransport::open(&path.display().to_string()).await?;
    let options = AuditOptions::default().delivery(Delivery::Durable);
    let audit = Audit::start(Arc::new(transport), options)?;
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let audit = audit.clone();
        let calls = async move {
            let (before, after) = Product::change(caller, 7);
            let mut durable = 0_u32;
            while began.elapsed() < LENGTH {
                audit.updated(&before, &after).await?;
                durable += 1;
            }
            Ok::<u32, annals::Error>(durable)
        };
        let _entered = scope().enter();
        callers.spawn(calls.in_current_scope());
    }
    let mut durable = 0;
    while let Some(done) = callers.join_next().await {
        durable += done??;
    }
    let rate = f64::from(durable) / began.elapsed().as_secs_f64();
    audit.shutdown(Duration::from_secs(10)).await?;
    Ok(rate)
}
