//! A million events verified, beside only reading them; and what proof costs in bytes.

use std::sync::Arc;
use std::time::Instant;

use annals::proof::{Keys, Signer, VerifyOptions, verify};
use annals::store::{self, Record, Store};
use annals::{Actor, Entity, Event, Object};
use annals_testbed::postgres::Postgres;

use crate::Outcome;
use crate::postgres::CALM;
use crate::row::{Row, Target};

const ROUNDS: usize = 5;
const EVENTS: u64 = 1_000_000;
const BATCH: u64 = 1_000;
/// Bytes of an event.
const SIZE: usize = 600;
/// Positions that are read in one go, as verification does.
const STRETCH: u64 = 4_096;

pub fn run() -> Outcome {
    let server = Postgres::start(CALM)?;
    let directory = crate::scratch()?;
    crate::runtime()?.block_on(async {
        let sqlite = format!("sqlite:{}", directory.path().join("events.db").display());
        for (name, url) in [("SQLite", sqlite), ("PostgreSQL", server.database())] {
            let store = store::open(&url).await?;
            let keys = Keys::File(directory.path().join(name));
            let signer =
                Signer::new(Arc::clone(&store), "bench", keys, directory.path().to_owned())?;
            fill(&*store, &signer).await?;
            let (mut ours, mut reference) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                reference.push(rate(read(&*store)).await?);
                ours.push(rate(check(&store)).await?);
            }
            let what = format!("`verify`, 1M events of 600 bytes, {name}, beside reading the same");
            let target = Some(Target::RatioAtLeast(0.5));
            Row { bench: "verify", what: &what, unit: "events/s", ours, reference, target }.print();
            if name == "PostgreSQL" {
                let tables = "annals_log_tiles annals_appends annals_log_checkpoints annals_log_keys annals_log_signer";
                let sizes = tables.split(' ').map(|table| format!("pg_total_relation_size('{table}')"));
                let sum = sizes.collect::<Vec<_>>().join(" + ");
                let log: f64 = server.sql(url.rsplit('/').next().unwrap_or_default(), &format!("SELECT {sum}")).parse()?;
                // The salt, with the byte that tells of its length.
                let each = log / EVENTS as f64 + 33.0;
                let what = "salt, log and proofs an event, PostgreSQL, batches of 1,000";
                let (ours, reference) = (vec![each], Vec::new());
                let target = Some(Target::AtMost(130.0));
                Row { bench: "verify", what, unit: "bytes", ours, reference, target }.print();
            }
        }
        Ok(())
    })
}

/// Events a second.
async fn rate(work: impl Future<Output = Outcome>) -> Outcome<f64> {
    let began = Instant::now();
    work.await?;
    Ok(EVENTS as f64 / began.elapsed().as_secs_f64())
}

async fn fill(store: &dyn Store, signer: &Signer) -> Outcome {
    let began = Instant::now();
    for first in (0..EVENTS).step_by(usize::try_from(BATCH)?) {
        let batch: Outcome<Arc<[Record]>> = (first..first + BATCH).map(record).collect();
        store.append(batch?).await?;
        if first % 50_000 == 0 {
            signer.sign().await?;
        }
    }
    signer.sign().await?;
    eprintln!("  {EVENTS} events stored in {:.1?}", began.elapsed());
    Ok(())
}

fn record(number: u64) -> Outcome<Record> {
    let make = |filler: usize| -> Outcome<Vec<u8>> {
        let note = serde_json::json!({ "note": "x".repeat(filler) });
        let values = Object::from_value(&note).map_err(|fault| fault.to_string())?;
        let event = Event::new("updated", Entity::new("product", number))
            .actor(Actor::user(number % 1_000))
            .new_values(values);
        Ok(event.encode()?)
    };
    let rest = SIZE.saturating_sub(make(0)?.len());
    Ok(Record::decode(make(rest)?)?)
}

/// Reads what verification reads, and looks at none of it.
async fn read(store: &dyn Store) -> Outcome {
    let ledger = store.ledger()?;
    let mut seen = 0;
    for from in (0..EVENTS).step_by(usize::try_from(STRETCH)?) {
        seen += ledger.rows(from, EVENTS.min(from + STRETCH)).await?.len() as u64;
    }
    if seen == EVENTS { Ok(()) } else { Err(format!("{seen} events read").into()) }
}

async fn check(store: &Arc<dyn Store>) -> Outcome {
    let report = verify(store, VerifyOptions::default(), |_| {}).await?;
    match report.findings.first() {
        None if report.events == EVENTS => Ok(()),
        found => Err(format!("{} events, {found:?}", report.events).into()),
    }
}
