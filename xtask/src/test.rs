//! `cargo xtask test`.

use crate::{cargo, fuzz, outcomes};

/// Tells the tests to take their time; they read it from the environment.
const FULL: &str = "ANNALS_TEST_FULL";

pub(crate) fn run(full: bool) -> Result<(), String> {
    for features in features()? {
        let what = if features.is_empty() { "none" } else { &features };
        let words = [
            "clippy",
            "--quiet",
            "--no-deps",
            "--package",
            "annals",
            "--no-default-features",
            "--features",
            &features,
            "--",
            "--deny",
            "warnings",
        ];
        crate::run(&format!("lints with features: {what}"), &mut cargo(&words))?;
    }
    let mut tests = cargo(&["test", "--workspace", "--no-fail-fast"]);
    if !full {
        return crate::run("tests", &mut tests);
    }
    outcomes::forget()?;
    crate::run("tests, taking their time", tests.env(FULL, "1"))?;
    // A finding of the fuzzers does not undo what the tests came to.
    outcomes::write()?;
    fuzz::run()?;
    outcomes::write()
}

/// Feature sets of the library that an application may choose, beside the default and
/// all: none, and each alone.
fn features() -> Result<Vec<String>, String> {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .map_err(|error| format!("could not start cargo metadata: {error}"))?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout)
        .map_err(|error| format!("could not read what cargo metadata printed: {error}"))?;
    let library = metadata["packages"]
        .as_array()
        .and_then(|packages| packages.iter().find(|package| package["name"] == "annals"))
        .and_then(|library| library["features"].as_object())
        .ok_or("cargo metadata names no features of the package annals")?;
    let mut features = vec![String::new()];
    features.extend(library.keys().filter(|name| *name != "default").cloned());
    Ok(features)
}
