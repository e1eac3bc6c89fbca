//! One entity's 100 events, among few and among many.

use std::path::Path;
use std::time::{Duration, Instant};

use annals::Entity;
use annals::query::{Filter, Query};
use annals::store::sqlite::SqliteStore;
use annals::store::{Appender, Record, Store};

use crate::Outcome;
use crate::product::encoded;
use crate::row::{Row, Target, quantile};

const ROUNDS: usize = 7;
const QUERIES: u64 = 200;
/// Events of each entity.
const HISTORY: u64 = 100;
const FEW: u64 = 100_000;
const MANY: u64 = 3_000_000;
const BATCH: u64 = 2_000;

pub fn run() -> Outcome {
    crate::runtime()?.block_on(async {
        let directory = crate::scratch()?;
        let few = build(&directory.path().join("few.db"), FEW).await?;
        let many = build(&directory.path().join("many.db"), MANY).await?;
        let (mut in_few, mut in_many) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS as u64 {
            let (short, long) =
                (median(&few, FEW, round).await?, median(&many, MANY, round).await?);
            if round > 0 {
                in_few.push(short);
                in_many.push(long);
            }
        }
        let row = |what, ours, reference, target| {
            Row { bench: "history", what, unit: "ms", ours, reference, target }.print();
        };
        row(
            "`history`, 100 events of one entity among 100 thousand",
            in_few.clone(),
            Vec::new(),
            Some(Target::AtMost(5.0)),
        );
        row(
            "`history`, 100 events of one entity among 3M",
            in_many.clone(),
            Vec::new(),
            Some(Target::AtMost(5.0)),
        );
        row(
            "`history` among 3M, beside among 100 thousand",
            in_many,
            in_few,
            Some(Target::RatioAtMost(1.25)),
        );
        Ok(())
    })
}

/// A store of `events`, in which each entity's events lie far apart.
async fn build(path: &Path, events: u64) -> Outcome<SqliteStore> {
    let store = SqliteStore::open(&path.display().to_string()).await?;
    let entities = events / HISTORY;
    let (began, mut told) = (Instant::now(), Instant::now());
    for first in (0..events).step_by(usize::try_from(BATCH)?) {
        let records: Outcome<Vec<Record>> = (first..first + BATCH)
            .map(|number| {
                Ok(Record::decode(encoded(number % entities, u32::try_from(number)?)?.1)?)
            })
            .collect();
        store.append(records?.into()).await?;
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            eprintln!("  {first} of {events} events stored in {:.0?}", began.elapsed());
        }
    }
    eprintln!("  {events} events stored in {:.1?}", began.elapsed());
    Ok(store)
}

/// The median time of reading an entity's history, in milliseconds, over entities
/// from all over the store.
async fn median(store: &SqliteStore, events: u64, round: u64) -> Outcome<f64> {
    let entities = events / HISTORY;
    let mut times = Vec::new();
    for query in 0..QUERIES {
        let entity = (query * 7_919 + round * 104_729) % entities;
        let filter = Filter { entity: Some(Entity::new("product", entity)), ..Filter::default() };
        let began = Instant::now();
        let page = store.query(Query::newest(filter).limit(200)).await?;
        times.push(u32::try_from(began.elapsed().as_nanos())?);
        if page.events.len() as u64 != HISTORY {
            return Err(format!("product:{entity} has {} events", page.events.len()).into());
        }
    }
    times.sort_unstable();
    Ok(quantile(&times, 0.5) / 1e6)
}
