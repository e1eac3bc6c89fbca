//! The library's benches. `cargo xtask bench` runs them and makes the table;
//! `cargo bench -p annals --bench bench -- NAME…` runs them alone.
//!
//! Each measures ours and a reference in turns, within one process, and prints
//! its samples as lines of JSON (see [`row`]). Nothing here is a test: a slow
//! machine makes a poor figure, never a failure.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    unreachable_pub,
    reason = "a program that prints figures"
)]

mod drain;
mod durable;
mod history;
mod laravel;
mod latency;
mod mysql;
mod plain_sql;
mod postgres;
mod product;
mod proof;
mod record;
mod redis;
mod rollup;
mod row;
mod seal;
mod sink;
mod symfony;

use std::error::Error;
use std::process::ExitCode;

/// What goes wrong here ends the bench and is told.
type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// A bench's name, and what runs it.
type Bench = (&'static str, fn() -> Outcome);

const BENCHES: [Bench; 23] = [
    ("record", record::run),
    ("latency", latency::run),
    ("durable", durable::run),
    ("drain", drain::run_sqlite),
    ("drain-file", drain::run_file),
    ("history", history::run),
    ("outbox", postgres::outbox::run),
    ("drain-postgres", postgres::drain::run_store),
    ("log-postgres", postgres::drain::run_log),
    ("move-postgres", postgres::drain::run_move),
    ("drain-mariadb", mysql::run_store),
    ("attach", postgres::attach::run),
    ("lag", postgres::lag::run),
    ("history-postgres", postgres::history::run),
    ("symfony", symfony::run),
    ("drain-laravel", laravel::run_postgres),
    ("drain-laravel-mariadb", laravel::run_mariadb),
    ("record-redis", redis::record::run),
    ("redis-away", redis::away::run),
    ("drain-redis", redis::drain::run),
    ("rollup", rollup::run),
    ("verify", proof::run),
    ("seal", seal::run),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // Cargo says --bench when it is a bench that is wanted, not a test.
    if !words.iter().any(|word| word == "--bench") {
        return ExitCode::SUCCESS;
    }
    let names: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    for (name, run) in BENCHES {
        if !names.is_empty() && !names.iter().any(|wanted| *wanted == name) {
            continue;
        }
        eprintln!("{name}");
        if let Err(error) = run() {
            eprintln!("{name}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// A directory on the disk that the build is on, not in memory.
fn scratch() -> std::io::Result<tempfile::TempDir> {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
}

/// A runtime as an application would have it.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
