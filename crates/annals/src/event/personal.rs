//! Values that are personal data: marked at capture, sealed by the worker.
//!
//! A captured personal value stands in the queue as
//! `{"$annals":{"kind":"personal","value":VALUE}}`, to the byte, with VALUE as it is. No
//! store holds one: a worker puts a sealed value in its place, or refuses the event.

use super::scan::end_of_value;

/// What comes before a personal value.
pub(crate) const PERSONAL_BEFORE: &str = r#"{"$annals":{"kind":"personal","value":"#;

/// What comes behind it.
pub(crate) const PERSONAL_AFTER: &str = "}}";

/// The value of a personal mark; `None` if it is none.
pub(crate) fn personal_value(raw: &str) -> Option<&str> {
    let value = raw.strip_prefix(PERSONAL_BEFORE)?.strip_suffix(PERSONAL_AFTER)?;
    (!value.is_empty() && end_of_value(value.as_bytes(), 0) == value.len()).then_some(value)
}

/// Whether an encoded event has a personal value.
pub(crate) fn has_personal(event: &str) -> bool {
    // A mark cannot stand within a text, whose quotes are escaped.
    event.contains(PERSONAL_BEFORE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_mark_is_one() {
        assert_eq!(
            personal_value(r#"{"$annals":{"kind":"personal","value":"a}}"}}"#),
            Some(r#""a}}""#)
        );
        for none in [
            r#"{"$annals":{"kind":"personal","value":1,"x":2}}"#,
            r#"{"$annals":{"kind":"personal","value":}}"#,
            r#"{"$annals":{"kind":"personal"}}"#,
            r#"{"$annals":{"kind":"redacted"}}"#,
        ] {
            assert_eq!(personal_value(none), None, "{none}");
        }
    }
}
