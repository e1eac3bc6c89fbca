//! What counting costs the drain, and how fast counts are read.

use std::sync::Arc;
use std::time::Instant;

use annals::query::Filter;
use annals::rollup::{Counting, Dimension, Over, Roller, Step, count};
use annals::store::{Appender, Record, Store};
use annals::transport::Transport;
use annals::transport::memory::MemoryTransport;
use annals::worker::{Worker, WorkerOptions};
use annals::{Outcome as Went, Timestamp};
use annals_testbed::postgres::Postgres;
use tokio::sync::oneshot;

use crate::Outcome;
use crate::drain::{Load, records};
use crate::postgres::CALM;
use crate::postgres::history::build;
use crate::row::{Row, Target, quantile};

const ROUNDS: usize = 5;
/// Some seconds of a drain: rollers look every second.
const EVENTS: u32 = 400_000;
const MANY: u64 = 10_000_000;
const ASKED: usize = 100;

pub fn run() -> Outcome {
    let records = records(EVENTS)?;
    let server = Postgres::start(CALM)?;
    for database in ["SQLite", "PostgreSQL"] {
        for batch in [100, 1_000] {
            drains(database, batch, &server, &records)?;
        }
    }
    drop(records);
    crate::runtime()?.block_on(counts(&server))
}

fn drains(database: &str, batch: usize, server: &Postgres, records: &[Record]) -> Outcome {
    let (mut ours, mut reference) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for counted in [true, false] {
            let directory = crate::scratch()?;
            let url = match database {
                "SQLite" => format!("sqlite:{}", directory.path().join("store.db").display()),
                _ => server.database(),
            };
            let load = Load { records, batch, workers: 1 };
            let rate = crate::runtime()?.block_on(drain(&url, load, counted))?;
            if counted { &mut ours } else { &mut reference }.push(rate);
        }
    }
    let what = format!(
        "drain of {EVENTS} into {database} and counted, batches of {batch}, beside not counted"
    );
    let target = Some(Target::RatioAtLeast(0.95));
    Row { bench: "rollup", what: &what, unit: "events/s", ours, reference, target }.print();
    Ok(())
}

/// From memory into a store: events a second.
async fn drain(url: &str, load: Load<'_>, counted: bool) -> Outcome<f64> {
    let queue: Arc<dyn Transport> = Arc::new(MemoryTransport::bounded(1 << 30));
    for part in load.records.chunks(2_000) {
        let message = |record: &Record| annals::transport::Message {
            id: record.id,
            body: record.body().to_vec(),
        };
        queue.send(part.iter().map(message).collect()).await?;
    }
    let store = annals::store::open(url).await?;
    let mut options = WorkerOptions::default();
    options.batch_size = load.batch;
    options.drain = true;
    let worker = Worker::new(Arc::clone(&store) as Arc<dyn Appender>, options).transport(queue);
    let (over, is_over) = oneshot::channel::<()>();
    let roller = Roller::new(Arc::clone(&store))?;
    let rolling = counted.then(|| tokio::spawn(roller.run(async { drop(is_over.await) })));
    let began = Instant::now();
    worker.run().await?;
    let took = began.elapsed();
    drop(over);
    if let Some(rolling) = rolling {
        rolling.await?;
        let counts = count(&*store, &Counting::default()).await?;
        if counts.events != load.records.len() as u64 {
            return Err(format!("{} of {} were counted", counts.events, load.records.len()).into());
        }
    }
    Ok(load.records.len() as f64 / took.as_secs_f64())
}

/// A month of twelve out of ten million, by 100,000 actors: nearly each event is counted apart.
async fn counts(server: &Postgres) -> Outcome {
    let store: Arc<dyn Store> = Arc::new(build(&server.database(), MANY).await?);
    let mut roller = Roller::new(Arc::clone(&store))?;
    let began = Instant::now();
    while roller.roll().await? {}
    eprintln!("  {MANY} events counted in {:.1?}", began.elapsed());
    let now = Timestamp::now();
    let all = |facets: Vec<Dimension>, histogram| Counting {
        filter: Filter::default(),
        facets,
        limit: 10,
        histogram,
    };
    let over = |step, by| Some(Over { step, by });
    for (what, counting) in [
        ("all facets", all(Dimension::ALL.to_vec(), None)),
        (
            "a histogram by day and action",
            all(vec![], over(Some(Step::Day), Some(Dimension::Action))),
        ),
        (
            "facets and histogram of what was denied",
            Counting {
                filter: Filter { outcome: Some(Went::Denied), ..Filter::default() },
                ..all(Dimension::ALL.to_vec(), over(None, None))
            },
        ),
    ] {
        let (mut p99s, mut medians) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let mut times = Vec::new();
            for asked in 0..ASKED {
                let ago =
                    |days: usize| now.before(std::time::Duration::from_secs(days as u64 * 86_400));
                let mut counting = counting.clone();
                let first = 40 + (asked * 7 + round) % 300;
                counting.filter.since = Some(ago(first));
                counting.filter.until = Some(ago(first - 30));
                let began = Instant::now();
                let counts = count(&*store, &counting).await?;
                times.push(u32::try_from(began.elapsed().as_nanos())?);
                if counting.filter.outcome.is_none() && !(800_000..900_000).contains(&counts.events)
                {
                    return Err(format!("{} events in a month", counts.events).into());
                }
            }
            times.sort_unstable();
            p99s.push(quantile(&times, 0.99) / 1e6);
            medians.push(quantile(&times, 0.5) / 1e6);
        }
        for (which, ours, target) in
            [("p99", p99s, Some(Target::AtMost(200.0))), ("median", medians, None)]
        {
            let what = format!("{what} for a month within 10M in PostgreSQL, {which}");
            Row { bench: "rollup", what: &what, unit: "ms", ours, reference: vec![], target }
                .print();
        }
    }
    Ok(())
}
