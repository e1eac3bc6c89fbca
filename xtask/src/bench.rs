//! `cargo xtask bench`.
//!
//! The benches print what they measured, one JSON object a line; this makes the
//! table of them. Each row's target is for the median, and a target that is not
//! met is a word in the table, never a failure: how fast a machine is, is no
//! property of the code.

mod page;
mod row;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use row::Row;

/// Every bench program of the workspace.
const PROGRAMS: [&str; 3] = ["bench", "request", "memory"];

/// The benches, as they are named on the command line.
const NAMES: [&str; 10] = [
    "record",
    "latency",
    "durable",
    "drain",
    "drain-file",
    "history",
    "outbox",
    "symfony",
    "request",
    "memory",
];

/// Where the page goes.
const PAGE: &str = "docs/benchmarks.md";

/// Runs the named benches, or all; when all, writes the page.
pub(crate) fn run(names: &[&str]) -> Result<(), String> {
    if let Some(unknown) = names.iter().find(|name| !NAMES.contains(name)) {
        return Err(format!("no bench is called {unknown:?}; there are {}", NAMES.join(", ")));
    }
    let rows = measure(names)?;
    println!("\n{}", page::table(&rows));
    if names.is_empty() {
        let path = crate::root().join(PAGE);
        std::fs::write(&path, page::page(&rows))
            .map_err(|error| format!("write {PAGE}: {error}"))?;
        println!("written to {PAGE}");
    }
    Ok(())
}

/// Runs the programs, shows what they tell, and collects their rows.
fn measure(names: &[&str]) -> Result<Vec<Row>, String> {
    let mut words = vec!["bench", "--quiet", "--workspace"];
    words.extend(PROGRAMS.iter().flat_map(|program| ["--bench", program]));
    words.push("--");
    words.extend(names);
    println!("== cargo {}", words.join(" "));
    let mut child = crate::cargo(&words)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cargo bench: cannot start: {error}"))?;
    let mut rows = Vec::new();
    for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
        let line = line.map_err(|error| format!("read what the benches print: {error}"))?;
        match Row::read(&line) {
            Some(row) => {
                println!("{}", page::line(&row));
                rows.push(row);
            }
            None => println!("{line}"),
        }
    }
    let status = child.wait().map_err(|error| format!("cargo bench: {error}"))?;
    if status.success() { Ok(rows) } else { Err(format!("cargo bench: {status}")) }
}
