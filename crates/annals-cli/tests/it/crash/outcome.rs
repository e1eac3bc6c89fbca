//! What a long run came to, for `cargo xtask test --full` to put into
//! docs/testing.md.

use std::path::Path;

use annals::Timestamp;
use serde_json::json;

/// Set by `cargo xtask test --full`: tests take their time.
pub(super) fn is_full() -> bool {
    std::env::var_os("ANNALS_TEST_FULL").is_some_and(|value| !value.is_empty() && value != "0")
}

/// Leaves `target/test-outcomes/NAME.json`: which test it was, the date, and what
/// it came to.
pub(super) fn leave(name: &str, test: &str, outcome: &str) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let outcomes = target.join("test-outcomes");
    std::fs::create_dir_all(&outcomes).unwrap();
    let date = &Timestamp::now().to_string()[..10];
    let line = json!({ "test": test, "date": date, "outcome": outcome });
    std::fs::write(outcomes.join(format!("{name}.json")), format!("{line}\n")).unwrap();
}
