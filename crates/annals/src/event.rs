//! The event: one immutable record of who did what to which entity.
//!
//! An [`Event`] is built where the thing happens, encoded once, and those bytes
//! are what travels, what is stored and what the log commits to. Nothing in this
//! module does I/O or depends on the rest of the crate.

mod accept;
mod codec;
mod fault;
mod id;
mod json;
mod object;
mod personal;
#[cfg(any(feature = "redact", feature = "seal"))]
mod rewrite;
mod scan;
mod skim;
mod time;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) use accept::accept_waiting;
pub use accept::{Accepted, Encoded, Writer, accept, accept_from};
pub use codec::Defaults;
#[cfg(feature = "file")]
pub(crate) use codec::peek_id;
pub(crate) use codec::{Stamp, encode, encode_system, write_number, write_producer};
pub use fault::{DecodeError, EventFault};
pub use id::EventId;
pub use json::{JsonFault, MAX_DEPTH};
pub(crate) use json::{MARK, abbreviate, compact_captured, is_verbatim, push_unescaped};
pub(crate) use object::REDACTED;
pub use object::{Mark, Object};
#[cfg(any(feature = "redact", feature = "seal"))]
pub(crate) use personal::personal_value;
pub(crate) use personal::{PERSONAL_AFTER, PERSONAL_BEFORE, has_personal};
#[cfg(any(feature = "redact", feature = "seal"))]
pub(crate) use rewrite::{Turn, rewrite};
pub(crate) use scan::{end_of_string, end_of_value};
pub(crate) use skim::{Column, Skimmed, Span, skim};
pub use time::Timestamp;

/// Text of an event that is often a literal.
pub type Text = Cow<'static, str>;

/// Bytes of a whole encoded event, at most: 256 KiB.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;

/// Bytes of a text that is indexed, at most.
pub const MAX_TEXT_BYTES: usize = 255;

/// Actions that begin with this are written by Annals itself alone.
pub const RESERVED_ACTIONS: &str = "annals.";

/// The version of the encoding that this library writes.
pub const EVENT_VERSION: u32 = 1;

/// One immutable record: who did what to which entity, when, from where, with
/// which old and new values.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// Unique for ever, and in order of time; see [`EventId`].
    pub id: EventId,
    /// When it happened, by the producer's clock.
    pub occurred_at: Timestamp,
    /// What was done: `created`, `updated`, `deleted`, `restored`, or any text.
    pub action: Text,
    /// How it went.
    pub outcome: Outcome,
    /// What it was done to.
    pub entity: Entity,
    /// Who did it.
    pub actor: Option<Actor>,
    /// Whose data it is, where one installation serves several.
    pub tenant: Option<Text>,
    /// The person whom the values are about, such as `user:7`.
    pub subject: Option<Text>,
    /// Where it came from.
    pub context: Context,
    /// The values before: of a deleted entity all, of an updated one those that changed.
    pub old_values: Option<Object>,
    /// The values after: of a created entity all, of an updated one those that changed.
    pub new_values: Option<Object>,
    /// Why, in the actor's words.
    pub reason: Option<Text>,
    /// Free labels.
    pub tags: Vec<Text>,
    /// Whatever else is worth keeping.
    pub metadata: Option<Object>,
    /// Which process captured it, and its place among that process's events.
    pub producer: Option<Producer>,
    /// The system it was taken over from.
    pub source: Option<Text>,
    /// Its id there.
    pub source_id: Option<Text>,
    /// The version of the encoding it was written in.
    pub version: u32,
}

/// How the action went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was done.
    #[default]
    Success,
    /// It was tried and failed.
    Failure,
    /// It was not allowed.
    Denied,
}

/// The thing acted upon: a type, and an id unless the producer knows none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entity {
    /// The type, without a `:`.
    pub kind: Text,
    /// The id; the parts of a composite one are joined by [`composite_id`].
    pub id: Option<Text>,
}

/// Who acted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// Such as `user`, `service` or `job`.
    pub kind: Option<Text>,
    /// The id within that type.
    pub id: Option<Text>,
    /// The name to show.
    pub name: Option<Text>,
    /// Whom the actor was impersonating.
    pub on_behalf_of: Option<Box<Actor>>,
}

/// Where an event came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The client's address; free text, since real ones are.
    pub ip: Option<Text>,
    /// The client's User-Agent.
    pub user_agent: Option<Text>,
    /// The request's URL.
    pub url: Option<Text>,
    /// The request's method.
    pub method: Option<Text>,
    /// The request's id: all events of one request share it.
    pub request_id: Option<Text>,
    /// The distributed trace.
    pub trace_id: Option<Text>,
    /// The database transaction.
    pub transaction_id: Option<Text>,
    /// The application.
    pub service: Option<Text>,
}

/// Which process captured an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Unique to the process.
    pub id: Text,
    /// Counts that process's events from 1; a gap is a loss. Absent where the
    /// application's own transaction may still take the event back.
    pub seq: Option<u64>,
}

impl Event {
    /// An event that happens now.
    pub fn new(action: impl Into<Text>, entity: Entity) -> Self {
        let now = Timestamp::now();
        Self {
            id: EventId::at(now),
            occurred_at: now,
            action: action.into(),
            outcome: Outcome::Success,
            entity,
            actor: None,
            tenant: None,
            subject: None,
            context: Context::default(),
            old_values: None,
            new_values: None,
            reason: None,
            tags: Vec::new(),
            metadata: None,
            producer: None,
            source: None,
            source_id: None,
            version: EVENT_VERSION,
        }
    }

