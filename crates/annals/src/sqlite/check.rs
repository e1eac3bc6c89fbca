//! A look at a database file from outside, for `annals doctor`.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::{BUSY_TIMEOUT, explain};
use crate::error::Result;

/// What a file may hold, the table that shows it, and how to ask for the version.
const TABLES: [(&str, &str, &str); 2] = [
    ("queue", "annals_queue_head", "SELECT CAST(version AS TEXT) FROM annals_queue_head"),
    ("store", "annals_store_meta", "SELECT value FROM annals_store_meta WHERE key = 'schema'"),
];

/// What a database file looks like from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteCheck {
    /// Which of Annals' tables it holds, `queue` or `store`, and their version.
    pub schemas: Vec<(&'static str, String)>,
    /// The first thing that is wrong with its pages, if anything is.
    pub damage: Option<String>,
}

/// The version of the SQLite that is linked in.
#[must_use]
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// Looks at the database at `path` without changing it. Reads all of it
/// (`PRAGMA quick_check`), on the calling thread.
///
/// # Errors
/// [`crate::ErrorKind::Damaged`] if it is no database, [`crate::ErrorKind::Away`]
/// if it cannot be read.
pub fn check_sqlite(path: &Path) -> Result<SqliteCheck> {
    look(path).map_err(|error| explain(format!("check sqlite:{}", path.display()), error))
}

fn look(path: &Path) -> rusqlite::Result<SqliteCheck> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let mut schemas = Vec::new();
    for (what, table, version) in TABLES {
        if connection.table_exists(None, table)? {
            let version = connection.query_row(version, [], |row| row.get(0)).optional()?;
            schemas.push((what, version.unwrap_or_else(|| "unknown".to_owned())));
        }
    }
    let said: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok(SqliteCheck { schemas, damage: (said != "ok").then_some(said) })
}
