//! One pushed row, as it stands in the list.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::event::push_unescaped;

/// A row, borrowed from its text where nothing is escaped there.
#[derive(Default)]
pub(super) struct Payload<'a> {
    pub(super) id: Cow<'a, str>,
    pub(super) event: Cow<'a, str>,
    pub(super) auditable_type: Cow<'a, str>,
    pub(super) auditable_id: Option<Cow<'a, str>>,
    pub(super) user_id: Option<Cow<'a, str>>,
    pub(super) url: Option<Cow<'a, str>>,
    pub(super) ip_address: Option<Cow<'a, str>>,
    pub(super) user_agent: Option<Cow<'a, str>>,
    pub(super) old_values: Values<'a>,
    pub(super) new_values: Values<'a>,
    pub(super) created_at: Cow<'a, str>,
    /// What other versions added, each with the text of its value.
    pub(super) extra: Vec<(Cow<'a, str>, String)>,
}

/// The values of a row.
#[derive(Default)]
pub(super) enum Values<'a> {
    /// Null, or not there.
    #[default]
    Absent,
    /// `[]`, which is PHP's object without keys.
    Empty,
    /// JSON, in a text of its own or in its place.
    Object(Cow<'a, str>),
}

impl<'a> Payload<'a> {
    /// # Errors
    /// What keeps the text from being a row.
    pub(super) fn read(text: &'a str) -> Result<Self, String> {
        let payload: Self =
            serde_json::from_str(text).map_err(|error| format!("is no row of audits: {error}"))?;
        let needed = [
            ("id", &payload.id),
            ("event", &payload.event),
            ("auditable_type", &payload.auditable_type),
            ("created_at", &payload.created_at),
        ];
        let missing: Vec<&str> =
            needed.iter().filter(|(_, text)| text.is_empty()).map(|(name, _)| *name).collect();
        match missing.as_slice() {
            [] => Ok(payload),
            missing => Err(format!("is no row of audits: without {}", missing.join(", "))),
        }
    }
}

impl<'de> Deserialize<'de> for Payload<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Payload<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row of audits as a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Payload<'de>, A::Error> {
                let mut row = Payload::default();
                while let Some(Name(name)) = map.next_key()? {
                    match &*name {
                        "id" => row.id = text(&name, map.next_value()?)?.unwrap_or_default(),
                        "event" => row.event = text(&name, map.next_value()?)?.unwrap_or_default(),
                        "auditable_type" => {
                            row.auditable_type =
                                text(&name, map.next_value()?)?.unwrap_or_default();
                        }
                        "auditable_id" => row.auditable_id = text(&name, map.next_value()?)?,
                        "user_id" => row.user_id = text(&name, map.next_value()?)?,
                        "url" => row.url = text(&name, map.next_value()?)?,
                        "ip_address" => row.ip_address = text(&name, map.next_value()?)?,
                        "user_agent" => row.user_agent = text(&name, map.next_value()?)?,
                        "old_values" => row.old_values = values(&name, map.next_value()?)?,
                        "new_values" => row.new_values = values(&name, map.next_value()?)?,
                        "created_at" => {
                            row.created_at = text(&name, map.next_value()?)?.unwrap_or_default();
                        }
                        _ => {
                            let value: &RawValue = map.next_value()?;
                            row.extra.push((name, value.get().to_owned()));
                        }
                    }
                }
                Ok(row)
            }
        }
        deserializer.deserialize_map(Walk)
    }
}

/// A text, or a number taken as its digits; `None` for null.
fn text<'de, E: serde::de::Error>(
    name: &str,
    raw: &'de RawValue,
) -> Result<Option<Cow<'de, str>>, E> {
    let json = raw.get();
    match json.as_bytes().first() {
        Some(b'"') => string(json)
            .map(Some)
            .ok_or_else(|| E::custom(format_args!("{name}: holds half of a surrogate pair"))),
        Some(b'-' | b'0'..=b'9') => Ok(Some(Cow::Borrowed(json))),
        _ if json == "null" => Ok(None),
        _ => Err(E::custom(format_args!("{name}: expected text, found {}", shortened(json)))),
    }
}

fn values<'de, E: serde::de::Error>(name: &str, raw: &'de RawValue) -> Result<Values<'de>, E> {
    let json = raw.get();
    let text = match json.as_bytes().first() {
        Some(b'"') => string(json)
            .ok_or_else(|| E::custom(format_args!("{name}: holds half of a surrogate pair")))?,
        Some(b'{' | b'[') => Cow::Borrowed(json),
        _ if json == "null" => return Ok(Values::Absent),
        _ => {
            let found = shortened(json);
            return Err(E::custom(format_args!("{name}: expected an object, found {found}")));
        }
    };
    Ok(if text.trim() == "[]" { Values::Empty } else { Values::Object(text) })
}

/// What a quoted text says.
fn string(json: &str) -> Option<Cow<'_, str>> {
    let raw = json.get(1..json.len() - 1)?;
    if !raw.contains('\\') {
        return Some(Cow::Borrowed(raw));
    }
    let mut text = String::with_capacity(raw.len());
    match push_unescaped(raw, &mut text) {
        true => Some(Cow::Owned(text)),
        false => serde_json::from_str::<String>(json).ok().map(Cow::Owned),
    }
}

fn shortened(json: &str) -> String {
    crate::event::abbreviate(json)
}

/// A key, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
