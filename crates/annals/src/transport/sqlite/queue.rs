//! The queue's SQL. Every function is one transaction.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::super::{
    Buried, Delivery, Message, Receipt, TransportStats, Want, Which, id_beside, random_lease,
};
use super::ENQUEUE;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{EventId, Timestamp};
use crate::sqlite::{Failure, explain};

const SCHEMA: &str = include_str!("../../../migrations/sqlite/queue_1.sql");
const VERSION: i64 = 1;

/// Pages that stay free for the next burst: 4 MiB.
const SPARE_PAGES: i64 = 1024;
/// Pages given back to the file system at a time, so that no call takes long.
const SHRINK_PAGES: i64 = 256;

/// Makes the tables, or checks that they are ours.
pub(crate) fn prepare(db: &mut Connection) -> Result<()> {
    let path = db.path().unwrap_or_default().to_owned();
    let doing = || format!("open the transport sqlite:{path}");
    if !has_tables(db).map_err(|error| explain(doing(), error))? {
        create(db).map_err(|error| explain(doing(), error))?;
    }
    let version: i64 = db
        .query_row("SELECT version FROM annals_queue_head", [], |row| row.get(0))
        .map_err(|error| explain(doing(), error))?;
    if version > VERSION {
        let found =
            format!("its tables have version {version}, this program knows up to {VERSION}");
        return Err(Error::new(ErrorKind::Damaged, doing(), found)
            .hint("it was written by a newer version of annals; upgrade this one"));
    }
    Ok(())
}

/// Asked of the database itself: rusqlite's own look-up answers from a schema
/// that it read before another process made the tables.
fn has_tables(db: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'annals_queue_head')";
    db.query_row(sql, [], |row| row.get(0))
}

fn create(db: &mut Connection) -> rusqlite::Result<()> {
    // Another process may be doing the same: the first to get the lock does it.
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if !has_tables(&transaction)? {
        transaction.execute_batch(SCHEMA)?;
    }
    transaction.commit()
}

