//! `cargo xtask test`.

use crate::{cargo, fuzz, outcomes};

/// Feature sets that an application may choose, beside the default and all.
const FEATURES: [&str; 16] = [
    "",
    "derive",
    "sqlite",
    "sqlx-sqlite",
    "postgres",
    "mysql",
    "redis",
    "file",
    "tower",
    "config",
    "proof",
    "publish",
    "redact",
    "archive",
    "seal",
    "testing",
];

/// Tells the tests to take their time; they read it from the environment.
const FULL: &str = "ANNALS_TEST_FULL";

pub(crate) fn run(full: bool) -> Result<(), String> {
    for features in FEATURES {
        let what = if features.is_empty() { "none" } else { features };
        let words = [
            "clippy",
            "--quiet",
            "--no-deps",
            "--package",
            "annals",
            "--no-default-features",
            "--features",
            features,
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
