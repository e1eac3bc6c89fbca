//! What must hold of any bytes that arrive as an event. Shared with the fuzz
//! target of that name.

use annals::Event;
use annals::event::{MAX_EVENT_BYTES, accept};
use annals::store::Record;

/// Panics if an invariant is broken; answers whether the event was accepted.
pub(crate) fn check(data: &[u8]) -> bool {
    stored(data);
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    match accept(text) {
        Err(fault) => {
            let message = fault.to_string();
            assert!(!fault.faults().is_empty());
            assert!(!message.chars().any(char::is_control), "{message:?}");
            assert!(message.len() < 128 * 1024, "a message of {} bytes", message.len());
            false
        }
        Ok(accepted) => {
            let bytes = accepted.event.encode().unwrap();
            assert!(bytes.len() <= MAX_EVENT_BYTES);
            assert!(!bytes.contains(&b'\n'), "an event is one line");
            assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "JSON to others too");
            assert_eq!(Event::decode(&bytes).unwrap(), accepted.event);
            let record = Record::decode(bytes.clone()).unwrap();
            assert_eq!(record.id, accepted.event.id);
            // What was accepted is accepted again, as the same bytes.
            let encoded = std::str::from_utf8(&bytes).unwrap();
            let again = accept(encoded).unwrap();
            assert!(again.idempotent);
            assert_eq!(again.event.encode().unwrap(), bytes);
            if accepted.idempotent {
                assert_eq!(accept(text).unwrap().event.encode().unwrap(), bytes);
            }
            true
        }
    }
}

/// Bytes read as a stored event: no panic, and what can be encoded reads the same.
fn stored(data: &[u8]) {
    let _ = Record::decode(data.to_vec());
    let Ok(mut event) = Event::decode(data) else {
        return;
    };
    event.version = annals::event::EVENT_VERSION;
    if let Ok(bytes) = event.encode() {
        assert_eq!(Event::decode(&bytes).unwrap(), event);
    }
}
