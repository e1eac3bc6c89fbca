//! The coverage-guided run of the fuzz targets, with cargo-fuzz.
//!
//! cargo-fuzz needs compiler flags that only a nightly accepts; the toolchain that
//! is there accepts them too when it is told to.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::{cargo, outcomes, root};

/// Each with a folder of samples to begin from.
const TARGETS: [(&str, &str); 4] = [
    ("asked", "crates/annals/tests/fixtures/asked"),
    ("event", "crates/annals/tests/golden/v1"),
    ("body", "crates/annals/tests/golden/v1"),
    ("php", "crates/annals/tests/fixtures/php"),
];

/// How long each target is run for.
const SECONDS: u32 = 300;

/// Bytes of an input, at most: more than an event of every field, and quick.
const MAX_LEN: u32 = 8192;

/// Installs cargo-fuzz, builds the targets and runs each; leaves what it came to
/// for docs/testing.md. A finding is an error, and its input is in `fuzz/artifacts`.
pub(crate) fn run() -> Result<(), String> {
    let tools = outcomes::target().join("tools");
    let tools_text = tools.display().to_string();
    crate::run(
        "install cargo-fuzz",
        &mut cargo(&["install", "--quiet", "--locked", "--root", &tools_text, "cargo-fuzz"]),
    )?;
    let program = tools.join("bin/cargo-fuzz");
    crate::run("build the fuzz targets", &mut fuzz(&program, &["build"]))?;
    for (target, samples) in TARGETS {
        let executions = one(&program, target, samples)?;
        let outcome = format!("{executions} inputs in {} minutes, no finding", SECONDS / 60);
        outcomes::leave(
            &format!("fuzz-{target}"),
            &format!("cargo-fuzz, target `{target}`"),
            &outcome,
        )?;
    }
    Ok(())
}

/// Runs a target; answers how many inputs it tried.
fn one(program: &Path, target: &str, samples: &str) -> Result<u64, String> {
    println!("== fuzz {target} for {SECONDS} s");
    let corpus = outcomes::target().join("fuzz-corpus").join(target);
    let failed = |error: std::io::Error| format!("fuzz {target}: {error}");
    std::fs::create_dir_all(&corpus).map_err(failed)?;
    let (corpus, samples) = (corpus.display().to_string(), root().join(samples));
    let (time, length) = (format!("-max_total_time={SECONDS}"), format!("-max_len={MAX_LEN}"));
    let samples = samples.display().to_string();
    let words = ["run", target, &corpus, &samples, "--", &time, &length, "-print_final_stats=1"];
    let output = fuzz(program, &words).stderr(Stdio::piped()).output().map_err(failed)?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("fuzz {target}: {}\n{said}", output.status));
    }
    let count = |line: &str| {
        line.strip_prefix("stat::number_of_executed_units:")?.trim().parse::<u64>().ok()
    };
    said.lines().find_map(count).ok_or_else(|| format!("fuzz {target} told no figures:\n{said}"))
}

fn fuzz(program: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(words)
        .current_dir(root())
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", outcomes::target().join("fuzz"));
    command
}
