//! A page under way, whichever database walks for it.

use std::mem;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
use std::time::{Duration, Instant};

use super::Stored;
use crate::error::Result;
use crate::query::{Cursor, Page, Query};

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
/// Rows that one slice of a walk looks at.
pub(crate) const SLICE: usize = 4_096;

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
/// Rows that one page looks at: after them it ends with what was found, and its
/// cursor goes on from there.
const MAX_SCANNED: usize = 64 * SLICE;

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
/// For how long one page looks: after it no further slice is begun, so that a page is there
/// within 200 ms.
const MAX_LOOKED: Duration = Duration::from_millis(150);

/// Bytes of bodies that one answer holds: no further event is added once they
/// are reached.
pub(crate) const ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// What was found so far, and where.
#[derive(Debug)]
pub(crate) struct Paging {
    pub(crate) query: Query,
    /// The log's size when the first page was read.
    pub(crate) size: Option<u64>,
    /// The last row that was looked at: its time and position.
    pub(crate) at: Option<(i64, u64)>,
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    scanned: usize,
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    began: Instant,
    bytes: usize,
    events: Vec<Stored>,
}

impl Paging {
    pub(crate) fn begin(mut query: Query) -> Result<Self> {
        query.limit = query.limit.clamp(1, Query::MAX_LIMIT);
        let cursor = query.cursor;
        if let Some(cursor) = &cursor {
            cursor.check(&query)?;
        }
        Ok(Self {
            size: cursor.map(|cursor| cursor.size),
            at: cursor.map(|cursor| (cursor.micros, cursor.position)),
            query,
            #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
            scanned: 0,
            #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
            began: Instant::now(),
            bytes: 0,
            events: Vec::new(),
        })
    }

    /// So many rows were looked at.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub(crate) fn looked_at(&mut self, rows: usize) {
        self.scanned += rows;
    }

    /// Whether it has looked for long enough. Each page looks at some rows.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub(crate) fn is_spent(&self) -> bool {
        let long = || self.began.elapsed() >= MAX_LOOKED;
        self.scanned > 0 && (self.scanned >= MAX_SCANNED || long())
    }

    /// Whether no further event fits on it.
    pub(crate) fn is_full(&self) -> bool {
        self.events.len() == self.query.limit || self.bytes >= ANSWER_BYTES
    }

    pub(crate) fn push(&mut self, event: Stored) {
        self.bytes += event.body.len();
        self.events.push(event);
    }

    /// The page, and if there is more, the cursor from which to go on.
    pub(crate) fn page(&mut self, more: bool) -> Page {
        let next = self.at.filter(|_| more).map(|(micros, position)| Cursor {
            micros,
            position,
            size: self.size.unwrap_or(0),
            query: Cursor::fingerprint(&self.query.filter, self.query.order),
        });
        Page { events: mem::take(&mut self.events), next }
    }
}
