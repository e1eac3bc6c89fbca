//! A request's body, split into the texts of its events.
//!
//! An array is split without building a tree of it: each element stays a slice
//! of the body, however deep it is, and is then read on its own. So the memory is
//! the body's, and one bad event does not harm its neighbours.

use std::fmt;

use annals::event::{Accepted, Writer};
use serde::Deserializer;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// How the events of a body are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json`: one object, or an array of them.
    Json,
    /// `application/x-ndjson`: one object a line.
    Ndjson,
}

/// Why nothing can be taken from a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// It is not JSON: what was expected at which byte.
    NotJson(String),
    /// It has more events than a request may have.
    TooMany {
        /// That many.
        limit: usize,
    },
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson(what) => write!(f, "the body is not JSON: {what}"),
            Self::TooMany { limit } => {
                write!(f, "the body has more events than the limit of {limit}; split it")
            }
        }
    }
}

impl std::error::Error for BodyFault {}

/// One event of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Its text, which may or may not be an event.
    Text(&'a str),
    /// A line that is not UTF-8, from this byte of the line on.
    NotUtf8(usize),
}

/// The bytes of an event's text, at most: four times those of an encoded event,
/// for white space. What is longer is refused without being read.
const MAX_PIECE_BYTES: usize = 4 * annals::event::MAX_EVENT_BYTES;

/// The bytes of a reason, at most; a stranger chooses the names within.
const MAX_REASON_BYTES: usize = 500;

impl Piece<'_> {
    /// The event that was written there.
    ///
    /// # Errors
    /// Why it is refused, in one line.
    pub fn accept(self) -> Result<Accepted, String> {
        self.accept_from(Writer::default())
    }

    /// As [`Self::accept`], from somebody who may not write as everybody.
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub fn accept_from(self, writer: Writer<'_>) -> Result<Accepted, String> {
        let text = match self {
            Self::Text(text) => text,
            Self::NotUtf8(at) => return Err(format!("not UTF-8 at byte {at}")),
        };
        if text.len() > MAX_PIECE_BYTES {
            let limit = annals::event::MAX_EVENT_BYTES;
            return Err(format!("{} bytes; an event has at most {limit}", text.len()));
        }
        annals::event::accept_from(text, writer).map_err(|fault| shorten(fault.to_string()))
    }

    /// Its bytes.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::NotUtf8(_) => 0,
        }
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

fn shorten(mut reason: String) -> String {
    if reason.len() > MAX_REASON_BYTES {
        reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
        reason.push('…');
    }
    reason
}

/// Splits a body into its events, in order.
///
/// # Errors
/// When it is not JSON as a whole, or has more than `limit` events.
pub fn split(body: &[u8], format: Format, limit: usize) -> Result<Vec<Piece<'_>>, BodyFault> {
    match format {
        Format::Json => split_json(body, limit),
        Format::Ndjson => split_lines(body, limit),
    }
}

fn split_lines(body: &[u8], limit: usize) -> Result<Vec<Piece<'_>>, BodyFault> {
    let mut pieces = Vec::new();
    for line in body.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if pieces.len() == limit {
            return Err(BodyFault::TooMany { limit });
        }
        pieces.push(match std::str::from_utf8(line) {
            Ok(text) => Piece::Text(text),
            Err(error) => Piece::NotUtf8(error.valid_up_to()),
        });
    }
    Ok(pieces)
}

fn split_json(body: &[u8], limit: usize) -> Result<Vec<Piece<'_>>, BodyFault> {
    let text = std::str::from_utf8(body).map_err(|error| {
        BodyFault::NotJson(format!("not UTF-8 at byte {}", error.valid_up_to()))
    })?;
    match text.trim_ascii_start().bytes().next() {
        Some(b'[') => split_array(text, limit),
        Some(b'{') => match serde_json::from_str::<&RawValue>(text) {
            Ok(object) => Ok(vec![Piece::Text(object.get())]),
            Err(error) => Err(not_json(text, &error)),
        },
        Some(_) => {
            let at = text.len() - text.trim_ascii_start().len();
            let found = text[at..].chars().next().unwrap_or_default();
            Err(BodyFault::NotJson(format!("expected '{{' or '[' at byte {at}, found {found:?}")))
        }
        None => Err(BodyFault::NotJson("it is empty".to_owned())),
    }
}

