//! Reading: filters, keyset cursors and pages.
//!
//! People read by (`occurred_at`, position). A page's cursor carries the last
//! event's place in that order, and the log's size when the first page was read,
//! so that events appended since do not shift the pages. Machines read windows
//! of positions, which need no cursor.

mod audits;
mod cursor;
mod state;
mod tenants;

use crate::event::{Entity, Event, Outcome, Timestamp};
use crate::store::{Record, Stored};

pub use audits::{Audited, Audits, MAX_AUDITS};
pub use cursor::Cursor;
pub use state::{Replay, State, Touch, state_at, stored_state_at};
pub use tenants::Tenants;

/// Which events; every condition that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The entity is this one.
    pub entity: Option<Entity>,
    /// The entity is of this type.
    pub entity_type: Option<String>,
    /// The actor is this one.
    pub actor: Option<ActorFilter>,
    /// The action is this one.
    pub action: Option<String>,
    /// It went this way.
    pub outcome: Option<Outcome>,
    /// The data is this tenant's.
    pub tenant: Option<String>,
    /// The data is theirs: what whoever asks may see at all.
    pub tenants: Tenants,
    /// The old or new values name this field.
    pub changed: Option<String>,
    /// The request that caused it.
    pub request: Option<String>,
    /// It occurred then or later.
    pub since: Option<Timestamp>,
    /// It occurred before then.
    pub until: Option<Timestamp>,
}

impl Filter {
    /// Whether it lets an event through.
    #[must_use]
    pub fn lets_through(&self, record: &Record) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let entity = self.entity.as_ref().is_none_or(|entity| {
            entity.kind == record.entity_type() && entity.id.as_deref() == record.entity_id()
        });
        let actor = self.actor.as_ref().is_none_or(|actor| {
            is(&actor.kind, record.actor_type()) && record.actor_id() == Some(&actor.id)
        });
        entity
            && actor
            && self.tenants.has(record.tenant())
            && is(&self.entity_type, Some(record.entity_type()))
            && is(&self.action, Some(record.action()))
            && self.outcome.is_none_or(|outcome| outcome.as_str() == record.outcome())
            && is(&self.tenant, record.tenant())
            && is(&self.request, record.request_id())
            && self.since.is_none_or(|since| record.occurred_at >= since)
            && self.until.is_none_or(|until| record.occurred_at < until)
            && self.matches_body(record.body())
    }

    /// Whether it lets an event through, in what a store's columns do not decide:
    /// the fields that changed.
    #[must_use]
    pub fn matches_body(&self, body: &[u8]) -> bool {
        match &self.changed {
            None => true,
            Some(field) => Event::decode(body)
                .is_ok_and(|event| event.changed_fields().iter().any(|name| name == field)),
        }
    }
}

/// An actor by id, with or without the type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorFilter {
    /// The actor's type, if it matters.
    pub kind: Option<String>,
    /// The actor's id.
    pub id: String,
}

impl std::fmt::Display for ActorFilter {
    /// `ID` or `TYPE:ID`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kind {
            Some(kind) => write!(f, "{kind}:{}", self.id),
            None => f.write_str(&self.id),
        }
    }
}

impl std::str::FromStr for ActorFilter {
    type Err = String;

    /// Reads `ID` or `TYPE:ID`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            _ if text.is_empty() => {
                Err("expected ID or TYPE:ID such as user:7, found nothing".to_owned())
            }
            Some((kind, id)) if !kind.is_empty() && !id.is_empty() => {
                Ok(Self { kind: Some(kind.to_owned()), id: id.to_owned() })
            }
            _ => Ok(Self { kind: None, id: text.to_owned() }),
        }
    }
}

/// One page of events, please.
#[derive(Clone, Debug)]
pub struct Query {
    /// Which events.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// How many, at most [`Query::MAX_LIMIT`].
    pub limit: usize,
    /// Where the last page ended.
    pub cursor: Option<Cursor>,
}

impl Query {
    /// Events of a page, at most.
    pub const MAX_LIMIT: usize = 10_000;

    /// The newest 50 events that `filter` lets through.
    #[must_use]
    pub fn newest(filter: Filter) -> Self {
        Self { filter, order: Order::NewestFirst, limit: 50, cursor: None }
    }

    /// With another number of events a page.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit.clamp(1, Self::MAX_LIMIT);
        self
    }

    /// From where another page ended.
    #[must_use]
    pub fn after(mut self, cursor: Option<Cursor>) -> Self {
        self.cursor = cursor;
        self
    }

    /// The oldest first.
    #[must_use]
    pub fn oldest_first(mut self) -> Self {
        self.order = Order::OldestFirst;
        self
    }
}

/// The order of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Latest first, as people read.
    NewestFirst,
    /// Earliest first, as things happened.
    OldestFirst,
}

/// The events of one query, a part of them.
#[derive(Clone, Debug)]
pub struct Page {
    /// In the order asked for.
    pub events: Vec<Stored>,
    /// Where to go on; `None` when this was the last page.
    pub next: Option<Cursor>,
}
