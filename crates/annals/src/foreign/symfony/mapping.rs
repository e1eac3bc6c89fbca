//! Which property of a message is which field of the event.
//!
//! The standard mapping goes by the names that such messages usually have. Letter case
//! and `_` make no difference, so that `entity_class` is `entityClass`. Where two
//! properties could be one field, the one that stands first in the list is it, and the
//! other goes to the metadata.

use std::str::FromStr;

/// A field of an event that a property can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// `action`
    Action,
    /// `entity.type`
    EntityType,
    /// `entity.id`
    EntityId,
    /// `actor.type`; without any it is `user`.
    ActorType,
    /// `actor.id`
    ActorId,
    /// `actor.name`
    ActorName,
    /// `actor.email`: id or name of an actor who has none.
    ActorEmail,
    /// `occurred_at`
    OccurredAt,
    /// `tenant`
    Tenant,
    /// `reason`
    Reason,
    /// `context.ip`
    Ip,
    /// `context.user_agent`
    UserAgent,
    /// `context.url`
    Url,
    /// `context.method`
    Method,
    /// `context.request_id`
    RequestId,
    /// `context.service`
    Service,
    /// `changes`: old and new values in one, in any of their usual shapes.
    Changes,
    /// `old_values`
    OldValues,
    /// `new_values`
    NewValues,
    /// `metadata`: none of the others.
    Metadata,
}

/// Each field's name in the configuration.
const FIELDS: [(&str, Field); 20] = [
    ("action", Field::Action),
    ("entity.type", Field::EntityType),
    ("entity.id", Field::EntityId),
    ("actor.type", Field::ActorType),
    ("actor.id", Field::ActorId),
    ("actor.name", Field::ActorName),
    ("actor.email", Field::ActorEmail),
    ("occurred_at", Field::OccurredAt),
    ("tenant", Field::Tenant),
    ("reason", Field::Reason),
    ("context.ip", Field::Ip),
    ("context.user_agent", Field::UserAgent),
    ("context.url", Field::Url),
    ("context.method", Field::Method),
    ("context.request_id", Field::RequestId),
    ("context.service", Field::Service),
    ("changes", Field::Changes),
    ("old_values", Field::OldValues),
    ("new_values", Field::NewValues),
    ("metadata", Field::Metadata),
];

/// Usual names of properties.
const STANDARD: [(&str, Field); 56] = [
    ("action", Field::Action),
    ("event", Field::Action),
    ("eventtype", Field::Action),
    ("eventname", Field::Action),
    ("operation", Field::Action),
    ("entityclass", Field::EntityType),
    ("entitytype", Field::EntityType),
    ("entityname", Field::EntityType),
    ("objectclass", Field::EntityType),
    ("objecttype", Field::EntityType),
    ("resourcetype", Field::EntityType),
    ("entity", Field::EntityType),
    ("class", Field::EntityType),
    ("entityid", Field::EntityId),
    ("objectid", Field::EntityId),
    ("resourceid", Field::EntityId),
    ("userid", Field::ActorId),
    ("actorid", Field::ActorId),
    ("user", Field::ActorId),
    ("actor", Field::ActorId),
    ("username", Field::ActorName),
    ("actorname", Field::ActorName),
    ("useridentifier", Field::ActorName),
    ("useremail", Field::ActorEmail),
    ("actoremail", Field::ActorEmail),
    ("email", Field::ActorEmail),
    ("actortype", Field::ActorType),
    ("occurredat", Field::OccurredAt),
    ("occurredon", Field::OccurredAt),
    ("timestamp", Field::OccurredAt),
    ("createdat", Field::OccurredAt),
    ("loggedat", Field::OccurredAt),
    ("datetime", Field::OccurredAt),
    ("date", Field::OccurredAt),
    ("time", Field::OccurredAt),
    ("ipaddress", Field::Ip),
    ("clientip", Field::Ip),
    ("ip", Field::Ip),
    ("useragent", Field::UserAgent),
    ("url", Field::Url),
    ("uri", Field::Url),
    ("httpmethod", Field::Method),
    ("method", Field::Method),
    ("requestid", Field::RequestId),
    ("correlationid", Field::RequestId),
    ("reason", Field::Reason),
    ("changes", Field::Changes),
    ("changeset", Field::Changes),
    ("diff", Field::Changes),
    ("oldvalues", Field::OldValues),
    ("olddata", Field::OldValues),
    ("before", Field::OldValues),
    ("newvalues", Field::NewValues),
    ("newdata", Field::NewValues),
    ("after", Field::NewValues),
    ("service", Field::Service),
];

/// The standard mapping, and what is said beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    said: Vec<(String, Field)>,
}

impl Mapping {
    /// Says of a property, by its name to the letter, which field it is.
    #[must_use]
    pub fn and(mut self, property: impl Into<String>, field: Field) -> Self {
        self.said.push((property.into(), field));
        self
    }

    /// The field that a property is, and how it ranks among those that could be it:
    /// the lowest is.
    pub(super) fn field(&self, property: &str) -> Option<(Field, usize)> {
        if let Some(place) = self.said.iter().position(|(name, _)| name == property) {
            return Some((self.said[place].1, place));
        }
        let kept = property.bytes().filter(|byte| *byte != b'_');
        let is = |name: &str| kept.clone().map(|byte| byte.to_ascii_lowercase()).eq(name.bytes());
        let place = STANDARD.iter().position(|(name, _)| is(name))?;
        Some((STANDARD[place].1, self.said.len() + place))
    }
}

impl FromStr for Field {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = FIELDS.iter().find(|(known, _)| *known == name);
        found.map(|(_, field)| *field).ok_or_else(|| {
            let known: Vec<&str> = FIELDS.iter().map(|(known, _)| *known).collect();
            format!("{name:?} is no field; use one of {}", known.join(", "))
        })
    }
}
