//! A request to the shop, with and without audit, at the same fixed rate.
//!
//! Prints its samples as `crates/annals/benches/bench/row.rs` says; `cargo xtask
//! bench request` makes the table.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints figures")]

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use annals::transport::sqlite::SqliteTransport;
use annals::{Audit, AuditOptions};
use annals_shop::Shop;
use annals_shop::driver::{Driver, Visits};
use serde_json::json;

const ROUNDS: u64 = 7;
const LENGTH: Duration = Duration::from_secs(3);
/// Requests a second, well below what the shop can do.
const RATE: f64 = 500.0;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut names = words.iter().filter(|word| !word.starts_with('-')).peekable();
    let wanted = names.peek().is_none() || names.any(|name| name == "request");
    // Cargo says --bench when it is a bench that is wanted, not a test.
    if !wanted || !words.iter().any(|word| word == "--bench") {
        return ExitCode::SUCCESS;
    }
    eprintln!("request");
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("request: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let plain = runtime.block_on(visits(round, false))?;
        let audited = runtime.block_on(visits(round, true))?;
        // The first round warms up.
        if round > 0 {
            without.push(plain);
            with.push(audited);
        }
    }
    let row = |what: &str, share: f64, target: serde_json::Value| {
        let times = |visits: &[Visits]| -> Vec<f64> {
            visits.iter().map(|one| one.quantile(share).as_secs_f64() * 1e6).collect()
        };
        let (ours, reference) = (times(&with), times(&without));
        let row = json!({ "bench": "request", "what": what, "unit": "us", "ours": ours,
                          "reference": reference, "target": target });
        println!("{row}");
    };
    row("shop request, median, with audit beside without", 0.5, json!({ "ratio_at_most": 1.05 }));
    row("shop request, p99, with audit beside without", 0.99, json!(null));
    Ok(())
}

/// Drives a new shop for a while.
async fn visits(seed: u64, audited: bool) -> Outcome<Visits> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let audit = if audited { Some(capture(directory.path()).await?) } else { None };
    let database = format!("sqlite:{}", directory.path().join("shop.db").display());
    let shop = Shop::open(&database, audit.clone()).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(annals_shop::serve(listener, shop, async {
        // Told, or this function ended early: both end the shop.
        let _ = stopped.await;
    }));
    let visits = Driver::new(address, seed).run(LENGTH, RATE).await;
    drop(stop);
    served.await??;
    if let Some(audit) = audit {
        let stats = audit.shutdown(Duration::from_secs(10)).await?;
        if stats.dropped + stats.refused > 0 || stats.durable == 0 {
            return Err(format!("not every event was captured: {stats:?}").into());
        }
    }
    if visits.failed > 0 {
        return Err(format!("{} requests failed", visits.failed).into());
    }
    Ok(visits)
}

async fn capture(directory: &Path) -> Outcome<Audit> {
    let queue = directory.join("queue.db");
    let transport = SqliteTransport::open(&queue.display().to_string()).await?;
    Ok(Audit::start(Arc::new(transport), AuditOptions::default())?)
}
