//! Removals: what a log's keys sign before events go.

#[cfg(feature = "proof")]
mod signed;

use super::{Hash, Positions};
use crate::event::EventId;

/// Which places of a log an event tells of as removed.
///
/// Its text has six lines: `annals removal v1`, the log's origin, the event's id, the log's
/// size when it was told, how many places, and the hash of their list
/// ([`Positions::hash`]) in base64. It is signed as a note (C2SP signed-note).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The event that tells of it.
    pub event: EventId,
    /// The log's size before that event: all places lie below it.
    pub size: u64,
    /// How many places.
    pub count: u64,
    /// The hash of their list.
    pub positions: Hash,
}

impl Removal {
    /// That of a list.
    #[must_use]
    pub fn new(event: EventId, size: u64, list: &Positions) -> Self {
        Self { event, size, count: list.count(), positions: list.hash() }
    }

    /// Whether it is of this list.
    #[must_use]
    pub fn is_of(&self, list: &Positions) -> bool {
        list.end() <= self.size && list.count() == self.count && list.hash() == self.positions
    }
}
