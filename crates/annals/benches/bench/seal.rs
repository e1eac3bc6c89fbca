//! The worker emptying a queue while it seals two of eight fields, beside not sealing.

use std::sync::Arc;

use annals::seal::{Declared, MasterKey, Sealer};
use annals::store::{self, Record, Store};
use annals::transport::memory::MemoryTransport;
use annals::worker::Worker;
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
    for database in ["SQLite", "PostgreSQL"] {
        let (mut ours, mut reference) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let directory = crate::scratch()?;
            let mut rates = Vec::new();
            for (name, sealing) in [("sealed", true), ("plain", false)] {
                let url = match database {
                    "SQLite" => format!("sqlite:{}", directory.path().join(name).display()),
                    _ => server.database(),
                };
                rates.push(rate(&url, &records, sealing)?);
                if database == "PostgreSQL" {
                    let name = url.rsplit('/').next().unwrap_or_default();
                    server.sql("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
                }
            }
            // The first round warms up.
            if round > 0 {
                ours.push(rates[0]);
                reference.push(rates[1]);
            }
        }
        let what = format!(
            "drain, memory to {database}, two of eight fields sealed, batches of {BATCH}, beside none"
        );
        let target = Some(Target::RatioAtLeast(0.8));
        Row { bench: "seal", what: &what, unit: "events/s", ours, reference, target }.print();
    }
    Ok(())
}

fn rate(url: &str, records: &[Record], sealing: bool) -> Outcome<f64> {
    let store: Arc<dyn Store> = crate::runtime()?.block_on(store::open(url))?;
    let sealer = match sealing {
        true => {
            let declared = Declared::of(["product.name", "product.supplier"])?;
            Some(Sealer::new(Arc::clone(&store), MasterKey::generate()?, declared)?)
        }
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
