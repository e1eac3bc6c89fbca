//! From COMMIT to readable in the store, at 2,000 events a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use annals::store::Store;
use annals::store::postgres::PostgresStore;
use annals::transport::memory::MemoryTransport;
use annals::transport::postgres::PostgresTransport;
use annals::worker::{Worker, WorkerOptions};
use annals::{Audit, AuditOptions, Event, EventId};
use annals_testbed::postgres::Postgres;
use sqlx::postgres::{PgPool, PgPoolOptions};

use crate::Outcome;
use crate::product::Product;
use crate::row::{Row, Target, quantile};

const ROUNDS: usize = 5;
const LENGTH: Duration = Duration::from_secs(5);
const WRITERS: u32 = 4;
/// Events a second, of all writers.
const RATE: u32 = 2_000;

type Commits = Arc<Mutex<HashMap<EventId, Instant>>>;

pub fn run() -> Outcome {
    let server = Postgres::start(&[])?;
    let (mut middle, mut late) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let mut lags = crate::runtime()?.block_on(measure(&server.database()))?;
        lags.sort_unstable();
        if round > 0 {
            middle.push(quantile(&lags, 0.5) / 1e3);
            late.push(quantile(&lags, 0.99) / 1e3);
        }
    }
    for (what, ours, most) in [("p50", middle, 10.0), ("p99", late, 50.0)] {
        let what = format!("lag from COMMIT to readable in PostgreSQL, {RATE} events/s, {what}");
        let (reference, target) = (Vec::new(), Some(Target::AtMost(most)));
        Row { bench: "lag", what: &what, unit: "ms", ours, reference, target }.print();
    }
    Ok(())
}

/// The lags of one round, in microseconds.
async fn measure(url: &str) -> Outcome<Vec<u32>> {
    let queue = Arc::new(PostgresTransport::open(url).await?);
    let store = Arc::new(PostgresStore::open(url).await?);
    let mut options = WorkerOptions::default();
    options.batch_size = 1_000;
    options.flush_interval = Duration::from_millis(2);
    let worker = Worker::new(Arc::clone(&store) as _, options).transport(queue);
    let stop = worker.stop_handle();
    let working = tokio::spawn(worker.run());
    let pool = PgPoolOptions::new().max_connections(WRITERS).connect(url).await?;
    let audit = Audit::start(Arc::new(MemoryTransport::new()), AuditOptions::default())?;
    let commits: Commits = Arc::default();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| tokio::spawn(write(pool.clone(), audit.clone(), Arc::clone(&commits))))
        .collect();
    let mut lags = Vec::new();
    let (mut next, mut quiet) = (0, Instant::now());
    // Until nothing has come for a second.
    while quiet.elapsed() < Duration::from_secs(1) {
        let window = store.window(next, 10_000).await?;
        let now = Instant::now();
        let Some(last) = window.last() else {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        (next, quiet) = (last.position + 1, now);
        let commits = commits.lock().map_err(|_| "a writer panicked")?;
        for event in &window {
            // It may be read before its writer has heard of the commit.
            let committed = commits.get(&event.id).copied().unwrap_or(now);
            lags.push(u32::try_from(now.saturating_duration_since(committed).as_micros())?);
        }
    }
    let mut written = 0;
    for writer in writers {
        written += writer.await??;
    }
    stop.stop();
    working.await??;
    audit.shutdown(Duration::from_secs(5)).await?;
    if lags.len() != written {
        return Err(format!("{} of {written} events were read", lags.len()).into());
    }
    Ok(lags)
}

/// Writes at a writer's share of the rate; answers how many.
async fn write(pool: PgPool, audit: Audit, commits: Commits) -> Outcome<usize> {
    let (before, after) = Product::change(42, 7);
    let began = Instant::now();
    let mut written = 0;
    while began.elapsed() < LENGTH {
        let mut tx = pool.begin().await?;
        let event = Event::updated(&before, &after)?.ok_or("nothing changed")?;
        let id = audit.record_in(&mut *tx, event).await?;
        tx.commit().await?;
        commits.lock().map_err(|_| "a writer panicked")?.insert(id, Instant::now());
        written += 1;
        let due = began + Duration::from_secs(written as u64) * WRITERS / RATE;
        tokio::time::sleep_until(due.into()).await;
    }
    Ok(written)
}