/// Begins a transaction whose commit is on disk when it returns.
fn synced(db: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    db.pragma_update(None, "synchronous", "FULL")?;
    db.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// Begins a transaction that a power failure may take back, and with it all
/// later ones, but never an earlier one.
fn unsynced(db: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    db.pragma_update(None, "synchronous", "NORMAL")?;
    db.transaction_with_behavior(TransactionBehavior::Immediate)
}

pub(super) fn send(db: &mut Connection, batch: &[Message], max_bytes: u64) -> Result<(), Failure> {
    let path = db.path().unwrap_or_default().to_owned();
    let transaction = synced(db)?;
    let used = used_bytes(&transaction)?;
    let coming: usize = batch.iter().map(|message| message.body.len()).sum();
    if used + coming as u64 > max_bytes {
        let found = format!("{used} of at most {max_bytes} bytes are in use");
        return Err(Error::new(ErrorKind::Full, format!("send to sqlite:{path}"), found)
            .hint("start a worker, or give the transport more room with ?max_bytes=N")
            .into());
    }
    {
        let first: i64 = transaction
            .prepare_cached(
                "SELECT 1 + max(coalesce((SELECT max(seq) FROM annals_queue), 0), leased) \
                 FROM annals_queue_head",
            )?
            .query_row([], |row| row.get(0))?;
        let now = Timestamp::now().as_micros();
        let mut insert = transaction.prepare_cached(
            "INSERT INTO annals_queue (seq, id, sent_at, body) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for (seq, message) in (first..).zip(batch) {
            insert.execute(params![seq, message.id.as_bytes(), now, message.body])?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Bytes of the database that hold something.
fn used_bytes(db: &Connection) -> rusqlite::Result<u64> {
    let mut used = db.prepare_cached(
        "SELECT (page_count - freelist_count) * page_size \
         FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
    )?;
    used.query_row([], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
}

pub(super) fn receive(db: &mut Connection, want: Want) -> Result<Vec<Delivery>, Failure> {
    if !anything(db)? {
        shrink(db, Shrink::Idle)?;
        return Ok(Vec::new());
    }
    let transaction = unsynced(db)?;
    let now = Timestamp::now();
    let mut found = Found { want, lease: random_lease(), bytes: 0, deliveries: Vec::new() };
    let leased = leased(&transaction)?;
    // First those that someone had before, then those that nobody had yet.
    found.take(
        &transaction,
        "SELECT q.seq, q.id, q.body, coalesce(d.attempts, 0) \
         FROM annals_queue q LEFT JOIN annals_delivery d ON d.seq = q.seq \
         WHERE q.seq <= ?1 AND (d.seq IS NULL OR d.due <= ?2) ORDER BY q.seq LIMIT ?3",
        leased,
        now,
    )?;
    found.take(
        &transaction,
        "SELECT seq, id, body, 0 FROM annals_queue WHERE seq > ?1 AND ?2 > 0 ORDER BY seq LIMIT ?3",
        leased,
        now,
    )?;
    let Some(last) = found.deliveries.last() else { return Ok(Vec::new()) };
    let last = seq(last.receipt);
    {
        let due = now.after(want.lease).as_micros();
        let (fresh, again): (Vec<_>, Vec<_>) =
            found.deliveries.iter().partition(|one| seq(one.receipt) > leased);
        if let [first, ..] = fresh[..] {
            // Nobody held these before: one statement for all of them.
            transaction
                .prepare_cached(
                    "INSERT INTO annals_delivery (seq, attempts, lease, due) \
                     SELECT seq, 1, ?3, ?4 FROM annals_queue WHERE seq BETWEEN ?1 AND ?2",
                )?
                .execute(params![seq(first.receipt), last, lease(first.receipt), due])?;
        }
        let mut hold = transaction.prepare_cached(
            "INSERT INTO annals_delivery (seq, attempts, lease, due) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (seq) DO UPDATE SET attempts = ?2, lease = ?3, due = ?4",
        )?;
        for delivery in again {
            let lease = lease(delivery.receipt);
            hold.execute(params![seq(delivery.receipt), delivery.attempts, lease, due])?;
        }
        if last > leased {
            transaction
                .prepare_cached("UPDATE annals_queue_head SET leased = ?1")?
                .execute([last])?;
        }
    }
    transaction.commit()?;
    Ok(found.deliveries)
}

/// Whether there is any event, told without a write lock.
fn anything(db: &Connection) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT EXISTS (SELECT 1 FROM annals_queue)")?.query_row([], |row| row.get(0))
}

fn leased(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("SELECT leased FROM annals_queue_head")?.query_row([], |row| row.get(0))
}

/// What a receive has found so far.
struct Found {
    want: Want,
    lease: u64,
    bytes: usize,
    deliveries: Vec<Delivery>,
}

impl Found {
    fn take(
        &mut self,
        db: &Connection,
        sql: &str,
        leased: i64,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let room = self.want.events.saturating_sub(self.deliveries.len());
        let room = i64::try_from(room).unwrap_or(i64::MAX);
        let mut select = db.prepare_cached(sql)?;
        let mut rows = select.query(params![leased, now.as_micros(), room])?;
        while self.bytes < self.want.bytes {
            let Some(row) = rows.next()? else { break };
            let body: Vec<u8> = row.get(2)?;
            self.bytes += body.len();
            self.deliveries.push(Delivery {
                id: event_id(row, 1, &body)?,
                body,
                attempts: row.get::<_, u32>(3)? + 1,
                receipt: Receipt {
                    key: u128::from(row.get::<_, i64>(0)?.unsigned_abs()),
                    lease: self.lease,
                },
                refused: None,
            });
        }
        Ok(())
    }
}

/// The id beside a body, as bytes of some length.
fn event_id(row: &Row<'_>, column: usize, body: &[u8]) -> rusqlite::Result<EventId> {
    Ok(id_beside(&row.get::<_, Vec<u8>>(column)?, body))
}

fn seq(receipt: Receipt) -> i64 {
    i64::try_from(receipt.key).unwrap_or(i64::MAX)
}

fn lease(receipt: Receipt) -> i64 {
    i64::try_from(receipt.lease).unwrap_or(i64::MAX)
}

/// Ends a lease; answers whether the receipt was still valid.
fn end_lease(db: &Connection, receipt: Receipt) -> rusqlite::Result<bool> {
    let mut end = db.prepare_cached("DELETE FROM annals_delivery WHERE seq = ?1 AND lease = ?2")?;
    Ok(end.execute([seq(receipt), lease(receipt)])? == 1)
}

fn delete(db: &Connection, receipt: Receipt) -> rusqlite::Result<usize> {
    db.prepare_cached("DELETE FROM annals_queue WHERE seq = ?1")?.execute([seq(receipt)])
}

pub(super) fn ack(db: &mut Connection, receipts: &[Receipt]) -> Result<usize, Failure> {
    let transaction = unsynced(db)?;
    let mut valid = 0;
    let follows = |one: &Receipt, next: &Receipt| {
        next.lease == one.lease && one.key.checked_add(1) == Some(next.key)
    };
    for run in receipts.chunk_by(follows) {
        valid += ack_run(&transaction, run)?;
    }
    transaction.commit()?;
    shrink(db, Shrink::Busy)?;
    Ok(valid)
}

/// Removes what stands in a row under one lease, as a batch nearly always does.
fn ack_run(db: &Connection, run: &[Receipt]) -> rusqlite::Result<usize> {
    let [first, .., last] = run else {
        return match run {
            [one] if end_lease(db, *one)? => delete(db, *one),
            _ => Ok(0),
        };
    };
    let (first, last, lease) = (seq(*first), seq(*last), lease(*first));
    let held: usize = db
        .prepare_cached(
            "SELECT count(*) FROM annals_delivery WHERE seq BETWEEN ?1 AND ?2 AND lease = ?3",
        )?
        .query_row([first, last, lease], |row| row.get(0))?;
    if held < run.len() {
        let mut valid = 0;
        for receipt in run {
            if end_lease(db, *receipt)? {
                valid += delete(db, *receipt)?;
            }
        }
        return Ok(valid);
    }
    db.prepare_cached("DELETE FROM annals_delivery WHERE seq BETWEEN ?1 AND ?2")?
        .execute([first, last])?;
    db.prepare_cached("DELETE FROM annals_queue WHERE seq BETWEEN ?1 AND ?2")?
        .execute([first, last])
}

pub(super) fn retry(
    db: &mut Connection,
    receipts: &[Receipt],
    at: Timestamp,
) -> Result<usize, Failure> {
    let transaction = unsynced(db)?;
    let mut valid = 0;
    {
        let mut wait = transaction.prepare_cached(
            "UPDATE annals_delivery SET lease = 0, due = ?3 WHERE seq = ?1 AND lease = ?2",
        )?;
        for receipt in receipts {
            valid += wait.execute([seq(*receipt), lease(*receipt), at.as_micros()])?;
        }
    }
    transaction.commit()?;
    Ok(valid)
}

pub(super) fn release(db: &mut Connection, receipts: &[Receipt]) -> Result<usize, Failure> {
    let transaction = unsynced(db)?;
    let mut valid = 0;
    {
        let mut give_back = transaction.prepare_cached(
            "UPDATE annals_delivery SET lease = 0, due = 0, attempts = attempts - 1 \
             WHERE seq = ?1 AND lease = ?2",
        )?;
        for receipt in receipts {
            valid += give_back.execute([seq(*receipt), lease(*receipt)])?;
        }
    }
    transaction.commit()?;
    Ok(valid)
}

pub(super) fn bury(db: &mut Connection, burials: &[(Receipt, String)]) -> Result<usize, Failure> {
    // The bytes leave one table for another, so this must not be taken back
    // after someone was told; both sides are one transaction in one file.
    let transaction = synced(db)?;
    let mut valid = 0;
    for (receipt, reason) in burials {
        let number = seq(*receipt);
        let buried = transaction
            .prepare_cached(
                "INSERT INTO annals_failed (id, body, reason, attempts, failed_at) \
                 SELECT q.id, q.body, ?3, d.attempts, ?4 \
                 FROM annals_queue q JOIN annals_delivery d ON d.seq = q.seq \
                 WHERE q.seq = ?1 AND d.lease = ?2",
            )?
            .execute(params![number, lease(*receipt), reason, Timestamp::now().as_micros()])?;
        if buried == 1 && end_lease(&transaction, *receipt)? {
            valid += delete(&transaction, *receipt)?;
        }
    }
    transaction.commit()?;
    Ok(valid)
}

/// Puts events among the failed that were never in the queue, each once.
pub(super) fn keep_failed(
    db: &mut Connection,
    failed: &[(Message, String)],
) -> Result<usize, Failure> {
    let transaction = synced(db)?;
    let mut kept = 0;
    for (message, reason) in failed {
        kept += transaction
            .prepare_cached(
                "INSERT INTO annals_failed (id, body, reason, attempts, failed_at) \
                 SELECT ?1, ?2, ?3, 0, ?4 \
                 WHERE NOT EXISTS (SELECT 1 FROM annals_failed WHERE id = ?1 AND body = ?2)",
            )?
            .execute(params![
                message.id.as_bytes().as_slice(),
                message.body,
                reason,
                Timestamp::now().as_micros()
            ])?;
    }
    transaction.commit()?;
    Ok(kept)
}

pub(super) fn buried(
    db: &mut Connection,
    after: Option<u64>,
    limit: usize,
) -> Result<Vec<Buried>, Failure> {
    let after = after.map_or(0, |after| i64::try_from(after).unwrap_or(i64::MAX));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut select = db.prepare_cached(
        "SELECT number, id, body, reason, attempts, failed_at \
         FROM annals_failed WHERE number > ?1 ORDER BY number LIMIT ?2",
    )?;
    let rows = select.query_map([after, limit], |row| {
        let body: Vec<u8> = row.get(2)?;
        Ok(Buried {
            number: row.get::<_, i64>(0)?.unsigned_abs(),
            id: event_id(row, 1, &body)?,
            body,
            reason: row.get(3)?,
            attempts: row.get(4)?,
            failed_at: Timestamp::from_micros(row.get(5)?).unwrap_or(Timestamp::MIN),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// [`Which`], to be taken to another thread.
pub(super) enum Chosen {
    Ids(Vec<EventId>),
    All,
}

impl From<Which<'_>> for Chosen {
    fn from(which: Which<'_>) -> Self {
        match which {
            Which::Ids(ids) => Self::Ids(ids.to_vec()),
            Which::All => Self::All,
        }
    }
}

impl Chosen {
    /// The numbers of those that are there, in order.
    fn numbers(&self, db: &Connection) -> rusqlite::Result<Vec<i64>> {
        match self {
            Self::All => {
                let mut all =
                    db.prepare_cached("SELECT number FROM annals_failed ORDER BY number")?;
                all.query_map([], |row| row.get(0))?.collect()
            }
            Self::Ids(ids) => {
                let mut one =
                    db.prepare_cached("SELECT number FROM annals_failed WHERE id = ?1")?;
                let mut numbers = Vec::new();
                for id in ids {
                    let found = one.query_map([id.as_bytes()], |row| row.get(0))?;
                    numbers.extend(found.collect::<rusqlite::Result<Vec<i64>>>()?);
                }
                numbers.sort_unstable();
                Ok(numbers)
            }
        }
    }
}

pub(super) fn revive(db: &mut Connection, which: &Chosen) -> Result<usize, Failure> {
    let transaction = synced(db)?;
    let numbers = which.numbers(&transaction)?;
    for number in &numbers {
        let failed: Option<(Vec<u8>, Vec<u8>)> = transaction
            .prepare_cached("DELETE FROM annals_failed WHERE number = ?1 RETURNING id, body")?
            .query_row([number], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some((id, body)) = failed {
            transaction.prepare_cached(ENQUEUE)?.execute(params![
                id,
                Timestamp::now().as_micros(),
                body
            ])?;
        }
    }
    transaction.commit()?;
    Ok(numbers.len())
}

pub(super) fn remove(db: &mut Connection, which: &Chosen) -> Result<usize, Failure> {
    let transaction = synced(db)?;
    let numbers = which.numbers(&transaction)?;
    for number in &numbers {
        transaction
            .prepare_cached("DELETE FROM annals_failed WHERE number = ?1")?
            .execute([number])?;
    }
    transaction.commit()?;
    Ok(numbers.len())
}

pub(super) fn stats(db: &mut Connection) -> Result<TransportStats, Failure> {
    // One statement, one snapshot. Above `leased` the numbers have no gaps, so
    // that a million waiting events are counted by a subtraction.
    let mut select = db.prepare_cached(
        "SELECT (SELECT count(*) FROM annals_queue WHERE seq <= leased) \
              + max(0, coalesce((SELECT max(seq) FROM annals_queue), 0) - leased), \
            (SELECT count(*) FROM annals_delivery WHERE due > ?1), \
            (SELECT count(*) FROM annals_failed), \
            (SELECT sent_at FROM annals_queue ORDER BY seq LIMIT 1), \
            (SELECT page_count * page_size FROM pragma_page_count, pragma_page_size) \
         FROM annals_queue_head",
    )?;
    let stats = select.query_row([Timestamp::now().as_micros()], |row| {
        let number = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
        let (waiting, leased) = (number(0)?, number(1)?);
        Ok(TransportStats {
            ready: waiting.saturating_sub(leased),
            leased,
            failed: number(2)?,
            oldest: row.get::<_, Option<i64>>(3)?.and_then(Timestamp::from_micros),
            bytes: Some(number(4)?),
        })
    })?;
    Ok(stats)
}

/// When free pages go back to the file system, [`SHRINK_PAGES`] at a time.
#[derive(Clone, Copy)]
enum Shrink {
    /// Nothing waits: no page has to be moved for it.
    Idle,
    /// Beside a working queue, once most of the file is free. Earlier, the pages
    /// at its end would be moved to its front just before they are freed there.
    Busy,
}

fn shrink(db: &Connection, when: Shrink) -> rusqlite::Result<()> {
    let number = |pragma| db.prepare_cached(pragma)?.query_row([], |row| row.get::<_, i64>(0));
    let free = number("PRAGMA freelist_count")?;
    let spare = match when {
        Shrink::Idle => 0,
        Shrink::Busy => SPARE_PAGES.max(number("PRAGMA page_count")? / 4 * 3),
    };
    if free <= spare {
        return Ok(());
    }
    let pages = SHRINK_PAGES.min(free - spare);
    // The pragma does its work while it is stepped; it has no rows.
    let mut vacuum = db.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = vacuum.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}
