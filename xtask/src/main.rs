//! The project's own chores.
//!
//! `cargo xtask test` runs everything that must hold, on a machine that has a
//! Rust toolchain and nothing else; `--full` adds what takes longer. `cargo xtask
//! bench` measures ours and the references in one run.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to whoever runs it")]

mod bench;
mod fuzz;
mod machine;
mod outcomes;
mod package;
mod test;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
usage: cargo xtask test [--full]    run the tests; --full adds hundreds of kills and long fuzzing
       cargo xtask fuzz             the fuzz targets alone, for five minutes each
       cargo xtask package [BINARY DIRECTORY]  make a Debian package, of a command that is built already or anew
       cargo xtask bench [--keep] [--from=FILE | NAME…]    measure; write docs/benchmarks.md when every bench ran, or with --keep";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test"] => test::run(false),
        ["test", "--full"] => test::run(true),
        ["fuzz"] => fuzz::run().and_then(|()| outcomes::write()),
        ["package"] => package::run(),
        ["package", binary, into] => {
            package::build_of(Path::new(binary), Path::new(into)).map(drop)
        }
        ["bench", names @ ..] => bench::run(names),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("error: {what}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's folder.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// A cargo command in the workspace's folder.
fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(root());
    command
}

/// Runs a command to its end, after saying which.
fn run(what: &str, command: &mut Command) -> Result<(), String> {
    println!("== {what}");
    let status = command.status().map_err(|error| format!("{what}: cannot start: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{what}: {status}")) }
}
