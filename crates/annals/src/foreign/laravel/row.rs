//! An event as a row of the application's own table.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Laravel;
use crate::event::Timestamp;

/// The columns of `audits`, in the order in which the package's worker names them.
pub const COLUMNS: [&str; 11] = [
    "id",
    "event",
    "auditable_type",
    "auditable_id",
    "user_id",
    "url",
    "ip_address",
    "user_agent",
    "old_values",
    "new_values",
    "created_at",
];

/// A row of `audits`: the text of each of [`COLUMNS`], or null.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditRow<'a>(pub [Option<Cow<'a, str>>; COLUMNS.len()]);

impl AuditRow<'_> {
    /// What identifies it.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0[0].as_deref().unwrap_or_default()
    }

    /// Bytes of its texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.iter().flatten().map(|text| text.len()).sum()
    }
}

impl Laravel {
    /// The row that an encoded event is: of one that came from such an application,
    /// what it pushed.
    ///
    /// # Errors
    /// If the bytes are no event.
    pub fn row<'a>(&self, body: &'a [u8]) -> Result<AuditRow<'a>, String> {
        let wire: Wire<'a> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let time: Timestamp = wire.occurred_at.parse()?;
        let own = wire.source.as_deref() == Some(&*self.source);
        let id = wire.source_id.filter(|_| own).unwrap_or(wire.id);
        let kept = wire.metadata.and_then(|metadata| metadata.laravel).unwrap_or_default();
        let values = |raw: Option<&'a RawValue>, was_null: bool| match raw {
            Some(raw) => Some(Cow::Borrowed(raw.get())),
            None => (!was_null).then_some(Cow::Borrowed("[]")),
        };
        let context = wire.context.unwrap_or_default();
        Ok(AuditRow([
            Some(id),
            Some(wire.action),
            Some(wire.entity.r#type),
            wire.entity.id,
            wire.actor.and_then(|actor| actor.id),
            context.url,
            context.ip,
            context.user_agent,
            values(wire.old_values, own && kept.old_values.is_some()),
            values(wire.new_values, own && kept.new_values.is_some()),
            Some(Cow::Owned(self.zone.write(time))),
        ]))
    }
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    occurred_at: Cow<'a, str>,
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    entity: Entity<'a>,
    #[serde(borrow)]
    actor: Option<Actor<'a>>,
    #[serde(borrow)]
    context: Option<Context<'a>>,
    #[serde(borrow)]
    old_values: Option<&'a RawValue>,
    #[serde(borrow)]
    new_values: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<Metadata<'a>>,
    #[serde(borrow)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow)]
    source_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Entity<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Actor<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
struct Context<'a> {
    #[serde(borrow)]
    ip: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_agent: Option<Cow<'a, str>>,
    #[serde(borrow)]
    url: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    laravel: Option<Kept<'a>>,
}

/// Which of the values were null: those that are kept, whatever they say.
#[derive(Default, Deserialize)]
struct Kept<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    old_values: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    new_values: Option<&'a RawValue>,
}

/// A null counts as being there.
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}
