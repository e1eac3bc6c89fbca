//! The log, for who signs, proves and verifies it.

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::tiles::{Head, Tiles as Reader};
use crate::event::{EventId, Timestamp};
use crate::log::{Place, Tiles, root_at};
use crate::sqlite::Failure;
use crate::store::{Columns, Held, Kept, KeptRemoval, LedgerRow, Sign, Signing, Standing};

/// The statement that reads events and tombstones under a condition.
macro_rules! rows_where {
    ($condition:literal) => {
        concat!(
            "SELECT position, id, salt, body, occurred_at, action, outcome, entity_type, entity_id, \
                 actor_type, actor_id, tenant, request_id FROM annals_events WHERE ",
            $condition,
            " UNION ALL SELECT position, id, NULL, commitment, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL \
             FROM annals_tombstones WHERE ",
            $condition
        )
    };
}

/// How long all checkpoints are kept; of earlier ones the last of each hour.
const ALL_FOR: i64 = 3600 * 1_000_000;

pub(super) fn standing(connection: &mut Connection, path: &Path) -> Result<Standing, Failure> {
    let transaction = connection.transaction()?;
    standing_in(&transaction, path)
}

fn standing_in(transaction: &Transaction<'_>, path: &Path) -> Result<Standing, Failure> {
    let mut names = transaction.prepare_cached(
        "SELECT value, copy FROM annals_store_meta, annals_log_signer WHERE key = 'uuid'",
    )?;
    let (uuid, signed_copy) = names.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let size = Head::read(transaction)?.size;
    let mut keys = transaction.prepare_cached("SELECT key FROM annals_log_keys ORDER BY key")?;
    let mut latest = transaction.prepare_cached(
        "SELECT size, signed_at, note FROM annals_log_checkpoints ORDER BY size DESC LIMIT 1",
    )?;
    Ok(Standing {
        uuid,
        copy: copy(path),
        signed_copy,
        size,
        root: root_at(size, &mut Reader(transaction))?,
        keys: keys.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?,
        latest: latest.query_row([], kept).optional()?,
    })
}

/// What tells the file from a copy of it: a copy has a number of its own, and was made at
/// another time.
fn copy(path: &Path) -> String {
    let Ok(attributes) = fs::metadata(path) else { return "unknown file".to_owned() };
    let made = attributes.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let made = made.map(|time| format!(" made at {}", time.as_micros())).unwrap_or_default();
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&attributes);
    #[cfg(not(unix))]
    let number = 0;
    format!("file {number}{made}")
}

pub(super) fn tiles(connection: &mut Connection, places: &[Place]) -> Result<Tiles, Failure> {
    let transaction = connection.transaction()?;
    let mut read = transaction
        .prepare_cached("SELECT hashes FROM annals_log_tiles WHERE level = ?1 AND idx = ?2")?;
    let mut tiles = Tiles::default();
    for place in places {
        let hashes = |row: &Row<'_>| Ok(row.get_ref(0)?.as_blob()?.as_chunks::<32>().0.to_vec());
        if let Some(hashes) = read.query_row(*place, hashes).optional()? {
            tiles.insert(*place, hashes);
        }
    }
    Ok(tiles)
}

pub(super) fn rows(
    connection: &mut Connection,
    from: u64,
    until: u64,
) -> Result<Vec<LedgerRow>, Failure> {
    let mut read = connection.prepare_cached(concat!(
        rows_where!("position >= ?1 AND position < ?2"),
        " ORDER BY position"
    ))?;
    let rows = read.query_map([from, until], row)?.collect::<rusqlite::Result<_>>()?;
    Ok(rows)
}

pub(super) fn strays(connection: &mut Connection, limit: usize) -> Result<Vec<LedgerRow>, Failure> {
    let mut read = connection.prepare_cached(concat!(
        rows_where!("position < 0 OR position >= (SELECT size FROM annals_log_head)"),
        " LIMIT ?1"
    ))?;
    let rows = read.query_map([limit], row)?.collect::<rusqlite::Result<_>>()?;
    Ok(rows)
}

fn row(row: &Row<'_>) -> rusqlite::Result<LedgerRow> {
    let (salt, bytes): (Option<Vec<u8>>, Vec<u8>) = (row.get(2)?, row.get(3)?);
    let mut texts = <[Option<String>; 8]>::default();
    for (index, text) in texts.iter_mut().enumerate() {
        *text = row.get(5 + index)?;
    }
    let columns = Box::new(Columns { occurred_at: row.get(4)?, texts });
    Ok(LedgerRow {
        // What was put before the first place is told by a place that no log has.
        position: u64::try_from(row.get::<_, i64>(0)?).unwrap_or(u64::MAX),
        id: row.get(1)?,
        held: match salt {
            Some(salt) => Held::Event { salt, body: bytes, columns },
            None => Held::Tombstone(bytes),
        },
    })
}

