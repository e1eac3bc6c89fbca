//! A row's body and headers, read: the message, its class, and the stamps on it.

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;

use crate::event::{MAX_EVENT_BYTES, Object, compact_captured};
use crate::foreign::php::{Document, Index, from_base64};

/// The class of what PhpSerializer writes.
const ENVELOPE: &[u8] = b"Symfony\\Component\\Messenger\\Envelope";

/// Where Messenger's own stamps live.
pub(super) const STAMP: &str = "Symfony\\Component\\Messenger\\Stamp\\";

/// What a header with stamps begins with.
pub(super) const STAMP_HEADER: &str = "X-Message-Stamp-";

/// Bytes of a body that is read, at most.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// Why a row holds no message that could be read. What PHP would do with it is to throw
/// it away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable(pub(super) String);

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot be decoded: {}", self.0)
    }
}

impl std::error::Error for Undecodable {}

/// A body without what was put around it.
pub struct Body<'r> {
    pub(super) bytes: Cow<'r, [u8]>,
    /// Of which serializer.
    php: bool,
    /// Whether base64 was around it.
    base64: bool,
}

/// What is known of a row before its message is read.
pub struct Envelope<'b> {
    /// The message's class.
    pub class: String,
    pub(super) kind: Kind<'b>,
}

pub(super) enum Kind<'b> {
    Php { document: Document<'b>, stamps: Index, message: Index, base64: bool },
    Json { body: &'b str, headers: Object },
}

/// The class that the headers name, if the Serializer component wrote them.
fn type_of(headers: &str) -> Option<(String, Object)> {
    // PHP writes an array without elements as a list.
    if !headers.contains("\"type\"") {
        return None;
    }
    let mut compact = String::with_capacity(headers.len());
    compact_captured(headers, &mut compact).ok()?;
    let headers = Object::from_checked(compact).ok()?;
    let class: String = headers.get("type")?;
    Some((class.trim_start_matches('\\').to_owned(), headers))
}

impl<'r> Body<'r> {
    /// Undoes what PhpSerializer does after it has serialized, unless the headers say
    /// that another wrote it.
    ///
    /// # Errors
    /// If it is too long.
    pub fn of(body: &'r str, headers: &str) -> Result<Self, Undecodable> {
        if body.len() > MAX_BODY {
            let found = format!("its body has {} bytes, and {MAX_BODY} are read", body.len());
            return Err(Undecodable(found));
        }
        if type_of(headers).is_some() {
            return Ok(Self { bytes: Cow::Borrowed(body.as_bytes()), php: false, base64: false });
        }
        let base64 = !body.ends_with('}');
        let slashed = match base64 {
            false => Cow::Borrowed(body.as_bytes()),
            true => Cow::Owned(from_base64(body.as_bytes()).unwrap_or_default()),
        };
        Ok(Self { bytes: Cow::Owned(without_slashes(&slashed)), php: true, base64 })
    }

    /// Whether it says, in the one place where an envelope says it, that its message is
    /// of that class: also of a body that cannot be read as a whole.
    #[must_use]
    pub fn seems_to_hold(&self, class: &str) -> bool {
        let wanted = format!("\0message\";O:{}:\"{class}\":", class.len());
        self.php
            && self.bytes.starts_with(b"O:36:\"Symfony\\Component\\Messenger\\Envelope\":")
            && position(&self.bytes, wanted.as_bytes()).is_some()
    }

    /// Reads the envelope.
    ///
    /// # Errors
    /// What about it cannot be read.
    pub fn envelope(&'r self, headers: &str) -> Result<Envelope<'r>, Undecodable> {
        if let Some((class, headers)) = type_of(headers) {
            let body = std::str::from_utf8(&self.bytes);
            let body = body.map_err(|error| Undecodable(format!("is not UTF-8: {error}")))?;
            return Ok(Envelope { class, kind: Kind::Json { body, headers } });
        }
        let document = Document::read(&self.bytes)
            .map_err(|fault| Undecodable(format!("the body is not PHP's, {fault}")))?;
        let root = document.root();
        let part = |name: &str| {
            let missing = || Undecodable(format!("the envelope has no {name}"));
            document.property(root, name).ok_or_else(missing)
        };
        match document.object(root) {
            Some((class, _)) if class == ENVELOPE => {}
            _ => return Err(Undecodable("it is no envelope of Messenger's".to_owned())),
        }
        let (stamps, message) = (part("stamps")?, part("message")?);
        let Some((class, _)) = document.object(message) else {
            return Err(Undecodable("its message is no object".to_owned()));
        };
        let class = String::from_utf8_lossy(class).into_owned();
        let kind = Kind::Php { document, stamps, message, base64: self.base64 };
        Ok(Envelope { class, kind })
    }
}

impl Envelope<'_> {
    /// The message's properties as compact JSON.
    ///
    /// # Errors
    /// If it is no object, or longer than an event may be.
    pub fn message(&self) -> Result<String, String> {
        match &self.kind {
            Kind::Php { document, message, .. } => {
                document.json(*message, MAX_EVENT_BYTES).map_err(|why| format!("the message {why}"))
            }
            Kind::Json { body, .. } => {
                let mut compact = String::with_capacity(body.len());
                compact_captured(body, &mut compact).map_err(|fault| fault.to_string())?;
                Ok(compact)
            }
        }
    }

    /// Whether the message can be read at all: what PHP wrote has been; JSON may be none.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn check(&self) -> Result<(), Undecodable> {
        match &self.kind {
            Kind::Php { .. } => Ok(()),
            Kind::Json { body, .. } => serde_json::from_str::<&RawValue>(body)
                .map(drop)
                .map_err(|error| Undecodable(format!("the body is not JSON: {error}"))),
        }
    }

    /// The number of the row that the message was dispatched to, if it has moved since.
    #[must_use]
    pub fn first_id(&self) -> Option<String> {
        self.stamp("TransportMessageIdStamp", "id", false)
    }

    /// How often it has been retried since it was last dispatched, or failed.
    #[must_use]
    pub fn retries(&self) -> u32 {
        let count = self.stamp("RedeliveryStamp", "retryCount", true);
        count.and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    /// How often it has been tried before it was given up, or until now.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        let counts = self.all("RedeliveryStamp", "retryCount");
        counts.iter().filter_map(|count| count.parse().ok()).max().unwrap_or(0) + 1
    }

    /// Why it was last not handled.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        self.stamp("ErrorDetailsStamp", "exceptionMessage", true)
    }

    /// A property of the first or last stamp of Messenger's of that name.
    fn stamp(&self, name: &str, property: &str, last: bool) -> Option<String> {
        let mut all = self.all(name, property).into_iter();
        if last { all.next_back() } else { all.next() }
    }

    /// A property of all stamps of Messenger's of that name, as texts.
    fn all(&self, name: &str, property: &str) -> Vec<String> {
        match &self.kind {
            Kind::Php { document, stamps, .. } => {
                let class = format!("{STAMP}{name}");
                let lists = document.array(*stamps).unwrap_or_default();
                let list = lists.iter().find(|(key, _)| key.name() == class);
                let list = list.and_then(|(_, list)| document.array(*list)).unwrap_or_default();
                let told = |(_, stamp): &(_, Index)| {
                    let value = document.property(*stamp, property)?;
                    match document.text(value) {
                        Some(text) => Some(text.to_owned()),
                        None => document.json(value, 4096).ok().filter(|json| json != "null"),
                    }
                };
                list.iter().filter_map(told).collect()
            }
            Kind::Json { headers, .. } => {
                let json: Option<String> = headers.get(&format!("{STAMP_HEADER}{STAMP}{name}"));
                let list = json.and_then(|json| serde_json::from_str(&json).ok());
                let list: Vec<serde_json::Value> = list.unwrap_or_default();
                let told = |stamp: &serde_json::Value| match &stamp[property] {
                    serde_json::Value::Null => None,
                    serde_json::Value::String(text) => Some(text.clone()),
                    other => Some(other.to_string()),
                };
                list.iter().filter_map(told).collect()
            }
        }
    }
}

/// What `addslashes` made, undone: a backslash goes, and what stands behind it stays;
/// `\0` is NUL.
fn without_slashes(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        match rest.get(at + 1) {
            Some(b'0') => out.push(0),
            Some(other) => out.push(*other),
            None => {}
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// As `addslashes`: a backslash before `'`, `"`, a backslash and NUL.
pub(super) fn with_slashes(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 8);
    for byte in text {
        match byte {
            b'\'' | b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            0 => out.extend_from_slice(b"\\0"),
            other => out.push(*other),
        }
    }
    out
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
