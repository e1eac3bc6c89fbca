//! `cargo xtask bench`.
//!
//! The benches print what they measured, one JSON object a line; this makes the
//! table of them. Each row's target is for the median, and a target that is not
//! met is a word in the table, never a failure: how fast a machine is, is no
//! property of the code.

mod page;
mod row;

use std::io::{BufRead, BufReader, ErrorKind};
use std::process::Stdio;

use row::Row;

/// Every bench program of the workspace.
const PROGRAMS: [&str; 4] = ["bench", "request", "memory", "server"];

/// The benches, as they are named on the command line.
const NAMES: [&str; 26] = [
    "record",
    "latency",
    "durable",
    "drain",
    "drain-file",
    "history",
    "outbox",
    "drain-postgres",
    "log-postgres",
    "move-postgres",
    "drain-mariadb",
    "attach",
    "lag",
    "history-postgres",
    "symfony",
    "drain-laravel",
    "drain-laravel-mariadb",
    "record-redis",
    "redis-away",
    "drain-redis",
    "rollup",
    "verify",
    "seal",
    "request",
    "memory",
    "server",
];

/// Where the page goes, and what it is made from.
const PAGE: &str = "docs/benchmarks.md";
const KEPT: &str = "docs/benchmarks.jsonl";

/// Runs the named benches, or all. What all give is kept, and what the named ones give
/// is with `--keep`: all take longer than a machine is quiet. With `--from=FILE` nothing
/// is run: the file has what the bench programs printed today.
pub(crate) fn run(words: &[&str]) -> Result<(), String> {
    let (flags, names): (Vec<&str>, Vec<&str>) =
        words.iter().partition(|word| word.starts_with('-'));
    let file = flags.iter().find_map(|flag| flag.strip_prefix("--from="));
    if let Some(unknown) =
        flags.iter().find(|flag| **flag != "--keep" && !flag.starts_with("--from="))
    {
        return Err(format!("no flag is called {unknown}; there are --keep and --from=FILE"));
    }
    if let Some(unknown) = names.iter().find(|name| !NAMES.contains(name)) {
        return Err(format!("no bench is called {unknown:?}; there are {}", NAMES.join(", ")));
    }
    let rows = match file {
        Some(file) => printed(file)?,
        None => measure(&names)?,
    };
    println!("\n{}", page::table(&rows));
    if names.is_empty() || !flags.is_empty() {
        keep(rows)?;
        println!("written to {PAGE}");
    }
    Ok(())
}

/// The rows that bench programs printed into a file.
fn printed(file: &str) -> Result<Vec<Row>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("read {file}: {error}"))?;
    let today = crate::machine::today();
    Ok(text.lines().filter_map(|line| Row::read(line, &today)).collect())
}

/// Puts the rows of benches in the place of their earlier ones, and writes the page.
fn keep(new: Vec<Row>) -> Result<(), String> {
    let path = crate::root().join(KEPT);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        text => text.map_err(|error| format!("read {KEPT}: {error}"))?,
    };
    let mut rows = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let row = Row::read_kept(line)
            .ok_or_else(|| format!("{KEPT}:{number}: no row; take it back to what is committed"))?;
        if !new.iter().any(|new| new.bench == row.bench) {
            rows.push(row);
        }
    }
    rows.extend(new);
    rows.sort_by_key(|row| NAMES.iter().position(|name| *name == row.bench));
    let kept: String = rows.iter().map(|row| row.kept() + "\n").collect();
    std::fs::write(&path, kept).map_err(|error| format!("write {KEPT}: {error}"))?;
    std::fs::write(crate::root().join(PAGE), page::page(&rows))
        .map_err(|error| format!("write {PAGE}: {error}"))
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
    let today = crate::machine::today();
    let mut rows = Vec::new();
    for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
        let line = line.map_err(|error| format!("read what the benches print: {error}"))?;
        match Row::read(&line, &today) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// One that is missing here could not be run by its name.
    #[test]
    fn each_bench_of_the_library_can_be_named() {
        let program = crate::root().join("crates/annals/benches/bench/main.rs");
        let text = std::fs::read_to_string(program).unwrap();
        let entries = text.lines().filter_map(|line| line.strip_prefix("    (\""));
        let named: Vec<&str> = entries.filter_map(|entry| entry.split('"').next()).collect();
        assert!(named.len() > 15, "{named:?}");
        for name in named {
            assert!(NAMES.contains(&name), "{name}");
        }
    }

    #[test]
    fn a_row_is_kept_as_it_was_measured() {
        let printed = r#"{"bench":"drain","what":"it","unit":"events/s","ours":[3,1,2],
            "reference":[2,2,2],"target":{"ratio_at_least":0.7}}"#;
        let row = Row::read(printed, "2026-11-22").unwrap();
        assert_eq!((row.rounds, row.ours.median, row.ratio), (3, 2.0, Some(1.0)));
        let again = Row::read_kept(&row.kept()).unwrap();
        assert_eq!(again.kept(), row.kept());
        assert_eq!(page::line(&again), page::line(&row));
        let kept = std::fs::read_to_string(crate::root().join(KEPT)).unwrap();
        assert!(kept.lines().all(|line| Row::read_kept(line).is_some()));
    }
}
