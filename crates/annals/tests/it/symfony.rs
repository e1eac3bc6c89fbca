//! Taking over from the workers of a Symfony application.

mod php;
mod shape;

use annals::foreign::symfony::Row;
use serde_json::Value;

/// The class of the messages in the fixtures.
pub(crate) const CLASS: &str = "App\\Message\\AuditEventMessage";

/// Rows of `messenger_messages` that a running application wrote.
pub(crate) fn rows(name: &str) -> Vec<Row> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/symfony");
    let text = std::fs::read_to_string(format!("{folder}/{name}.jsonl")).unwrap();
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        Row {
            id: row["id"].as_i64().unwrap(),
            body: text("body"),
            headers: text("headers"),
            created_at: text("created_at").replace('T', " "),
        }
    };
    text.lines().map(row).collect()
}
