//! The place where a page ended.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::{Filter, Order, Query};
use crate::error::{Error, ErrorKind, Result};

/// Where a page ended, and what it was a page of. Its text is opaque to whoever
/// asks, and stays valid for as long as the store keeps its events; what it holds
/// is for stores to make and to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// `occurred_at` of the page's last event, in microseconds.
    pub micros: i64,
    /// Its position.
    pub position: u64,
    /// The log's size when the first page was read.
    pub size: u64,
    /// Which filter and order it belongs to.
    pub query: u32,
}

impl Cursor {
    /// The first bytes of a hash over everything that decides which events come
    /// in which order.
    #[must_use]
    pub fn fingerprint(filter: &Filter, order: Order) -> u32 {
        let digest = Sha256::digest(format!("{filter:?}{order:?}"));
        u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
    }

    /// Whether a query may go on from here.
    ///
    /// # Errors
    /// If the cursor was made by a query for other events.
    pub fn check(&self, query: &Query) -> Result<()> {
        if self.query == Self::fingerprint(&query.filter, query.order) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Usage, "go on from a cursor", "it belongs to another query")
            .hint("give the same filters as for the page that the cursor came with"))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{:x}-{:08x}", self.micros, self.position, self.size, self.query)
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a cursor that an earlier page gave, found {text:?}");
        let mut parts = text.split('-').map(|part| u64::from_str_radix(part, 16).ok());
        let mut next = || parts.next().flatten().ok_or_else(wrong);
        let cursor = Self {
            micros: i64::try_from(next()?).map_err(|_| wrong())?,
            position: next()?,
            size: next()?,
            query: u32::try_from(next()?).map_err(|_| wrong())?,
        };
        if cursor.to_string() == text { Ok(cursor) } else { Err(wrong()) }
    }
}
