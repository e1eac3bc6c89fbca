//! A look at a database file from outside, for `annals doctor`.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{BUSY_TIMEOUT, explain};
use crate::error::Result;

/// What a database file looks like from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteCheck {
    /// The version of its tables; 0 if nobody made any.
    pub schema: i64,
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
    let schema = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let said: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok(SqliteCheck { schema, damage: (said != "ok").then_some(said) })
}
