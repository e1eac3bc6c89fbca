//! What a server says that queues and store hold.

use annals::Timestamp;
use annals::store::StoreStats;
use annals::transport::TransportStats;
use serde_json::Value;

use super::{Found, NoFigures};

/// Reads a server's answer. A queue that is away there has no figures.
pub(super) fn found(answer: &Value) -> Found {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let url = |value: &Value| value["url"].as_str().unwrap_or_default().to_owned();
    let queues = answer["transports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let queue = |queue: &Value| {
        let stats = TransportStats {
            ready: number(&queue["ready"]),
            leased: number(&queue["leased"]),
            failed: number(&queue["failed"]),
            oldest: time(&queue["oldest"]),
            bytes: queue["bytes"].as_u64(),
        };
        (url(queue), stats)
    };
    let store = &answer["store"];
    let held = StoreStats {
        events: number(&store["events"]),
        size: number(&store["size"]),
        oldest: time(&store["oldest"]),
        newest: time(&store["newest"]),
        bytes: number(&store["bytes"]),
    };
    let signed = &store["signed"];
    Found {
        transports: queues.iter().map(queue).collect(),
        store: match store.is_null() {
            true => Err(NoFigures::None("the store is away".to_owned())),
            false => Ok(held),
        },
        signed: time(&signed["at"]).map(|at| (number(&signed["size"]), at)),
        witnessed: Vec::new(),
        store_url: url(store),
        answer: Some(answer.clone()),
    }
}
