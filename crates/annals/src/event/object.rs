//! JSON objects kept as the text they are stored as.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::json::{self, JsonFault};

/// A JSON object, as compact text: an event's old values, new values or
/// metadata. Its numbers and its order of keys are those that were given.
#[derive(Clone, PartialEq, Eq)]
pub struct Object(String);

/// What stands in the place of a value that is not the plain value:
/// `{"$annals":{"kind":"redacted"}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Mark {
    /// The value was left out on purpose; that it changed is all there is to know.
    Redacted,
    /// The value was too long and was cut.
    Truncated {
        /// Bytes of the whole value.
        length: u64,
        /// SHA-256 of the whole value, in hexadecimal.
        sha256: String,
    },
    /// A keyed hash of the value (`annals::redact`).
    Hmac {
        /// Which key it is of.
        key: String,
        /// HMAC-SHA-256, in hexadecimal.
        hmac: String,
    },
    /// The value is personal data that waits to be sealed: `value` beside the kind.
    Personal,
    /// The value is encrypted under the key of the person it is about.
    Sealed,
    /// The value was sealed, and its key is destroyed. No store holds this mark: readers
    /// are shown it.
    Erased,
}

/// A [`Mark`] in its object.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Marked {
    #[serde(rename = "$annals")]
    pub(crate) mark: Mark,
}

/// The text of a redacted value.
pub(crate) const REDACTED: &str = r#"{"$annals":{"kind":"redacted"}}"#;

impl Object {
    /// The object without keys.
    #[must_use]
    pub fn empty() -> Self {
        Self("{}".to_owned())
    }

    /// From any value that serializes as a JSON object.
    ///
    /// # Errors
    /// If it is no object, or holds what an event must not (see [`JsonFault`]).
    pub fn from_value<T: Serialize + ?Sized>(value: &T) -> Result<Self, JsonFault> {
        let text = serde_json::to_string(value).map_err(|error| JsonFault {
            path: String::new(),
            what: format!("cannot be written as JSON: {error}"),
        })?;
        let mut out = String::with_capacity(text.len());
        json::compact_captured(&text, &mut out)?;
        Self::from_checked(out)
    }

    /// From text that the scanner or our own writers made.
    pub(crate) fn from_checked(text: String) -> Result<Self, JsonFault> {
        if text.starts_with('{') {
            return Ok(Self(text));
        }
        Err(JsonFault {
            path: String::new(),
            what: format!("expected an object, found {}", json::abbreviate(&text)),
        })
    }

    /// From an object that our own code wrote.
    pub(crate) fn from_writer(text: Vec<u8>) -> Self {
        Self(String::from_utf8(text).unwrap_or_else(|_| "{}".to_owned()))
    }

    /// The compact JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == "{}"
    }

    /// Its keys and the JSON text of their values, in the order given.
    #[must_use]
    pub fn fields(&self) -> Vec<(Cow<'_, str>, &RawValue)> {
        serde_json::from_str::<Fields<'_>>(&self.0).map(|fields| fields.0).unwrap_or_default()
    }

    /// One field as `T`; `None` if it is missing or does not fit `T`.
    #[must_use]
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let fields = self.fields();
        let (_, raw) = fields.iter().find(|(name, _)| name == key)?;
        serde_json::from_str(raw.get()).ok()
    }

    /// Whether the field is there, whatever its value.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.fields().iter().any(|(name, _)| name == key)
    }

    /// The whole object as `T`; `None` if it does not fit, as when the type has
    /// changed since or a field was redacted.
    #[must_use]
    pub fn to<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&self.0).ok()
    }
}

impl Mark {
    /// The mark that a value is, if it is one.
    #[must_use]
    pub fn of(value: &RawValue) -> Option<Self> {
        if !value.get().starts_with(r#"{"$annals""#) {
            return None;
        }
        serde_json::from_str::<Marked>(value.get()).ok().map(|marked| marked.mark)
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        <&RawValue>::deserialize(&mut serde_json::Deserializer::from_str(&self.0))
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    fields.push((key, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Walk)
    }
}

/// A key, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
