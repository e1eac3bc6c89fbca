//! What memory `annals work` takes while a million events wait for it, and `annals verify`
//! once they are stored.
//!
//! Prints its samples as `crates/annals/benches/bench/row.rs` says; `cargo xtask
//! bench memory` makes the table.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints figures")]

use std::error::Error;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use annals::transport::sqlite::SqliteTransport;
use annals::transport::{Message, Transport};
use annals::{Actor, Entity, Event, Object};
use serde_json::json;

const ROUNDS: usize = 5;
const WAITING: u64 = 1_000_000;
const SEND: u64 = 2_000;
/// For how long each worker drains.
const LENGTH: &str = "5s";

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut names = words.iter().filter(|word| !word.starts_with('-')).peekable();
    let wanted = names.peek().is_none() || names.any(|name| name == "memory");
    // Cargo says --bench when it is a bench that is wanted, not a test.
    if !wanted || !words.iter().any(|word| word == "--bench") {
        return ExitCode::SUCCESS;
    }
    eprintln!("memory");
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("memory: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut peaks = Vec::new();
    for _ in 0..ROUNDS {
        runtime.block_on(fill(&directory.path().join("queue.db")))?;
        peaks.push(peak(directory.path(), &["work", "--drain", "--time-limit", LENGTH])?);
    }
    print("resident memory of `annals work`, peak, 1M events waiting", &peaks, 64.0);
    peak(directory.path(), &["work", "--drain"])?;
    let verify = |_| peak(directory.path(), &["verify"]);
    let peaks: Vec<f64> = (0..ROUNDS).map(verify).collect::<Outcome<_>>()?;
    print("resident memory of `annals verify`, peak, over 1M events stored", &peaks, 128.0);
    Ok(())
}

fn print(what: &str, peaks: &[f64], most: f64) {
    let row = json!({ "bench": "memory", "what": what, "unit": "MiB", "ours": peaks, "reference": [],
                      "target": { "at_most": most } });
    println!("{row}");
}

/// Sends until a million events wait.
async fn fill(path: &Path) -> Outcome {
    let queue = SqliteTransport::open(&path.display().to_string()).await?;
    let stats = queue.stats().await?;
    let missing = WAITING.saturating_sub(stats.ready + stats.leased);
    for first in (0..missing).step_by(usize::try_from(SEND)?) {
        let batch: Outcome<Arc<[Message]>> =
            (first..missing.min(first + SEND)).map(message).collect();
        queue.send(batch?).await?;
    }
    Ok(())
}

/// An event of about 600 bytes.
fn message(number: u64) -> Outcome<Message> {
    let values = json!({ "name": format!("Gooseneck kettle no. {number}"), "price": 8_900 + number,
                         "stock": number % 97, "category": "brewing", "supplier": "Kaffeehandel",
                         "colour": "ral-7016", "weight_grams": 640, "visible": true });
    let values = Object::from_value(&values).map_err(|fault| fault.to_string())?;
    let mut event = Event::new("updated", Entity::new("product", number % 1_000))
        .actor(Actor::user(number % 100).named("Jo Doe"))
        .old_values(values.clone())
        .new_values(values);
    event.context.request_id = Some(format!("01a202b2-c57b-71f3-8a2b-{number:012x}").into());
    Ok(Message { id: event.id, body: event.encode()? })
}

/// Runs a command; answers the most memory that it had, in MiB.
fn peak(directory: &Path, arguments: &[&str]) -> Outcome<f64> {
    let mut worker = Command::new(env!("CARGO_BIN_EXE_annals"))
        .args(arguments)
        .arg("--data-dir")
        .arg(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut peak = 0.0_f64;
    while worker.try_wait()?.is_none() {
        peak = peak.max(high_water(&worker).unwrap_or(0.0));
        std::thread::sleep(Duration::from_millis(50));
    }
    let status = worker.wait()?;
    if !status.success() || peak == 0.0 {
        return Err(format!("annals {arguments:?}: {status}, {peak} MiB seen").into());
    }
    Ok(peak)
}

/// proc(5): VmHWM of a process that still runs.
fn high_water(process: &Child) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}
