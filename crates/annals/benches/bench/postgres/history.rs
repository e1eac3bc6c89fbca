//! One entity's and one actor's events, among 1M and among 10M over a year; and the
//! oldest of twelve months pruned.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use annals::proof::{Keys, Signer};
use annals::query::{ActorFilter, Filter, Query};
use annals::retention::{Apply, Keep, Policy, Rule, apply};
use annals::store::postgres::PostgresStore;
use annals::store::{Appender, Prune, Record, Store};
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
        let few = Arc::new(build(&server.database(), FEW).await?);
        let many = Arc::new(build(&server.database(), MANY).await?);
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
        // A log is signed by the same keys all the time.
        let directory = crate::scratch()?;
        prove(&few, &many, directory.path()).await?;
        prune(many, directory.path()).await
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

pub async fn build(url: &str, events: u64) -> Outcome<PostgresStore> {
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

/// Proofs out of the large log, and batches appended to it, beside the small one.
async fn prove(few: &Arc<PostgresStore>, many: &Arc<PostgresStore>, directory: &Path) -> Outcome {
    let few: Arc<dyn Store> = Arc::<PostgresStore>::clone(few);
    let many: Arc<dyn Store> = Arc::<PostgresStore>::clone(many);
    for store in [&few, &many] {
        signer(store, directory)?.sign().await?;
    }
    let (mut proofs, mut in_few, mut in_many) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let window = many.window(MANY / ROUNDS * round, 50).await?;
        let began = Instant::now();
        for stored in &window {
            annals::proof::prove(&many, stored.id).await?;
        }
        proofs.push(began.elapsed().as_secs_f64() * 1e3 / window.len() as f64);
        in_few.push(appending(&*few).await?);
        in_many.push(appending(&*many).await?);
    }
    let row = |what, unit, ours, reference, target| {
        Row { bench: "history-postgres", what, unit, ours, reference, target: Some(target) }
            .print();
    };
    row("`prove` out of a log of 10M", "ms", proofs, Vec::new(), Target::AtMost(50.0));
    let what = "a batch of 100 appended to a log of 10M, beside to one of 1M";
    row(what, "ms", in_many, in_few, Target::RatioAtMost(1.1));
    Ok(())
}

/// The median time of an append, in milliseconds.
async fn appending(store: &dyn Store) -> Outcome<f64> {
    let mut times = Vec::new();
    for _ in 0..QUERIES {
        let batch: Outcome<Arc<[Record]>> = (0..100).map(|_| record(FEW, FEW)).collect();
        let batch = batch?;
        let began = Instant::now();
        store.append(batch).await?;
        times.push(u32::try_from(began.elapsed().as_nanos())?);
    }
    times.sort_unstable();
    Ok(quantile(&times, 0.5) / 1e6)
}

/// Prunes months, the oldest first, while batches are appended; each is a sample.
fn signer(store: &Arc<dyn Store>, directory: &Path) -> Outcome<Signer> {
    let keys = Keys::Directory(directory.to_owned());
    Ok(Signer::new(Arc::clone(store), "bench", keys, directory.to_owned())?)
}

async fn prune(store: Arc<PostgresStore>, directory: &Path) -> Outcome {
    let store: Arc<dyn Store> = store;
    let signer = signer(&store, directory)?;
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
    let (mut by_rule, mut by_rules) = (Vec::new(), Vec::new());
    for ago in (2..12).rev() {
        let (line, now) = (first_of_month(ago)?, Timestamp::now());
        let keep = Keep::For(now.since(line));
        let rule = |name: &str| Rule { name: name.to_owned(), keep, ..Rule::default() };
        let began = Instant::now();
        let removed = match ago {
            8.. => {
                let wanted = Prune::before(line).signed_by(&signer);
                annals::store::prune(&*store, &wanted, |_| ()).await?.removed.events
            }
            _ => {
                let rules = match ago {
                    5.. => vec![rule("all")],
                    // None of these occurs, and each event is asked.
                    _ => vec![
                        Rule { actions: vec!["login".to_owned()], ..rule("sign-ins") },
                        rule("rest"),
                    ],
                };
                let policy = Policy::new(rules)?;
                let applying = Apply::new(&policy).signed_by(&signer);
                let applied = apply(&*store, &applying, now, |_| ()).await?;
                applied.iter().map(|rule| rule.removed.events).sum()
            }
        };
        let took = began.elapsed().as_secs_f64() * 1e3;
        eprintln!("  {removed} events removed in {took:.0} ms");
        match ago {
            // The first was cut by the year's beginning.
            11.. => {}
            8.. => months.push(took),
            5.. => by_rule.push(took),
            _ => by_rules.push(took),
        }
    }
    done.store(true, Ordering::Relaxed);
    let longest = appending.await??;
    eprintln!("  the longest append meanwhile took {longest:.1?}");
    let what =
        "one month of 12 out of 10M listed, signed and pruned in PostgreSQL, the worker going on";
    let (reference, target) = (Vec::new(), Some(Target::AtMost(1_000.0)));
    Row { bench: "history-postgres", what, unit: "ms", ours: months, reference, target }.print();
    for (what, ours) in [
        ("one month of 12 out of 10M removed by a rule in PostgreSQL, whole partitions", by_rule),
        ("the same by two rules, of which one is asked of each event", by_rules),
    ] {
        let (reference, target) = (Vec::new(), Some(Target::AtMost(2_000.0)));
        Row { bench: "history-postgres", what, unit: "ms", ours, reference, target }.print();
    }
    Ok(())
}

/// The beginning of the month so many months ago.
fn first_of_month(ago: i32) -> Outcome<Timestamp> {
    let now = Timestamp::now().to_string();
    let (year, month) = (now.get(..4).unwrap_or_default(), now.get(5..7).unwrap_or_default());
    let number = year.parse::<i32>()? * 12 + month.parse::<i32>()? - 1 - ago;
    let first =
        format!("{:04}-{:02}-01T00:00:00Z", number.div_euclid(12), number.rem_euclid(12) + 1);
    Ok(first.parse()?)
}
