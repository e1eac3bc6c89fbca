//! The worker emptying a queue while it seals two of eight fields, beside not sealing.

use std::sync::Arc;

use annals::seal::{Declared, MasterKey, Sealer};
use annals::store::{self, Record, Store};
use annals::transport::memory::MemoryTransport;
use annals::worker::{Seal, Worker};
use annals_testbed::postgres::Postgres;

use crate::Outcome;
use crate::drain::{Load, drain_by, records};
use crate::postgres::CALM;
use crate::row::{Row, Target};

const ROUNDS: usize = 5;
const EVENTS: u32 = 30_000;
const BATCH: usize = 1_000;

pub fn run() -> Outcome {
    let server = Postgres::start(CALM)?;
    let records = records(EVENTS)?;
    let long = sealed(&records)?;
    for database in ["SQLite", "PostgreSQL"] {
        let (mut ours, mut plain, mut as_long) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let directory = crate::scratch()?;
            let mut rates = Vec::new();
            for (name, events, sealing) in
                [("sealed", &records, true), ("plain", &records, false), ("long", &long, false)]
            {
                let url = match database {
                    "SQLite" => format!("sqlite:{}", directory.path().join(name).display()),
                    _ => server.database(),
                };
                rates.push(rate(&url, events, sealing)?);
                if database == "PostgreSQL" {
                    let name = url.rsplit('/').next().unwrap_or_default();
                    server.sql("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
                }
            }
            // The first round warms up.
            if round > 0 {
                ours.push(rates[0]);
                plain.push(rates[1]);
                as_long.push(rates[2]);
            }
        }
        let (unit, target) = ("events/s", Some(Target::RatioAtLeast(0.8)));
        let what = format!(
            "drain, memory to {database}, two of eight fields sealed, batches of {BATCH}, beside none"
        );
        let row =
            Row { bench: "seal", what: &what, unit, ours: ours.clone(), reference: plain, target };
        row.print();
        let what = format!(
            "drain, memory to {database}, two of eight fields sealed, batches of {BATCH}, beside events as long"
        );
        Row { bench: "seal", what: &what, unit, ours, reference: as_long, target: None }.print();
    }
    Ok(())
}

fn declared() -> Outcome<Declared> {
    Ok(Declared::of(["product.name", "product.supplier"])?)
}

/// The events as they are when they are sealed.
fn sealed(records: &[Record]) -> Outcome<Vec<Record>> {
    let directory = crate::scratch()?;
    crate::runtime()?.block_on(async {
        let store =
            store::open(&format!("sqlite:{}", directory.path().join("keys").display())).await?;
        let sealer = Sealer::new(store, MasterKey::generate()?, declared()?)?;
        let sealed = sealer.seal(records.into()).await?;
        Ok(sealed.into_iter().flatten().flatten().collect())
    })
}

fn rate(url: &str, records: &[Record], sealing: bool) -> Outcome<f64> {
    let store: Arc<dyn Store> = crate::runtime()?.block_on(store::open(url))?;
    let sealer = match sealing {
        true => Some(Sealer::new(Arc::clone(&store), MasterKey::generate()?, declared()?)?),
        false => None,
    };
    let load = Load { records, batch: BATCH, workers: 1 };
    drain_by(Arc::new(MemoryTransport::new()), load, |options| {
        let worker = Worker::new(store, options);
        match sealer {
            Some(sealer) => worker.sealer(Arc::new(sealer)),
            None => worker,
        }
    })
}
