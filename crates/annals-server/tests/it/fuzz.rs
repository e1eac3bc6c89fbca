//! What must hold for any body; shared with the fuzz target `body`.

use annals_server::body::{BodyFault, Format, Piece, split};
use serde_json::Value;

/// Splits a body both ways, and compares with a parser of the whole.
pub(crate) fn check(body: &[u8]) {
    const LIMIT: usize = 6;
    agrees(split(body, Format::Json, LIMIT), serde_json::from_slice(body).ok(), LIMIT);
    for format in [Format::Json, Format::Ndjson] {
        for piece in split(body, format, 100).unwrap_or_default() {
            if let Ok(accepted) = piece.accept() {
                let bytes = accepted.encoded.bytes();
                assert_eq!(accepted.event.encode().as_deref(), Ok(bytes), "it is the event's");
                let decoded = annals::Event::decode(bytes).expect("an encoded event can be read");
                assert_eq!(decoded, accepted.event);
            }
        }
    }
}

fn agrees(split: Result<Vec<Piece<'_>>, BodyFault>, whole: Option<Value>, limit: usize) {
    match (split, whole) {
        (Ok(pieces), Some(Value::Array(elements))) => {
            assert_eq!(pieces.len(), elements.len());
            for (piece, element) in pieces.iter().zip(&elements) {
                let Piece::Text(text) = piece else { panic!("an element is text") };
                assert_eq!(serde_json::from_str::<Value>(text).ok().as_ref(), Some(element));
            }
        }
        (Ok(pieces), Some(Value::Object(_))) => assert_eq!(pieces.len(), 1),
        (Ok(_), Some(other)) => panic!("took {other}, which is neither an object nor an array"),
        (Err(BodyFault::TooMany { limit: told }), _) => assert_eq!(told, limit),
        (Err(BodyFault::NotJson(what)), Some(Value::Array(_) | Value::Object(_))) => {
            panic!("refused what is JSON: {what}")
        }
        // A number out of range, a lone surrogate and great depth are for the
        // event's own reader, so the whole may be unreadable to this parser.
        (Ok(_), None) | (Err(_), _) => {}
    }
}
