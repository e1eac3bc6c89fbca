//! The worker emptying a queue, beside plain SQL and beside a plain file.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use annals::store::file::FileStore;
use annals::store::sqlite::SqliteStore;
use annals::store::{Appender, Record};
use annals::transport::memory::MemoryTransport;
use annals::transport::sqlite::SqliteTransport;
use annals::transport::{Message, Transport};
use annals::worker::{Worker, WorkerOptions};

use crate::Outcome;
use crate::plain_sql::Plain;
use crate::product::encoded;
use crate::row::{Row, Target};

const ROUNDS: usize = 5;
const EVENTS: u32 = 30_000;
const BATCHES: [usize; 2] = [100, 1_000];

/// SQLite to SQLite, the log included.
pub fn run_sqlite() -> Outcome {
    let records = records(EVENTS)?;
    for batch in BATCHES {
        let (mut ours, mut reference) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let directory = crate::scratch()?;
            let (queue, store) = (sqlite_queue(directory.path())?, sqlite_store(directory.path())?);
            ours.push(drain(queue, store, Load { records: &records, batch, workers: 1 })?);
            let mut plain = Plain::open(directory.path(), &records)?;
            let began = Instant::now();
            let moved = plain.drain(batch)?;
            reference.push(moved as f64 / began.elapsed().as_secs_f64());
        }
        let what = format!("drain, SQLite to SQLite, log included, batches of {batch}");
        let target = Some(Target::RatioAtLeast(0.7));
        Row { bench: "drain", what: &what, unit: "events/s", ours, reference, target }.print();
    }
    Ok(())
}

/// To a file: from SQLite, and from memory, which is the file's part of it.
pub fn run_file() -> Outcome {
    let records = records(EVENTS)?;
    for (from, batch) in BATCHES.iter().flat_map(|batch| [("memory", *batch), ("SQLite", *batch)]) {
        let (mut ours, mut reference) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let directory = crate::scratch()?;
            let queue = match from {
                "memory" => Arc::new(MemoryTransport::new()) as Arc<dyn Transport>,
                _ => sqlite_queue(directory.path())?,
            };
            let load = Load { records: &records, batch, workers: 1 };
            ours.push(drain(queue, file_store(directory.path())?, load)?);
            let began = Instant::now();
            write(&directory.path().join("plain.log"), &records, batch)?;
            reference.push(f64::from(EVENTS) / began.elapsed().as_secs_f64());
        }
        let what = format!("drain, {from} to file, batches of {batch}");
        let target = Some(Target::RatioAtLeast(0.7));
        Row { bench: "drain-file", what: &what, unit: "events/s", ours, reference, target }.print();
    }
    Ok(())
}

fn sqlite_queue(directory: &Path) -> Outcome<Arc<dyn Transport>> {
    let path = directory.join("queue.db").display().to_string();
    Ok(Arc::new(crate::runtime()?.block_on(SqliteTransport::open(&path))?))
}

fn sqlite_store(directory: &Path) -> Outcome<Arc<dyn Appender>> {
    let path = directory.join("store.db").display().to_string();
    Ok(Arc::new(crate::runtime()?.block_on(SqliteStore::open(&path))?))
}

fn file_store(directory: &Path) -> Outcome<Arc<dyn Appender>> {
    let path = directory.join("audit.log").display().to_string();
    Ok(Arc::new(crate::runtime()?.block_on(FileStore::open(&path))?))
}

/// Events of a thousand products.
pub fn records(events: u32) -> Outcome<Vec<Record>> {
    (0..events)
        .map(|number| Ok(Record::decode(encoded(u64::from(number % 1_000), number)?.1)?))
        .collect()
}

/// What there is to do, and how.
#[derive(Clone, Copy)]
pub struct Load<'a> {
    pub records: &'a [Record],
    pub batch: usize,
    /// Lanes of the worker.
    pub workers: usize,
}

/// Fills a queue, and times the worker emptying it: events a second.
pub fn drain(queue: Arc<dyn Transport>, store: Arc<dyn Appender>, load: Load<'_>) -> Outcome<f64> {
    drain_by(queue, load, |options| Worker::new(store, options))
}

/// As [`drain`], by the worker that `hire` makes.
pub fn drain_by(
    queue: Arc<dyn Transport>,
    load: Load<'_>,
    hire: impl FnOnce(WorkerOptions) -> Worker,
) -> Outcome<f64> {
    crate::runtime()?.block_on(async {
        for part in load.records.chunks(2_000) {
            let message = |record: &Record| Message { id: record.id, body: record.body().to_vec() };
            queue.send(part.iter().map(message).collect()).await?;
        }
        let mut options = WorkerOptions::default();
        options.batch_size = load.batch;
        options.concurrency = load.workers;
        options.drain = true;
        let worker = hire(options).transport(queue);
        let gauge = worker.gauge();
        let began = Instant::now();
        worker.run().await?;
        let took = began.elapsed();
        let (events, stored) = (load.records.len(), gauge.read().stored);
        if stored != events as u64 {
            return Err(format!("{stored} of {events} events were stored").into());
        }
        Ok(events as f64 / took.as_secs_f64())
    })
}

/// The same bytes, written and synced batch by batch.
fn write(path: &Path, records: &[Record], batch: usize) -> Outcome {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let mut lines = Vec::new();
    for part in records.chunks(batch) {
        lines.clear();
        for record in part {
            lines.extend_from_slice(record.body());
            lines.push(b'\n');
        }
        file.write_all(&lines)?;
        file.sync_data()?;
    }
    Ok(())
}
