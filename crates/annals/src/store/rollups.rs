//! Counts of events, beside the events.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Result};
use crate::event::Timestamp;

/// Counts of events by day and tenant; what is in them is for [`crate::rollup`] to know.
///
/// They are kept in parts, which add up: whoever counts further adds parts, and puts one in
/// the place of several. A store changes none of them itself. What it does is to mark the
/// days from which it removes events, in the transaction that removes them.
#[async_trait]
pub trait Rollups: Send + Sync {
    /// How far the counts go, and at that moment the parts of these days and tenants,
    /// without their bodies, in order of (day, id); those behind `after`, up to `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn rollup_parts(
        &self,
        which: WhichParts,
        after: Option<(u32, u64)>,
        limit: usize,
    ) -> Result<(RollupHead, Vec<RollupPart>)>;

    /// The bodies of parts, by their ids; those that are there, in any order.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn rollup_bodies(&self, ids: Vec<u64>) -> Result<Vec<(u64, Vec<u8>)>>;

    /// The days that have to be counted anew, since events were removed from them; up to
    /// `limit`, the earliest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn rollup_stale(&self, limit: usize) -> Result<Vec<StaleDay>>;

    /// Writes what was counted, in one transaction; answers whether it did: if the counts
    /// have changed since [`Rolled::before`] was read, nothing is written.
    ///
    /// # Errors
    /// When the store cannot be written.
    async fn rollup_write(&self, rolled: Arc<Rolled>) -> Result<bool>;
}

/// How far counts go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RollupHead {
    /// Events below this position are counted.
    pub position: u64,
    /// The id of the next part: greater than those of all parts that were ever there.
    pub next_part: u64,
}

/// Parts of counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WhichParts {
    /// Of these days, in days since 1970-01-01.
    pub days: Range<u32>,
    /// Of these tenants; of all and of none if not set.
    pub tenants: Option<BTreeSet<String>>,
}

/// A part of the counts of a day and a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollupPart {
    /// Which part it is, of all.
    pub id: u64,
    /// The day (UTC), in days since 1970-01-01.
    pub day: u32,
    /// Whose events are counted; `None`: nobody's.
    pub tenant: Option<String>,
    /// How much there is to it: the number of its cells.
    pub cells: u64,
    /// What it says; empty where it was not asked for.
    pub body: Vec<u8>,
}

/// A day to be counted anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleDay {
    /// In days since 1970-01-01.
    pub day: u32,
    /// Another one after each removal.
    pub mark: u64,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rolled {
    /// What the counts were like.
    pub before: RollupHead,
    /// How far they go now.
    pub position: u64,
    /// The parts that others have taken the place of.
    pub gone: Vec<u64>,
    /// New parts, with ids from [`RollupHead::next_part`] on.
    pub parts: Vec<RollupPart>,
    /// The day that was counted anew: it is no longer marked, unless there was another
    /// removal.
    pub recounted: Option<StaleDay>,
}

impl Rolled {
    /// The head after it: the next part is another one in any case.
    #[must_use]
    pub fn after(&self) -> RollupHead {
        let parts = self.parts.len().max(1) as u64;
        RollupHead { position: self.position, next_part: self.before.next_part + parts }
    }
}

/// The day (UTC) of a time, in days since 1970-01-01.
#[must_use]
pub(crate) fn day_of(time: Timestamp) -> u32 {
    day_of_millis(time.as_millis())
}

/// The day (UTC) of a time in milliseconds since 1970, such as an id's.
#[must_use]
pub(crate) fn day_of_millis(millis: i64) -> u32 {
    u32::try_from(millis / 86_400_000).unwrap_or(u32::MAX)
}

/// Why a store has no counts.
pub(super) fn without_rollups(url: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("count in {url}"), "this kind of store keeps no counts")
        .hint("use sqlite:PATH, postgres://… or mysql://…")
}
