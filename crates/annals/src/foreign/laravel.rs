//! What Laravel applications push to a Redis list for a daemon to insert: one JSON
//! object for each row of their table `audits`, with the columns as keys.
//!
//! The shape is that of laravel-async-audit-logger 1.0, seen in what a running
//! application pushed. `old_values` and `new_values` are texts of JSON; PHP writes
//! an object without keys as `[]`.
//!
//! | row | event |
//! |---|---|
//! | `id` | `source_id`; the event's own id is derived from it and from the time |
//! | `event` | `action` |
//! | `auditable_type`, `auditable_id` | `entity` |
//! | `user_id` | `actor`, of the type `user` |
//! | `url`, `ip_address`, `user_agent` | `context` |
//! | `old_values`, `new_values` | the same, secrets redacted |
//! | `created_at` | `occurred_at` |
//!
//! What an event has no place for is kept in `metadata.laravel`, so that
//! [`Laravel::row`] gives the row as it came, but for the secrets.

mod payload;
mod row;

use std::borrow::Cow;

use super::{Secrets, Zone};
use crate::event::{Actor, Context, Entity, Event, EventId, Object, Text, compact_captured};
use crate::url::Options;
use payload::{Payload, Values};
pub use row::{AuditRow, COLUMNS};

/// How the payloads of one application are read, and its rows written.
#[derive(Clone, Debug)]
pub struct Laravel {
    /// Whose data they are.
    pub tenant: Option<Text>,
    /// The `source` of its events.
    pub source: Text,
    /// The zone of its clock.
    pub zone: Zone,
    /// Which fields are redacted.
    pub secrets: Secrets,
}

impl Default for Laravel {
    /// `source` is `laravel`, the zone UTC, the secrets those of the standard list.
    fn default() -> Self {
        Self {
            tenant: None,
            source: Cow::Borrowed("laravel"),
            zone: Zone::UTC,
            secrets: Secrets::default(),
        }
    }
}

impl Laravel {
    /// The one that the options of a URL describe: `tenant`, `source`, `timezone`, and
    /// `redact`, further names of fields that hold secrets, with commas between them.
    ///
    /// # Errors
    /// For a time zone that is not known.
    pub fn of(url: &str) -> Result<Self, String> {
        Self::take(&mut Options::of(url))
    }

    /// The same, out of the options.
    pub(crate) fn take(options: &mut Options<'_>) -> Result<Self, String> {
        let mut laravel = Self::default();
        if let Some(zone) = options.take("timezone") {
            laravel.zone = zone.parse()?;
        }
        if let Some(source) = options.take("source") {
            laravel.source = source.into();
        }
        laravel.tenant = options.take("tenant").map(Text::from);
        if let Some(names) = options.take("redact") {
            laravel.secrets = laravel.secrets.and(names.split(','));
        }
        Ok(laravel)
    }

    /// Reads one payload.
    ///
    /// # Errors
    /// Why it is none, or no event can be made of it.
    pub fn event(&self, payload: &[u8]) -> Result<Event, String> {
        let text =
            std::str::from_utf8(payload).map_err(|error| format!("is not UTF-8: {error}"))?;
        let payload = Payload::read(text)?;
        let time = self.zone.read(&payload.created_at).map_err(at("created_at"))?;
        let kind = payload.auditable_type.into_owned();
        let entity = Entity { kind: Cow::Owned(kind), id: payload.auditable_id.map(owned) };
        let mut event = Event::new(payload.event.into_owned(), entity);
        event.occurred_at = time;
        event.tenant.clone_from(&self.tenant);
        let mut kept = payload.extra;
        event.old_values = self.values("old_values", payload.old_values, &mut kept)?;
        event.new_values = self.values("new_values", payload.new_values, &mut kept)?;
        event.actor = payload.user_id.map(|id| Actor {
            kind: Some(Cow::Borrowed("user")),
            id: Some(owned(id)),
            ..Actor::default()
        });
        event.context = Context {
            url: payload.url.map(owned),
            ip: payload.ip_address.map(owned),
            user_agent: payload.user_agent.map(owned),
            ..Context::default()
        };
        if !kept.is_empty() {
            event.metadata = Some(self.metadata(&kept)?);
        }
        Ok(event.imported(self.source.clone(), payload.id.into_owned()))
    }

    /// The same, encoded.
    ///
    /// # Errors
    /// As [`Laravel::event`]; also every fault of the event.
    pub fn encode(&self, payload: &[u8]) -> Result<(EventId, Vec<u8>), String> {
        let event = self.event(payload)?;
        let body = event.encode().map_err(|fault| fault.to_string())?;
        Ok((event.id, body))
    }

    fn values(
        &self,
        name: &'static str,
        values: Values<'_>,
        kept: &mut Vec<(Cow<'_, str>, String)>,
    ) -> Result<Option<Object>, String> {
        let text = match values {
            Values::Absent => {
                kept.push((Cow::Borrowed(name), "null".to_owned()));
                return Ok(None);
            }
            Values::Empty => return Ok(None),
            Values::Object(text) => text,
        };
        self.object(&text).map(Some).map_err(at(name))
    }

    /// What a row has besides, or has and an event has no place for.
    fn metadata(&self, kept: &[(Cow<'_, str>, String)]) -> Result<Object, String> {
        let mut text = String::from(r#"{"laravel":{"#);
        for (index, (name, value)) in kept.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let name = serde_json::to_string(name).map_err(|error| error.to_string())?;
            text.push_str(&format!("{comma}{name}:{value}"));
        }
        text.push_str("}}");
        self.object(&text)
    }

    /// JSON text as an object without secrets.
    fn object(&self, text: &str) -> Result<Object, String> {
        let mut compact = String::with_capacity(text.len());
        compact_captured(text, &mut compact).map_err(|fault| fault.to_string())?;
        let compact = self.secrets.redacted(&compact).unwrap_or(compact);
        Object::from_checked(compact).map_err(|fault| fault.to_string())
    }
}

fn owned(text: Cow<'_, str>) -> Text {
    Cow::Owned(text.into_owned())
}

/// Says of which column it is.
fn at(column: &str) -> impl Fn(String) -> String {
    move |what| format!("{column}: {what}")
}
