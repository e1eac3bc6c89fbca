//! The tables: made, brought up to date, refused when newer than this program.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::explain;

/// One file a version, in order. A released one is never edited.
const MIGRATIONS: [&str; 6] = [
    include_str!("../../../migrations/sqlite/store_0001.sql"),
    include_str!("../../../migrations/sqlite/store_0002.sql"),
    include_str!("../../../migrations/sqlite/store_0003.sql"),
    include_str!("../../../migrations/sqlite/store_0004.sql"),
    include_str!("../../../migrations/sqlite/store_0005.sql"),
    include_str!("../../../migrations/sqlite/store_0006.sql"),
];

/// The version that this program reads and writes.
const VERSION: usize = MIGRATIONS.len();

/// Brings the tables to [`VERSION`]; when many processes start at once, one of
/// them does it and the others find it done.
pub(super) fn migrate(connection: &mut Connection, doing: &str) -> Result<()> {
    let failed = |error| explain(doing, error);
    // Without the lock first, since nearly always there is nothing to do.
    if checked(connection, doing)? == Some(VERSION) {
        return Ok(());
    }
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let version = checked(&transaction, doing)?.unwrap_or(0);
    if version == VERSION {
        return Ok(());
    }
    for migration in &MIGRATIONS[version..] {
        transaction.execute_batch(migration).map_err(failed)?;
    }
    name(&transaction, version == 0, doing)?;
    transaction.commit().map_err(failed)
}

/// Checks that the tables are there and can be read by this program.
pub(super) fn check(connection: &Connection, doing: &str) -> Result<()> {
    match checked(connection, doing)? {
        Some(_) => Ok(()),
        None => Err(Error::new(ErrorKind::Away, doing, "the file holds no events store")
            .hint("check the path; `annals up` or `annals work` makes a store")),
    }
}

/// The version of the tables, `None` if there are none.
fn checked(connection: &Connection, doing: &str) -> Result<Option<usize>> {
    let failed = |error| explain(doing, error);
    // A statement, since `table_exists` would answer from what this connection
    // remembers, not from what another process has made meanwhile.
    let known: bool = connection
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'annals_store_meta')",
            [],
            |row| row.get(0),
        )
        .map_err(failed)?;
    if !known {
        return Ok(None);
    }
    let text: Option<String> = connection
        .query_row("SELECT value FROM annals_store_meta WHERE key = 'schema'", [], |row| row.get(0))
        .optional()
        .map_err(failed)?;
    let Some(text) = text else { return Ok(None) };
    let version: usize = text.parse().map_err(|_| {
        Error::new(
            ErrorKind::Damaged,
            doing,
            format!("its schema's version is {text:?}, no number"),
        )
    })?;
    if version > VERSION {
        let found =
            format!("its schema is of version {version}, this program knows up to {VERSION}");
        return Err(Error::new(ErrorKind::Damaged, doing, found)
            .hint("a newer Annals wrote it: use that one or a newer one"));
    }
    Ok(Some(version))
}

/// Writes down the version, and gives a new store its uuid.
fn name(transaction: &Transaction<'_>, new: bool, doing: &str) -> Result<()> {
    const SET: &str = "INSERT INTO annals_store_meta (key, value) VALUES (?1, ?2) \
        ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    let failed = |error| explain(doing, error);
    transaction.execute(SET, ("schema", VERSION.to_string())).map_err(failed)?;
    if new {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| {
            Error::new(ErrorKind::Away, doing, format!("no random numbers: {error}"))
        })?;
        transaction.execute(SET, ("uuid", uuid(random))).map_err(failed)?;
    }
    Ok(())
}

/// A UUID of version 4 (RFC 9562, section 5.4).
fn uuid(random: [u8; 16]) -> String {
    let bits = u128::from_be_bytes(random);
    let bits = (bits & !(0xf << 76)) | (0x4 << 76);
    let bits = (bits & !(0b11 << 62)) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
