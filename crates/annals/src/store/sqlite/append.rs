//! Appending: events, leaves, tiles and head in one transaction.
//!
//! What makes it fast, in the order of what it saves: one commit a batch; all
//! that is hashed or drawn at random is ready before the write lock is taken;
//! prepared statements that live as long as the connection; one insert a row,
//! which itself finds the duplicates; the log's edge kept in memory from one
//! append to the next; texts and bytes bound from where they lie.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::tiles::{Head, Tiles, write_tile};
use crate::error::{Error, ErrorKind};
use crate::event::{EventId, Timestamp};
use crate::log::{self, Edge, Hash, SALT_BYTES};
use crate::sqlite::Failure;
use crate::store::{Appended, Record};

/// Only a second event of the same id may be passed over; any other conflict
/// means that the store is damaged and is an error. Parameters go by number: a
/// name would be looked up for every value of every row.
const INSERT: &str = "INSERT INTO annals_events (position, id, occurred_at, appended_at, salt, \
    action, outcome, entity_type, entity_id, actor_type, actor_id, tenant, request_id, body) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) \
    ON CONFLICT (id) DO NOTHING";

/// Appends a batch. `cache` holds the edge that the last append of this handle
/// left; after an error it is empty, and the next append loads it anew.
pub(super) fn append(
    connection: &mut Connection,
    batch: &[Record],
    cache: &mut Option<Edge>,
) -> Result<Vec<Appended>, Failure> {
    let cached = cache.take();
    let leaves = Leaves::of(batch)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let head = Head::read(&transaction)?;
    // Another handle may have appended since.
    let edge = match cached {
        Some(edge) if edge.size() == head.size => edge,
        _ => Edge::load(head.size, &mut Tiles(&transaction))?,
    };
    let mut append = Append {
        pruned_up_to: newest_tombstone(&transaction, &head)?,
        transaction: &transaction,
        now: Timestamp::now().as_micros(),
        size: head.size,
        bytes: 0,
        hashes: Vec::with_capacity(batch.len()),
        answers: Vec::with_capacity(batch.len()),
    };
    append.insert(batch, &leaves)?;
    let Append { bytes, hashes, answers, .. } = append;
    let edge = if hashes.is_empty() { edge } else { extend(&transaction, edge, &hashes, bytes)? };
    transaction.commit()?;
    *cache = Some(edge);
    Ok(answers)
}

/// Writes the tiles that new leaves touch, and the head.
fn extend(
    transaction: &Transaction<'_>,
    mut edge: Edge,
    hashes: &[Hash],
    bytes: u64,
) -> Result<Edge, Failure> {
    edge.append(hashes, |tile| write_tile(transaction, tile))?;
    let mut update = transaction.prepare_cached(
        "UPDATE annals_log_head SET size = ?1, events = events + ?2, bytes = bytes + ?3",
    )?;
    update.execute((edge.size(), hashes.len(), bytes))?;
    Ok(edge)
}

/// Salts and leaf hashes of a batch.
struct Leaves {
    salts: Vec<[u8; SALT_BYTES]>,
    hashes: Vec<Hash>,
}

impl Leaves {
    fn of(batch: &[Record]) -> Result<Self, Failure> {
        let mut salts = vec![[0; SALT_BYTES]; batch.len()];
        getrandom::fill(salts.as_flattened_mut()).map_err(|error| {
            let doing = format!("append {} events", batch.len());
            Error::new(ErrorKind::Away, doing, format!("no random numbers: {error}"))
        })?;
        let hash = |(record, salt): (&Record, &[u8; SALT_BYTES])| {
            log::leaf_hash(&log::entry(record.id, &log::commitment(salt, record.body())))
        };
        let hashes = batch.iter().zip(&salts).map(hash).collect();
        Ok(Self { salts, hashes })
    }
}

/// One append, under way.
struct Append<'a> {
    transaction: &'a Transaction<'a>,
    now: i64,
    /// Ids up to this one may be pruned ones.
    pruned_up_to: Option<EventId>,
    size: u64,
    bytes: u64,
    hashes: Vec<Hash>,
    answers: Vec<Appended>,
}

impl Append<'_> {
    fn insert(&mut self, batch: &[Record], leaves: &Leaves) -> Result<(), Failure> {
        let mut insert = self.transaction.prepare_cached(INSERT)?;
        for ((record, salt), hash) in batch.iter().zip(&leaves.salts).zip(&leaves.hashes) {
            if self.is_pruned(record.id)? {
                let reason = "pruned: an event with this id was stored, and removed by retention";
                self.answers.push(Appended::Refused(reason.to_owned()));
                continue;
            }
            let inserted = insert.execute(params![
                self.size,
                record.id.as_bytes(),
                record.occurred_at.as_micros(),
                self.now,
                salt,
                record.action(),
                record.outcome(),
                record.entity_type(),
                record.entity_id(),
                record.actor_type(),
                record.actor_id(),
                record.tenant(),
                record.request_id(),
                record.body(),
            ])?;
            let answer = if inserted == 1 { self.took(record, hash) } else { self.known(record)? };
            self.answers.push(answer);
        }
        Ok(())
    }

    fn took(&mut self, record: &Record, hash: &Hash) -> Appended {
        let position = self.size;
        self.size += 1;
        self.bytes += record.body().len() as u64;
        self.hashes.push(*hash);
        Appended::Inserted(position)
    }

    /// What to answer for an id that is stored already.
    fn known(&self, record: &Record) -> Result<Appended, Failure> {
        let mut same =
            self.transaction.prepare_cached("SELECT body = ?2 FROM annals_events WHERE id = ?1")?;
        if same.query_row((record.id.as_bytes(), record.body()), |row| row.get(0))? {
            return Ok(Appended::Duplicate);
        }
        let reason = "conflict: the same id is stored with different bytes";
        Ok(Appended::Refused(reason.to_owned()))
    }

    fn is_pruned(&self, id: EventId) -> Result<bool, Failure> {
        if self.pruned_up_to.is_none_or(|newest| id > newest) {
            return Ok(false);
        }
        let mut find =
            self.transaction.prepare_cached("SELECT 1 FROM annals_tombstones WHERE id = ?1")?;
        Ok(find.exists([id.as_bytes()])?)
    }
}

/// The largest id that was pruned. Ids begin with the event's time, so most new
/// ones are larger, and need no search among the tombstones.
fn newest_tombstone(
    transaction: &Transaction<'_>,
    head: &Head,
) -> Result<Option<EventId>, Failure> {
    if head.events == head.size {
        return Ok(None);
    }
    let mut newest =
        transaction.prepare_cached("SELECT id FROM annals_tombstones ORDER BY id DESC LIMIT 1")?;
    let id: Option<[u8; 16]> = newest.query_row([], |row| row.get(0)).optional()?;
    Ok(id.and_then(EventId::from_bytes))
}