    /// Moves the event to another time, with a new id.
    #[must_use]
    pub fn occurred_at(mut self, time: Timestamp) -> Self {
        self.occurred_at = time;
        self.id = EventId::at(time);
        self
    }

    /// Sets how it went.
    #[must_use]
    pub fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// Sets who did it, instead of the current [`crate::Scope`]'s actor.
    #[must_use]
    pub fn actor(mut self, actor: Actor) -> Self {
        self.actor = Some(actor);
        self
    }

    /// Sets whose data it is.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<Text>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Sets whom the values are about.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<Text>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Sets the values before.
    #[must_use]
    pub fn old_values(mut self, values: Object) -> Self {
        self.old_values = Some(values);
        self
    }

    /// Sets the values after.
    #[must_use]
    pub fn new_values(mut self, values: Object) -> Self {
        self.new_values = Some(values);
        self
    }

    /// Sets why.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<Text>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Text>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Sets whatever else is worth keeping.
    #[must_use]
    pub fn metadata(mut self, metadata: Object) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// Takes over an event of another system: its id is derived from the tenant,
    /// `source` and `source_id`, so that importing it twice stores it once. Set
    /// the time and the tenant first.
    #[must_use]
    pub fn imported(mut self, source: impl Into<Text>, source_id: impl Into<Text>) -> Self {
        let (source, source_id) = (source.into(), source_id.into());
        let tenant = self.tenant.as_deref().unwrap_or_default();
        self.id = EventId::derived(self.occurred_at, tenant, &source, &source_id);
        self.source = Some(source);
        self.source_id = Some(source_id);
        self
    }

    /// Reads a stored event; fields that a newer version added are passed over.
    ///
    /// # Errors
    /// If the bytes are not an event.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes)
    }

    /// The encoded event, as [`crate::Audit::record`] would send it, without a
    /// scope and a producer.
    ///
    /// # Errors
    /// Names every field that is missing, too long or not allowed.
    pub fn encode(&self) -> Result<Vec<u8>, EventFault> {
        let mut out = Vec::new();
        codec::encode(self, Stamp::KEEP, &mut out)?;
        Ok(out)
    }

    /// Names of the fields that the event changed, in the order stored.
    #[must_use]
    pub fn changed_fields(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for values in [&self.new_values, &self.old_values].into_iter().flatten() {
            for (name, _) in values.fields() {
                if !names.iter().any(|known| *known == name) {
                    names.push(name.into_owned());
                }
            }
        }
        names
    }
}

impl Entity {
    /// An entity of `kind` with `id`.
    pub fn new(kind: impl Into<Text>, id: impl fmt::Display) -> Self {
        Self { kind: kind.into(), id: Some(Cow::Owned(id.to_string())) }
    }

    /// An entity whose id the producer does not know.
    pub fn of_type(kind: impl Into<Text>) -> Self {
        Self { kind: kind.into(), id: None }
    }
}

impl fmt::Display for Entity {
    /// `TYPE:ID`, or `TYPE`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(f, "{}:{id}", self.kind),
            None => f.write_str(&self.kind),
        }
    }
}

impl FromStr for Entity {
    type Err = String;

    /// Reads `TYPE:ID`; the id may hold further colons.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((kind, id)) if !kind.is_empty() && !id.is_empty() => {
                Ok(Self::new(kind.to_owned(), id))
            }
            _ => Err(format!("expected TYPE:ID such as product:42, found {text:?}")),
        }
    }
}

/// The id of an entity that is identified by several values: each part
/// percent-escaped where it holds `%` or `,`, joined with `,`.
#[must_use]
pub fn composite_id<I, P>(parts: I) -> String
where
    I: IntoIterator<Item = P>,
    P: fmt::Display,
{
    let mut id = String::new();
    for (index, part) in parts.into_iter().enumerate() {
        if index > 0 {
            id.push(',');
        }
        for character in part.to_string().chars() {
            match character {
                '%' => id.push_str("%25"),
                ',' => id.push_str("%2C"),
                other => id.push(other),
            }
        }
    }
    id
}

impl Actor {
    /// An actor of `kind` with `id`.
    pub fn new(kind: impl Into<Text>, id: impl fmt::Display) -> Self {
        Self { kind: Some(kind.into()), id: Some(Cow::Owned(id.to_string())), ..Self::default() }
    }

    /// The user with `id`.
    pub fn user(id: impl fmt::Display) -> Self {
        Self::new("user", id)
    }

    /// Sets the name to show.
    #[must_use]
    pub fn named(mut self, name: impl Into<Text>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets whom the actor was impersonating.
    #[must_use]
    pub fn on_behalf_of(mut self, actor: Actor) -> Self {
        self.on_behalf_of = Some(Box::new(actor));
        self
    }
}

impl fmt::Display for Actor {
    /// The name, or `TYPE:ID`, or whichever of the two there is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, &self.kind, &self.id) {
            (Some(name), _, _) => f.write_str(name),
            (None, Some(kind), Some(id)) => write!(f, "{kind}:{id}"),
            (None, None, Some(one)) | (None, Some(one), None) => f.write_str(one),
            (None, None, None) => f.write_str("someone"),
        }
    }
}

impl Outcome {
    /// The word that stands for it in JSON and in stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Denied => "denied",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Outcome {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "success" => Ok(Self::Success),
            "failure" => Ok(Self::Failure),
            "denied" => Ok(Self::Denied),
            other => Err(format!("expected success, failure or denied, found {other:?}")),
        }
    }
}