fn split_array(text: &str, limit: usize) -> Result<Vec<Piece<'_>>, BodyFault> {
    struct Elements<'s, 'de> {
        pieces: &'s mut Vec<Piece<'de>>,
        limit: usize,
    }
    impl<'de> Visitor<'de> for Elements<'_, 'de> {
        type Value = bool;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of events")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<bool, A::Error> {
            while let Some(element) = array.next_element::<&'de RawValue>()? {
                self.pieces.push(Piece::Text(element.get()));
                if self.pieces.len() > self.limit {
                    return Err(A::Error::custom("too many"));
                }
            }
            Ok(true)
        }
    }
    let mut pieces = Vec::new();
    let mut json = serde_json::Deserializer::from_str(text);
    let whole =
        json.deserialize_seq(Elements { pieces: &mut pieces, limit }).and_then(|_| json.end());
    match whole {
        _ if pieces.len() > limit => Err(BodyFault::TooMany { limit }),
        Ok(()) => Ok(pieces),
        Err(error) => Err(not_json(text, &error)),
    }
}

/// The parser's message, with the byte instead of a line and a column.
fn not_json(text: &str, error: &serde_json::Error) -> BodyFault {
    let message = error.to_string();
    let what = message.rsplit_once(" at line ").map_or(&*message, |(what, _)| what);
    let lines_before = error.line().saturating_sub(1);
    let start: usize = text.split_inclusive('\n').take(lines_before).map(str::len).sum();
    let at = (start + error.column().saturating_sub(1)).min(text.len());
    let hint = match what {
        "trailing characters" => " (send several events as an array, or as application/x-ndjson)",
        _ => "",
    };
    BodyFault::NotJson(format!("{what} at byte {at}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(body: &[u8]) -> Result<Vec<String>, String> {
        texts(split(body, Format::Json, 3))
    }

    fn texts(pieces: Result<Vec<Piece<'_>>, BodyFault>) -> Result<Vec<String>, String> {
        match pieces {
            Ok(pieces) => Ok(pieces
                .into_iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text.to_owned(),
                    Piece::NotUtf8(at) => format!("not UTF-8 at {at}"),
                })
                .collect()),
            Err(fault) => Err(fault.to_string()),
        }
    }

    #[test]
    fn an_object_is_one_event_and_an_array_its_elements() {
        assert_eq!(json(b" {\"a\": 1} \n").unwrap(), ["{\"a\": 1}"]);
        assert_eq!(json(b"[]").unwrap(), [""; 0]);
        assert_eq!(
            json(b"[ {\"a\":[1,{}]} ,2,\n\"],[\" ]").unwrap(),
            ["{\"a\":[1,{}]}", "2", "\"],[\""]
        );
    }

    #[test]
    fn what_is_not_json_is_refused_naming_the_byte() {
        for (body, expected) in [
            (&b""[..], "the body is not JSON: it is empty"),
            (b"  ", "the body is not JSON: it is empty"),
            (b" hello", "the body is not JSON: expected '{' or '[' at byte 1, found 'h'"),
            (b"[{},\n {]", "the body is not JSON: key must be a string at byte 7"),
            (b"[{}", "the body is not JSON: EOF while parsing a list at byte 2"),
            (b"{\"a\":\"\xff\"}", "the body is not JSON: not UTF-8 at byte 6"),
            (
                b"{}\n{}",
                "the body is not JSON: trailing characters at byte 3 \
                 (send several events as an array, or as application/x-ndjson)",
            ),
            (b"[1,2,3,4]", "the body has more events than the limit of 3; split it"),
        ] {
            assert_eq!(json(body).unwrap_err(), expected, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn lines_stand_alone() {
        let body = b"{}\r\n\n  \nnot json\n\xc3\xa9\xff\n";
        let pieces = texts(split(body, Format::Ndjson, 3)).unwrap();
        assert_eq!(pieces, ["{}", "not json", "not UTF-8 at 2"]);
        assert!(split(b"1\n2\n3\n4", Format::Ndjson, 3).is_err());
    }

    #[test]
    fn depth_is_no_danger_and_is_named() {
        let deep = format!("[{}{}]", "[".repeat(100_000), "]".repeat(100_000));
        let pieces = split(deep.as_bytes(), Format::Json, 3).unwrap();
        let reason = pieces[0].accept().unwrap_err();
        assert!(reason.contains("nested deeper than"), "{reason}");
    }

    #[test]
    fn a_stranger_cannot_make_a_reason_long() {
        let name = "é".repeat(10_000);
        let event = format!(r#"{{"action":"x","entity":{{"type":"t"}},"{name}":1}}"#);
        let reason = Piece::Text(&event).accept().unwrap_err();
        assert!(reason.len() <= MAX_REASON_BYTES + '…'.len_utf8(), "{}", reason.len());
    }
}
