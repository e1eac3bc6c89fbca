//! Who may use the server.

use rusqlite::{Connection, TransactionBehavior, params};

use crate::sqlite::Failure;
use crate::store::Entry;

pub(super) fn entries(
    connection: &Connection,
    after: u64,
    limit: usize,
) -> Result<Vec<Entry>, Failure> {
    let mut read = connection.prepare_cached(
        "SELECT kind, id, revision, body, mac FROM annals_access WHERE revision > ?1 \
         ORDER BY revision LIMIT ?2",
    )?;
    let entries = read.query_map(params![after, limit], |row| {
        Ok(Entry {
            kind: row.get(0)?,
            id: row.get(1)?,
            revision: row.get(2)?,
            body: row.get(3)?,
            mac: row.get(4)?,
        })
    })?;
    Ok(entries.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn write(connection: &mut Connection, entry: &Entry) -> Result<Option<u64>, Failure> {
    let Entry { kind, id, revision: before, body, mac } = entry;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let revision: u64 = transaction.query_row(
        "SELECT coalesce(max(revision), 0) + 1 FROM annals_access",
        [],
        |row| row.get(0),
    )?;
    let written = match before {
        0 => transaction.execute(
            "INSERT INTO annals_access (kind, id, revision, body, mac) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT DO NOTHING",
            params![kind, id, revision, body, mac],
        )?,
        before => transaction.execute(
            "UPDATE annals_access SET revision = ?3, body = ?4, mac = ?5 \
             WHERE kind = ?1 AND id = ?2 AND revision = ?6",
            params![kind, id, revision, body, mac, before],
        )?,
    };
    if written == 0 {
        return Ok(None);
    }
    transaction.commit()?;
    Ok(Some(revision))
}
