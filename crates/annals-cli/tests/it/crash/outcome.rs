//! What a long run came to, for `cargo xtask test --full` to put into
//! docs/testing.md.

use std::path::Path;

use annals::Timestamp;
use serde_json::{Value, json};

/// Set by `cargo xtask test --full`: tests take their time.
pub(super) fn is_full() -> bool {
    std::env::var_os("ANNALS_TEST_FULL").is_some_and(|value| !value.is_empty() && value != "0")
}

/// Leaves `target/test-outcomes/NAME.json`: the date, and these figures.
pub(super) fn leave(name: &str, mut figures: Value) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let outcomes = target.join("test-outcomes");
    std::fs::create_dir_all(&outcomes).unwrap();
    figures["date"] = json!(Timestamp::now().to_string()[..10]);
    std::fs::write(outcomes.join(format!("{name}.json")), format!("{figures}\n")).unwrap();
}
