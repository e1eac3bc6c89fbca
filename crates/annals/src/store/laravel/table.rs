//! What each database does for the table.

use std::fmt;

use async_trait::async_trait;

use crate::error::{Error, Result};
use crate::foreign::laravel::{AuditRow, COLUMNS};

/// The table in one kind of database.
#[async_trait]
pub(super) trait Table: Send + Sync + fmt::Debug {
    /// Its URL, without secrets.
    fn url(&self) -> &str;

    /// Inserts the rows, all of them or none, durably.
    async fn load(&self, rows: &[&AuditRow<'_>]) -> Result<(), Stopped>;

    /// Looks which of the rows are there, and whether with the same content.
    async fn compare(&self, rows: &[&AuditRow<'_>]) -> Result<Vec<Known>>;

    /// Which rows were created before a time, as the application writes times.
    async fn older_than(&self, time: String) -> Result<Older>;

    /// Removes up to `limit` of them, the oldest first; answers how many.
    async fn remove(&self, time: String, limit: usize) -> Result<u64>;
}

/// Rows that are older than a time.
#[derive(Debug, Default)]
pub(super) struct Older {
    pub(super) rows: u64,
    /// When the first and the last of them were created.
    pub(super) span: Option<(String, String)>,
}

/// Why rows were not inserted.
#[derive(Debug)]
pub(super) enum Stopped {
    /// Some id is there already.
    Taken,
    /// The table does not take one of them: which, if the database says so, and why.
    Refused {
        /// Its place among the rows.
        row: Option<usize>,
        /// The database's reason.
        why: String,
    },
    /// No row is to blame.
    Failed(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What the table has under a row's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing.
    New,
    /// The same row.
    Same,
    /// Another row.
    Other,
}

/// A row's texts, to be taken to another thread.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(super) type Texts = Vec<Option<String>>;

#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(super) fn texts(rows: &[&AuditRow<'_>]) -> Vec<Texts> {
    let texts =
        |row: &&AuditRow<'_>| row.0.iter().map(|text| text.as_deref().map(str::to_owned)).collect();
    rows.iter().map(texts).collect()
}

/// Which of [`COLUMNS`] a table does not have, named for a message; `None` if it has all.
pub(super) fn missing(has: impl Fn(&str) -> bool) -> Option<String> {
    let missing: Vec<&str> = COLUMNS.into_iter().filter(|column| !has(column)).collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}
