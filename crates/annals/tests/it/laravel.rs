//! Taking over from the daemon of a Laravel application.

mod list;
mod rescue;
mod shape;
mod table;

use std::path::PathBuf;

use serde_json::Value;

/// A file that a running application, or its daemon, wrote.
pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/laravel").join(name)
}

/// What a running application pushed to its list.
pub(crate) fn payloads() -> Vec<String> {
    let text = std::fs::read_to_string(fixture("redis_payloads.jsonl")).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// A column of a pushed row as the text that a database is given; `None` is null.
pub(crate) fn column(payload: &Value, name: &str) -> Option<String> {
    match &payload[name] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
