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

/// What a store finds the event by is what the event says.
fn columns(record: &Record, event: &Event) {
    assert_eq!((record.id, record.occurred_at), (event.id, event.occurred_at));
    assert_eq!((record.action(), record.outcome()), (&*event.action, event.outcome.as_str()));
    assert_eq!(record.entity_type(), event.entity.kind);
    assert_eq!(record.entity_id(), event.entity.id.as_deref());
    let actor = event.actor.as_ref();
    assert_eq!(record.actor_type(), actor.and_then(|actor| actor.kind.as_deref()));
    assert_eq!(record.actor_id(), actor.and_then(|actor| actor.id.as_deref()));
    assert_eq!(record.tenant(), event.tenant.as_deref());
    assert_eq!(record.request_id(), event.context.request_id.as_deref());
}

/// Bytes read as a stored event: no panic, and what can be encoded reads the same.
fn stored(data: &[u8]) {
    let record = Record::decode(data.to_vec());
    let Ok(mut event) = Event::decode(data) else {
        return;
    };
    if event.id.millis() == event.occurred_at.as_millis() {
        columns(&record.unwrap(), &event);
    }
    event.version = annals::event::EVENT_VERSION;
    if let Ok(bytes) = event.encode() {
        assert_eq!(Event::decode(&bytes).unwrap(), event);
    }
}
