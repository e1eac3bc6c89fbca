//! A Symfony application's table emptied into a synced file, beside Debian's Messenger
//! worker whose handler appends a line of JSON.

use std::sync::Arc;
use std::time::Instant;

use annals::store::file::FileStore;
use annals::transport::symfony::SymfonyTransport;
use annals::worker::{Worker, WorkerOptions};
use annals_testbed::php::Php;
use annals_testbed::postgres::Postgres;
use serde_json::{Value, json};

use crate::postgres::CALM;
use crate::row::{Row, Target};
use crate::{Outcome, runtime, scratch};

const ROUNDS: usize = 5;
/// PHP is slower, and need not be waited for.
const OURS: usize = 40_000;
const THEIRS: usize = 2_000;

pub fn run() -> Outcome {
    let server = Postgres::start(CALM)?;
    let php = Php::application(include_str!("../../tests/php/messenger.php"))?;
    for batch in [100, 1_000] {
        let (mut ours, mut reference) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let one = by_us(&server, &php, batch)?;
            let other = by_php(&server, &php)?;
            // The first round warms up.
            if round > 0 {
                ours.push(one);
                reference.push(other);
            }
        }
        let what = format!(
            "drain, Symfony's table to file, batches of {batch}, beside Debian's Messenger worker"
        );
        let target = Some(Target::RatioAtLeast(25.0));
        Row { bench: "symfony", what: &what, unit: "events/s", ours, reference, target }.print();
    }
    Ok(())
}

/// A database with so many messages, of which PHP dispatched the first.
fn filled(server: &Postgres, php: &Php, count: usize) -> String {
    let url = server.database();
    php.run("setup", &json!({ "database": url }));
    php.run("produce", &json!({ "database": url, "from": 1, "count": 1 }));
    let copy = format!(
        "INSERT INTO messenger_messages (body, headers, queue_name, created_at, available_at) \
         SELECT body, headers, queue_name, created_at, available_at \
         FROM messenger_messages, generate_series(2, {count}); ANALYZE messenger_messages"
    );
    server.sql(name(&url), &copy);
    url
}

fn by_us(server: &Postgres, php: &Php, batch: usize) -> Outcome<f64> {
    let url = filled(server, php, OURS);
    let folder = scratch()?;
    let took = runtime()?.block_on(async {
        let from = format!("symfony+{url}?queue=async&message=App\\Message\\AuditEventMessage");
        let transport = SymfonyTransport::open(&from).await?;
        let file = FileStore::open(&folder.path().join("audit.log").display().to_string()).await?;
        let mut options = WorkerOptions::default();
        options.batch_size = batch;
        options.drain = true;
        let began = Instant::now();
        Worker::new(Arc::new(file), options).transport(Arc::new(transport)).run().await?;
        Outcome::Ok(began.elapsed())
    })?;
    let text = std::fs::read_to_string(folder.path().join("audit.log"))?;
    assert_eq!(text.lines().count(), OURS, "not all of them");
    server.sql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", name(&url)));
    Ok(OURS as f64 / took.as_secs_f64())
}

fn by_php(server: &Postgres, php: &Php) -> Outcome<f64> {
    let url = filled(server, php, THEIRS);
    let folder = scratch()?;
    let file = folder.path().join("handled");
    let told = json!({ "database": url, "file": file, "limit": THEIRS, "whole": true });
    let said: Value = serde_json::from_str(&php.run("consume", &told))?;
    server.sql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", name(&url)));
    let seconds = said["seconds"].as_f64().ok_or("PHP did not say how long it took")?;
    Ok(THEIRS as f64 / seconds)
}

fn name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}