pub(super) fn sign(
    connection: &mut Connection,
    path: &Path,
    at: &[u64],
    sign: &Sign,
) -> Result<Option<Signing>, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let standing = standing_in(&transaction, path)?;
    let mut roots = Vec::new();
    for size in standing.sizes(at) {
        roots.push((size, root_at(size, &mut Reader(&transaction))?));
    }
    let Some(signing) = sign(&standing, &roots)? else { return Ok(None) };
    if let Some(uuid) = &signing.uuid {
        transaction
            .execute("UPDATE annals_store_meta SET value = ?1 WHERE key = 'uuid'", [uuid])?;
        transaction.execute("DELETE FROM annals_log_keys", [])?;
        transaction.execute("DELETE FROM annals_log_checkpoints", [])?;
    }
    if let Some(note) = &signing.note {
        let before = standing.latest.map_or(0, |latest| latest.signed_at.as_micros());
        let now = Timestamp::now().as_micros();
        transaction.execute(
            "INSERT INTO annals_log_checkpoints (size, signed_at, note) VALUES (?1, ?2, ?3)",
            params![signing.size, now, note],
        )?;
        thin_out(&transaction, before, now)?;
    }
    for key in &signing.keys {
        transaction.execute("INSERT OR IGNORE INTO annals_log_keys (key) VALUES (?1)", [key])?;
    }
    transaction
        .execute("UPDATE annals_log_signer SET copy = ?1 WHERE copy IS NOT ?1", [&signing.copy])?;
    transaction.commit()?;
    Ok(Some(signing))
}

/// Removes of what is over an hour old all but the last of each hour. Where it was done
/// `before`, there is nothing left to do.
fn thin_out(transaction: &Transaction<'_>, before: i64, now: i64) -> Result<(), Failure> {
    let mut thin = transaction.prepare_cached(
        "DELETE FROM annals_log_checkpoints AS c WHERE signed_at > ?1 AND signed_at <= ?2 AND signed_at / ?3 = \
         (SELECT n.signed_at / ?3 FROM annals_log_checkpoints n WHERE n.size > c.size ORDER BY n.size LIMIT 1)",
    )?;
    thin.execute([before - 2 * ALL_FOR, now - ALL_FOR, ALL_FOR])?;
    Ok(())
}

pub(super) fn cosign(connection: &mut Connection, size: u64, note: &str) -> Result<(), Failure> {
    connection.execute(
        "UPDATE annals_log_checkpoints SET note = ?2 WHERE size = ?1",
        params![size, note],
    )?;
    Ok(())
}

pub(super) fn keep_removal(
    connection: &mut Connection,
    event: EventId,
    removal: &KeptRemoval,
) -> Result<(), Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (part, positions) in removal.parts().into_iter().enumerate() {
        transaction.execute(
            "INSERT INTO annals_removals (event, part, positions) VALUES (?1, ?2, ?3)",
            params![event.as_bytes(), part, positions],
        )?;
    }
    if let Some(note) = &removal.note {
        transaction.execute(
            "INSERT INTO annals_removal_notes (event, note) VALUES (?1, ?2)",
            params![event.as_bytes(), note],
        )?;
    }
    transaction.commit()?;
    Ok(())
}

pub(super) fn removal(
    connection: &mut Connection,
    event: EventId,
) -> Result<Option<KeptRemoval>, Failure> {
    let transaction = connection.transaction()?;
    let mut parts = transaction
        .prepare_cached("SELECT positions FROM annals_removals WHERE event = ?1 ORDER BY part")?;
    let mut note =
        transaction.prepare_cached("SELECT note FROM annals_removal_notes WHERE event = ?1")?;
    let parts = parts.query_map([event.as_bytes()], |row| row.get(0))?;
    let parts = parts.collect::<rusqlite::Result<Vec<Vec<u8>>>>()?;
    let note = note.query_row([event.as_bytes()], |row| row.get(0)).optional()?;
    Ok((!parts.is_empty()).then(|| KeptRemoval { positions: parts.concat(), note }))
}

pub(super) fn sign_removal(
    connection: &mut Connection,
    event: EventId,
    note: &str,
) -> Result<(), Failure> {
    connection.execute(
        "INSERT OR REPLACE INTO annals_removal_notes (event, note) VALUES (?1, ?2)",
        params![event.as_bytes(), note],
    )?;
    Ok(())
}

pub(super) fn checkpoints(
    connection: &mut Connection,
    from: u64,
    limit: usize,
) -> Result<Vec<Kept>, Failure> {
    let mut read = connection.prepare_cached(
        "SELECT size, signed_at, note FROM annals_log_checkpoints WHERE size >= ?1 ORDER BY size LIMIT ?2",
    )?;
    let rows = read.query_map(params![from, limit], kept)?.collect::<rusqlite::Result<_>>()?;
    Ok(rows)
}

pub(super) fn last_checkpoints(
    connection: &mut Connection,
    limit: usize,
) -> Result<Vec<Kept>, Failure> {
    let mut read = connection.prepare_cached(
        "SELECT size, signed_at, note FROM annals_log_checkpoints ORDER BY size DESC LIMIT ?1",
    )?;
    let rows = read.query_map([limit], kept)?.collect::<rusqlite::Result<_>>()?;
    Ok(rows)
}

fn kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let micros: i64 = row.get(1)?;
    Ok(Kept {
        size: row.get(0)?,
        signed_at: Timestamp::from_micros(micros).unwrap_or_else(Timestamp::now),
        note: row.get(2)?,
    })
}
