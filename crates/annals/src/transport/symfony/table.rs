//! What the transport asks of a database: each of these is one transaction.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Result;
use crate::event::EventId;
use crate::foreign::symfony::Row;

/// Messenger's table in some database. All times are texts of the application's clock,
/// `2026-11-22 01:51:52`.
#[async_trait]
pub(super) trait Table: Send + Sync + fmt::Debug {
    /// Locks rows that look like messages of ours and are free, passing over those that
    /// are locked, and sets `delivered_at` of those that the judge knows, now or if they
    /// are not settled in a moment. Answers all that it looked at, oldest first.
    async fn take(&self, seek: Seek, judge: Judge) -> Result<Vec<(i64, Option<Judged>)>>;

    /// Deletes rows; answers how many were still held.
    async fn delete(&self, held: Vec<Held>) -> Result<usize>;

    /// Gives rows back as they were; answers how many were still held.
    async fn release(&self, held: Vec<Held>) -> Result<usize>;

    /// Puts new rows in the place of those that are still held, in their order; answers
    /// how many there were.
    async fn replace(&self, held: Vec<Held>, rework: Rework) -> Result<usize>;

    /// Rows of queues that look like messages of ours, by number, those behind `after`.
    async fn list(&self, queues: Vec<String>, after: i64, limit: usize) -> Result<Vec<Listed>>;

    /// Counts the rows that look like messages of ours, and have not turned out to be none.
    async fn figures(&self, ask: Ask) -> Result<Figures>;
}

/// Says what a row is: `None` if it is no message of ours.
pub(super) type Judge = Arc<dyn Fn(&Row) -> Option<Judged> + Send + Sync>;

/// Makes the row that a message moves to.
pub(super) type Rework = Arc<dyn Fn(&Row) -> Option<NewRow> + Send + Sync>;

/// A message of ours, as it is delivered.
pub(super) struct Judged {
    pub(super) id: EventId,
    pub(super) body: Vec<u8>,
    pub(super) attempts: u32,
    /// Why it is no event.
    pub(super) refused: Option<String>,
}

/// What to look for.
pub(super) struct Seek {
    pub(super) queue: String,
    pub(super) now: String,
    /// What was delivered before that is free again.
    pub(super) expired: String,
    /// The `delivered_at` of what is taken.
    pub(super) until: String,
    /// Rows that have turned out to be none of ours.
    pub(super) passed: Vec<i64>,
    pub(super) events: usize,
    /// Bytes of bodies, at most.
    pub(super) bytes: usize,
    /// Whether they may be locked instead, for a moment, where the database can.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "PostgreSQL's table can"))]
    pub(super) hold: bool,
}

/// A row, and the `delivered_at` under which it is somebody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) id: i64,
    pub(super) delivered_at: Option<String>,
}

impl Held {
    /// Which row, under which lease; nothing for one that is nobody's.
    #[cfg(feature = "postgres")]
    pub(super) fn key(&self) -> Option<(i64, &str)> {
        Some((self.id, self.delivered_at.as_deref()?))
    }
}

/// A row to be inserted.
pub(super) struct NewRow {
    pub(super) queue: String,
    pub(super) body: String,
    pub(super) headers: String,
    pub(super) created_at: String,
    pub(super) available_at: String,
}

/// A row, with its other columns.
pub(super) struct Listed {
    pub(super) row: Row,
    pub(super) queue: String,
    pub(super) available_at: String,
    pub(super) delivered_at: Option<String>,
}

/// What to count.
pub(super) struct Ask {
    pub(super) queue: String,
    pub(super) failure_queues: Vec<String>,
    pub(super) now: String,
    pub(super) expired: String,
    /// Rows that have turned out to be none of ours.
    pub(super) passed: Vec<i64>,
}

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) ready: u64,
    pub(super) leased: u64,
    pub(super) failed: u64,
    pub(super) oldest: Option<String>,
    pub(super) bytes: Option<u64>,
}

/// Rows by the `delivered_at` under which they are held: most often all have one.
pub(super) fn groups(held: Vec<Held>) -> Vec<(Option<String>, Vec<i64>)> {
    let mut groups: Vec<(Option<String>, Vec<i64>)> = Vec::new();
    for Held { id, delivered_at } in held {
        match groups.iter_mut().find(|(at, _)| *at == delivered_at) {
            Some((_, ids)) => ids.push(id),
            None => groups.push((delivered_at, vec![id])),
        }
    }
    // Rows are locked in one order everywhere.
    for (_, ids) in &mut groups {
        ids.sort_unstable();
    }
    groups
}
