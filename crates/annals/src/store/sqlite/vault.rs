//! The keys of subjects.
//!
//! What a write frees is overwritten with zeros (`secure_delete`), in the file and, since
//! the write-ahead log is written back and cut to nothing after a key was destroyed, in
//! the log too.

use rusqlite::{Connection, Row, TransactionBehavior, params};

use crate::error::{Error, ErrorKind};
use crate::event::Timestamp;
use crate::sqlite::Failure;
use crate::store::{SubjectKey, Whose};

/// How often the write-ahead log is tried to be cut while somebody reads it; each try
/// waits as long as any statement.
const TRIES: usize = 3;

const LIVE: &str = "SELECT id, tenant, subject, wrapped, made_at, erased_at FROM annals_subject_keys \
     WHERE tenant = ?1 AND subject = ?2 AND erased_at IS NULL";
const WITH_ID: &str = "SELECT id, tenant, subject, wrapped, made_at, erased_at FROM annals_subject_keys WHERE id = ?1";

pub(super) fn live(
    connection: &mut Connection,
    whose: &[Whose],
) -> Result<Vec<SubjectKey>, Failure> {
    let mut read = connection.prepare_cached(LIVE)?;
    let mut keys = Vec::with_capacity(whose.len());
    for one in whose {
        for found in read.query_map([&one.tenant, &one.subject], key)? {
            keys.push(found?);
        }
    }
    Ok(keys)
}

pub(super) fn with_ids(
    connection: &mut Connection,
    ids: &[[u8; 16]],
) -> Result<Vec<SubjectKey>, Failure> {
    let mut read = connection.prepare_cached(WITH_ID)?;
    let mut keys = Vec::with_capacity(ids.len());
    for id in ids {
        for found in read.query_map([id], key)? {
            keys.push(found?);
        }
    }
    Ok(keys)
}

pub(super) fn keep(connection: &mut Connection, keys: &[SubjectKey]) -> Result<(), Failure> {
    connection.pragma_update(None, "secure_delete", true)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO annals_subject_keys (id, tenant, subject, wrapped, made_at) \
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
    )?;
    let now = Timestamp::now().as_micros();
    for key in keys {
        let (tenant, subject) = (&key.whose.tenant, &key.whose.subject);
        insert.execute(params![key.id, tenant, subject, key.wrapped, now])?;
    }
    drop(insert);
    Ok(transaction.commit()?)
}

pub(super) fn destroy(connection: &mut Connection, whose: &Whose) -> Result<u64, Failure> {
    connection.pragma_update(None, "secure_delete", true)?;
    let destroyed = connection.execute(
        "UPDATE annals_subject_keys SET wrapped = NULL, erased_at = ?3 \
             WHERE tenant = ?1 AND subject = ?2 AND erased_at IS NULL",
        params![whose.tenant, whose.subject, Timestamp::now().as_micros()],
    )?;
    for _ in 0..TRIES {
        let busy: bool =
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if !busy {
            return Ok(destroyed as u64);
        }
    }
    let found = "the key is destroyed, and a copy of it is still in the write-ahead log, which somebody reads";
    Err(Error::new(ErrorKind::Away, format!("erase {}", whose.subject), found)
        .hint("end what reads the store for long, and erase again")
        .into())
}

fn key(row: &Row<'_>) -> rusqlite::Result<SubjectKey> {
    let time = |column| -> rusqlite::Result<Option<Timestamp>> {
        Ok(row.get::<_, Option<i64>>(column)?.and_then(Timestamp::from_micros))
    };
    Ok(SubjectKey {
        id: row.get(0)?,
        whose: Whose { tenant: row.get(1)?, subject: row.get(2)? },
        wrapped: row.get(3)?,
        made_at: time(4)?.unwrap_or(Timestamp::MIN),
        erased_at: time(5)?,
    })
}
