//! What a long run came to, for `cargo xtask test --full` to put into
//! docs/testing.md.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Set by `cargo xtask test --full`: tests take their time.
#[must_use]
pub fn is_full() -> bool {
    std::env::var_os("ANNALS_TEST_FULL").is_some_and(|value| !value.is_empty() && value != "0")
}

/// Leaves `target/test-outcomes/NAME.json`: which test it was, the date, and what
/// it came to.
///
/// # Panics
/// If the file cannot be written.
pub fn leave(name: &str, test: &str, outcome: &str) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target =
        workspace.unwrap_or(Path::new(".")).join(target.unwrap_or_else(|| "target".into()));
    let path = target.join("test-outcomes").join(format!("{name}.json"));
    let date = Command::new("date").args(["--utc", "+%Y-%m-%d"]).output();
    let date = date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let line = serde_json::json!({
        "test": test, "date": date.unwrap_or_default(), "outcome": outcome,
    });
    std::fs::create_dir_all(target.join("test-outcomes"))
        .and_then(|()| std::fs::write(&path, format!("{line}\n")))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
