//! One entity's and one actor's events, among 1M and among 10M over a year; and the
//! oldest of twelve months pruned.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use annals::query::{ActorFilter, Filter, Query};
use annals::store::postgres::PostgresStore;
use annals::store::{Appender, Record, Store};
use annals::{Actor, Entity, Event, Timestamp};
use annals_testbed::postgres::Postgres;

use super::CALM;
use crate::Outcome;
use crate::row::{Row, Target, quantile};

const ROUNDS: u64 = 7;
const QUERIES: u64 = 100;
const FEW: u64 = 1_000_000;
const MANY: u64 = 10_000_000;
const BATCH: u64 = 5_000;
/// Events of each entity, and of each actor.
const EACH: u64 = 100;

pub fn run() -> Outcome {
    let server = Postgres::start(CALM)?;
    crate::runtime()?.block_on(async {
        let few = build(&server.database(), FEW).await?;
        let many = build(&server.database(), MANY).await?;
        for (what, filter) in
            [("`history`", entity as fn(u64) -> Filter), ("`query` by actor", actor)]
        {
            let plan = many.explain(Query::newest(filter(7))).await?;
            if plan.contains("Seq Scan") || plan.contains("->  Sort") {
                return Err(format!("{what} is no index scan: {plan}").into());
            }
            let (mut in_few, mut in_many) = (Vec::new(), Vec::new());
            for round in 0..=ROUNDS {
                let (short, long) = (
                    median(&few, FEW, filter, round).await?,
                    median(&many, MANY, filter, round).await?,
                );
                if round > 0 {
                    in_few.push(short);
                    in_many.push(long);
                }
            }
            let row = |what: &str, ours, reference, target| {
                let target = Some(target);
                Row { bench: "history-postgres", what, unit: "ms", ours, reference, target }
                    .print();
            };
            row(
                &format!("{what} in PostgreSQL among 1M"),
                in_few.clone(),
                Vec::new(),
                Target::AtMost(5.0),
            );
            row(
                &format!("{what} in PostgreSQL among 10M"),
                in_many.clone(),
                Vec::new(),
                Target::AtMost(5.0),
            );
            let both = format!("{what} in PostgreSQL among 10M, beside among 1M");
            row(&both, in_many, in_few, Target::RatioAtMost(1.25));
        }
        prune(many).await
    })
}

fn entity(number: u64) -> Filter {
    Filter { entity: Some(Entity::new("product", number)), ..Filter::default() }
}

fn actor(number: u64) -> Filter {
    let actor = ActorFilter { kind: Some("user".to_owned()), id: number.to_string() };
    Filter { actor: Some(actor), ..Filter::default() }
}

/// The `number`th of so many events, which are spread over the last twelve months.
fn record(number: u64, events: u64) -> Outcome<Record> {
    const YEAR: u64 = 360 * 86_400 * 1_000;
    let age = Duration::from_millis((events - number) * (YEAR / events));
    let groups = events / EACH;
    let mut event = Event::new("updated", Entity::new("product", number % groups))
        .occurred_at(Timestamp::now().before(age));
    // Whose events lie otherwise than the entities'.
    event.actor = Some(Actor::user(number * 7 % groups));
    Ok(Record::decode(event.encode()?)?)
}

async fn build(url: &str, events: u64) -> Outcome<PostgresStore> {
    let store = PostgresStore::open(url).await?;
    let (began, mut told) = (Instant::now(), Instant::now());
    for first in (0..events).step_by(usize::try_from(2 * BATCH)?) {
        let batch = |first| -> Outcome<Arc<[Record]>> {
            (first..first + BATCH).map(|number| record(number, events)).collect()
        };
        let (one, two) = (batch(first)?, batch(first + BATCH)?);
        let (one, two) = tokio::join!(store.append(one), store.append(two));
        one?;
        two?;
        if told.elapsed() > Duration::from_secs(20) {
            told = Instant::now();
            eprintln!("  {first} of {events} events stored in {:.0?}", began.elapsed());
        }
    }
    eprintln!("  {events} events stored in {:.1?}", began.elapsed());
    Ok(store)
}

/// The median time of a query, in milliseconds, over groups from all over the store.
async fn median(
    store: &PostgresStore,
    events: u64,
    filter: fn(u64) -> Filter,
    round: u64,
) -> Outcome<f64> {
    let groups = events / EACH;
    let mut times = Vec::new();
    for query in 0..QUERIES {
        let filter = filter((query * 7_919 + round * 104_729) % groups);
        let began = Instant::now();
        let page = store.query(Query::newest(filter).limit(200)).await?;
        times.push(u32::try_from(began.elapsed().as_nanos())?);
        if page.events.len() as u64 != EACH {
            return Err(format!("{} events instead of {EACH}", page.events.len()).into());
        }
    }
    times.sort_unstable();
    Ok(quantile(&times, 0.5) / 1e6)
}

/// Prunes months, the oldest first, while batches are appended; each is a sample.
async fn prune(store: PostgresStore) -> Outcome {
    let store = Arc::new(store);
    let done = Arc::new(AtomicBool::new(false));
    let appending = tokio::spawn({
        let (store, done) = (Arc::clone(&store), Arc::clone(&done));
        async move {
            let mut longest = Duration::ZERO;
            while !done.load(Ordering::Relaxed) {
                let batch: Outcome<Arc<[Record]>> = (0..100).map(|_| record(FEW, FEW)).collect();
                let began = Instant::now();
                store.append(batch?).await?;
                longest = longest.max(began.elapsed());
            }
            Outcome::Ok(longest)
        }
    });
    let mut months = Vec::new();
    for month in 0..6 {
        let before = Timestamp::now().before(Duration::from_secs((330 - month * 30) * 86_400));
        let plan = store.prune_plan(before).await?;
        let began = Instant::now();
        // The whole months; what is left of another goes row by row.
        let removed = store.prune_step(before, plan.below, 1).await?;
        let took = began.elapsed().as_secs_f64() * 1e3;
        eprintln!("  {} events pruned in {took:.0} ms", removed.events);
        if removed.events > 1 {
            months.push(took);
        }
    }
    done.store(true, Ordering::Relaxed);
    let longest = appending.await??;
    eprintln!("  the longest append meanwhile took {longest:.1?}");
    let what = "one month of 12 out of 10M pruned in PostgreSQL, the worker going on";
    let (reference, target) = (Vec::new(), Some(Target::AtMost(1_000.0)));
    Row { bench: "history-postgres", what, unit: "ms", ours: months, reference, target }.print();
    Ok(())
}
