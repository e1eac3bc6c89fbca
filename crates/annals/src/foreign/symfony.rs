//! What Symfony's Messenger puts into its table `messenger_messages` for a message
//! class that reports what happened: a body and headers for each message.
//!
//! Two serializers write them. PhpSerializer, the default, puts an `Envelope` with its
//! stamps and the message object into the body, in PHP's serialize format, with slashes
//! added, and base64 around it if it is not UTF-8; the headers are `[]`. The Serializer
//! component's puts the message into the body as JSON, and its class and each kind of
//! stamp into the headers. (symfony/messenger,
//! `Transport/Serialization/{PhpSerializer,Serializer}.php`.)
//!
//! A [`Mapping`] says which property of the message is which field of the event; what
//! is none of them is kept in `metadata.symfony.properties`, beside the message's class.
//!
//! **Which message it is.** A message that is retried is sent again, and gets a new row
//! with a new id, but takes along a stamp with the id of the row that it had before
//! (`TransportMessageIdStamp`), the first of which is that of the row it was dispatched
//! to. That id is the event's `source_id`, so that a message stays the same event
//! however often anybody retries it, and two messages that say the same stay two. The
//! time is the message's own; only one without any takes its row's `created_at`.

mod envelope;
mod mapping;
mod message;
mod stamps;

use std::borrow::Cow;

use super::{Secrets, Zone};
use crate::event::{Actor, Event, EventId, Object, Text, compact_captured};
pub use envelope::{Body, Envelope, Undecodable};
pub use mapping::{Field, Mapping};
pub use stamps::{Failure, failed, retried, revived};

/// A row of Messenger's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub id: i64,
    /// What the serializer made of the message.
    pub body: String,
    /// JSON, an object or `[]`.
    pub headers: String,
    /// `2026-11-22 01:51:52`, by the application's clock.
    pub created_at: String,
}

/// How the messages of one application are read.
#[derive(Clone, Debug)]
pub struct Symfony {
    /// The classes of the messages, without a leading backslash.
    pub messages: Vec<String>,
    /// Whose data they are.
    pub tenant: Option<Text>,
    /// The `source` of its events.
    pub source: Text,
    /// The zone of the times that name none: of messages and of the table.
    pub zone: Zone,
    /// Which fields are redacted.
    pub secrets: Secrets,
    /// Which property is which field.
    pub mapping: Mapping,
}

impl Symfony {
    /// Those of some message classes: `source` is `symfony`, the zone UTC, the mapping
    /// and the secrets are the standard ones.
    #[must_use]
    pub fn of<M: Into<String>>(messages: impl IntoIterator<Item = M>) -> Self {
        let plain = |class: M| class.into().trim_start_matches('\\').to_owned();
        Self {
            messages: messages.into_iter().map(plain).collect(),
            tenant: None,
            source: Cow::Borrowed("symfony"),
            zone: Zone::UTC,
            secrets: Secrets::default(),
            mapping: Mapping::default(),
        }
    }

    /// Whether a message of that class is one of these.
    #[must_use]
    pub fn has(&self, class: &str) -> bool {
        self.messages.iter().any(|known| known == class)
    }

    /// The event that a row's message is.
    ///
    /// # Errors
    /// Why no event can be made of it.
    pub fn event(&self, row: &Row) -> Result<Event, String> {
        let body = Body::of(&row.body, &row.headers).map_err(|error| error.to_string())?;
        let envelope = body.envelope(&row.headers).map_err(|error| error.to_string())?;
        self.event_of(&envelope, row.id, &row.created_at)
    }

    /// The event of a message that has been read.
    ///
    /// # Errors
    /// As [`Symfony::event`].
    pub fn event_of(
        &self,
        envelope: &Envelope<'_>,
        row: i64,
        created_at: &str,
    ) -> Result<Event, String> {
        let message = envelope.message()?;
        let object = Object::from_checked(message).map_err(|fault| fault.to_string())?;
        let mut found = message::Found::of(&object, &self.mapping);
        let action = found.name(Field::Action).ok_or_else(|| found.missing("action"))?;
        let kind = found.name(Field::EntityType).ok_or_else(|| found.missing("entity.type"))?;
        let mut event = Event::new(action, crate::event::Entity::of_type(kind));
        event.entity.id = found.name(Field::EntityId);
        event.occurred_at = match found.time(&self.zone)? {
            Some(time) => time,
            None => self.zone.read(created_at).map_err(|why| format!("created_at: {why}"))?,
        };
        event.tenant = found.name(Field::Tenant).or_else(|| self.tenant.clone());
        event.actor = Self::actor(&mut found);
        event.reason = found.text(Field::Reason);
        event.context.ip = found.text(Field::Ip);
        event.context.user_agent = found.text(Field::UserAgent);
        event.context.url = found.text(Field::Url);
        event.context.method = found.text(Field::Method);
        event.context.request_id = found.text(Field::RequestId);
        event.context.service = found.text(Field::Service);
        let values = found.values(&event.action);
        event.old_values = self.object(values.old)?;
        event.new_values = self.object(values.new)?;
        event.metadata = self.object(Some(found.rest(&envelope.class)))?;
        let source_id = envelope.first_id().unwrap_or_else(|| row.to_string());
        Ok(event.imported(self.source.clone(), source_id))
    }

    /// The event of a row, encoded.
    ///
    /// # Errors
    /// As [`Symfony::event`]; also every fault of the event.
    pub fn encode(&self, row: &Row) -> Result<(EventId, Vec<u8>), String> {
        Self::encoded(&self.event(row)?)
    }

    pub(crate) fn encoded(event: &Event) -> Result<(EventId, Vec<u8>), String> {
        let body = event.encode().map_err(|fault| fault.to_string())?;
        Ok((event.id, body))
    }

    /// Who acted: known by an id, else by the address or the name, which one also has.
    fn actor(found: &mut message::Found<'_>) -> Option<Actor> {
        let name = found.name(Field::ActorName);
        let email = match &name {
            // It stays in the metadata, unless it is what there is.
            Some(_) if found.has(Field::ActorId) => None,
            _ => found.name(Field::ActorEmail),
        };
        let id = found.name(Field::ActorId);
        let name = name.or_else(|| email.clone());
        let id = id.or(email).or_else(|| name.clone());
        id.is_some().then(|| Actor {
            kind: Some(found.name(Field::ActorType).unwrap_or(Cow::Borrowed("user"))),
            id,
            name,
            on_behalf_of: None,
        })
    }

    /// JSON text as an object without secrets.
    fn object(&self, text: Option<String>) -> Result<Option<Object>, String> {
        let Some(text) = text else { return Ok(None) };
        let mut compact = String::with_capacity(text.len());
        compact_captured(&text, &mut compact).map_err(|fault| fault.to_string())?;
        let compact = self.secrets.redacted(&compact).unwrap_or(compact);
        Object::from_checked(compact).map(Some).map_err(|fault| fault.to_string())
    }
}
