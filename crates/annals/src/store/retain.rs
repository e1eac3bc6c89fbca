//! What retention by rules asks of a store, beneath its events.

use async_trait::async_trait;

use super::Removed;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{EventId, Timestamp};

/// Shows what rules decide by, and removes what they have decided.
#[async_trait]
pub trait Retain: Send + Sync {
    /// What rules decide by, of up to `limit` events that occurred before `before` and have
    /// a position below `below`, in the order of their time, behind `after`. The events
    /// that tell of removals are left out. Tags are told if they are asked for.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn survey(
        &self,
        after: Option<Spot>,
        before: Timestamp,
        below: u64,
        tags: bool,
        limit: usize,
    ) -> Result<Vec<Surveyed>>;

    /// The months that have a table of their own with events in it, oldest first; none if
    /// the store has no such tables.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn months(&self) -> Result<Vec<Month>>;

    /// Removes all events of a month with its table, save those that are held and those
    /// that tell of removals. `None` if it cannot go as a whole: it has gone, or has events
    /// at or above position `below`, or somebody is at it.
    ///
    /// # Errors
    /// When the store cannot be written.
    async fn remove_month(&self, month: &Month, below: u64) -> Result<Option<Removed>>;

    /// Removes these events, in one transaction, as far as they are there and not held;
    /// their ids and commitments stay.
    ///
    /// # Errors
    /// When the store cannot be written.
    async fn remove(&self, events: &[Spot]) -> Result<Removed>;
}

/// What rules decide by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// Its place in the log.
    pub position: u64,
    /// Its id.
    pub id: EventId,
    /// When it occurred.
    pub occurred_at: Timestamp,
    /// Bytes of the event as encoded.
    pub bytes: u64,
    /// Whether it is under a hold.
    pub held: bool,
    /// Its tenant.
    pub tenant: Option<String>,
    /// The type of its entity.
    pub entity_type: String,
    /// Its action.
    pub action: String,
    /// Its tags, if they were asked for.
    pub tags: Vec<String>,
}

impl Surveyed {
    /// Where it stands in the order of a survey.
    #[must_use]
    pub fn spot(&self) -> Spot {
        Spot { occurred_at: self.occurred_at, id: self.id, position: self.position }
    }
}

/// Where an event stands in the order of a survey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// When it occurred.
    pub occurred_at: Timestamp,
    /// Its id.
    pub id: EventId,
    /// Its place in the log.
    pub position: u64,
}

/// A month that has a table of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Month {
    /// The table, or the part of one.
    pub name: String,
    /// Its first moment.
    pub from: Timestamp,
    /// The first moment behind it.
    pub until: Timestamp,
}

/// The tags of an encoded event.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(crate) fn tags_of(id: EventId, body: Option<&[u8]>) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Tagged {
        #[serde(default)]
        tags: Vec<String>,
    }
    let Some(body) = body else { return Ok(Vec::new()) };
    let tagged: Tagged = serde_json::from_slice(body).map_err(|error| {
        Error::new(ErrorKind::Damaged, format!("read the tags of event {id}"), error)
            .hint("`annals verify` says what was altered")
    })?;
    Ok(tagged.tags)
}

/// What a body with tags holds somewhere: the others need not be read.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(crate) const TAGS: &str = "\"tags\":[";

/// What a store answers that keeps everything.
pub(crate) fn without_retention(url: &str) -> Error {
    let doing = format!("apply rules of retention to {url}");
    Error::new(ErrorKind::Usage, doing, "nothing is removed from it by rules")
        .hint("use sqlite:PATH, postgres://… or mysql://… as the store")
}
