//! One JSON value of an event.

use annals::event::Mark;
use serde_json::value::RawValue;

use super::shown::{cut, shown};

/// Digits of a hash that are enough to tell values apart.
const HASH: usize = 12;

/// What is left of a value that was masked.
fn mask(raw: &RawValue) -> Option<String> {
    let mark: serde_json::Value = serde_json::from_str(raw.get()).ok()?;
    Some(mark["$annals"]["mask"].as_str()?.to_owned())
}

/// A value as people read it: texts in quotes, marks in words, all else as JSON;
/// at most `most` characters of it.
pub(crate) fn value(raw: &RawValue, most: usize) -> String {
    match Mark::of(raw) {
        Some(Mark::Redacted) => {
            return match mask(raw) {
                Some(mask) => format!("[{}]", shown(&cut(&mask, most))),
                None => "[redacted]".to_owned(),
            };
        }
        Some(Mark::Hmac { hmac, .. }) => {
            return format!("[hash {}]", shown(&cut(&hmac, HASH)));
        }
        Some(Mark::Truncated { length, .. }) => return format!("[cut, was {length} bytes]"),
        Some(Mark::Personal | Mark::Sealed) => return "[sealed]".to_owned(),
        Some(Mark::Erased) => return "[erased]".to_owned(),
        _ => {}
    }
    match serde_json::from_str::<String>(raw.get()) {
        // Not `{:?}`, which would escape every accent; quotes inside stay as they are.
        Ok(text) => format!("\"{}\"", shown(&cut(&text, most))),
        Err(_) => shown(&cut(raw.get(), most)).into_owned(),
    }
}
