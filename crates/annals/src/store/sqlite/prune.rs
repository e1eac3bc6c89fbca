//! Pruning: rows become tombstones; the log stays as it is.

use std::collections::BTreeSet;

use rusqlite::{Connection, Rows, Transaction, TransactionBehavior, params, params_from_iter};

use super::hold;
use super::rollups;
use super::tiles::Head;
use crate::error::{Error, ErrorKind};
use crate::event::{EventId, Timestamp};
use crate::log::{self, Positions, SALT_BYTES};
use crate::sqlite::Failure;
use crate::store::{PRUNED, PrunePlan, Removed, day_of_millis};

/// Whether an event, as e, is under a hold.
macro_rules! held {
    () => {
        "EXISTS (SELECT 1 FROM annals_holds h WHERE (h.tenant IS NULL OR h.tenant = e.tenant) \
             AND (h.entity_type IS NULL OR h.entity_type = e.entity_type) \
             AND (h.entity_id IS NULL OR h.entity_id = e.entity_id) \
             AND (h.actor_type IS NULL OR h.actor_type = e.actor_type) \
             AND (h.actor_id IS NULL OR h.actor_id = e.actor_id))"
    };
}

pub(super) use held;

/// Rows that a plan looks at in one go, so that other readers get their turn.
const SLICE: usize = 20_000;

/// Pages of a file that a step gives back to the operating system, at most.
const VACUUM_PAGES: u32 = 2_000;

/// Free pages that stay in the file for the next events.
const SPARE_PAGES: i64 = 256;

/// A plan under way: a slice of it is made at a time.
#[derive(Debug)]
pub(super) struct Planning {
    before: Timestamp,
    plan: PrunePlan,
    /// The last row that was looked at.
    after: (i64, i64),
}

impl Planning {
    pub(super) fn begin(before: Timestamp) -> Self {
        let plan = PrunePlan { events: 0, bytes: 0, oldest: None, newest: None, below: 0, held: 0 };
        Self { before, plan, after: (-1, -1) }
    }

    /// Looks at the next slice; answers the plan when there is no further one.
    pub(super) fn slice(&mut self, connection: &Connection) -> Result<Option<PrunePlan>, Failure> {
        if self.after.0 < 0 {
            self.plan.below = Head::read(connection)?.size;
        }
        let mut select = connection.prepare_cached(concat!(
            "SELECT occurred_at, position, length(body), ",
            held!(),
            " FROM annals_events e INDEXED BY annals_events_time \
             WHERE (occurred_at, position) > (?1, ?2) AND occurred_at < ?3 AND position < ?4 \
             AND action <> ?5 ORDER BY occurred_at, position LIMIT ?6",
        ))?;
        let (time, position) = self.after;
        let before = self.before.as_micros();
        let mut rows =
            select.query(params![time, position, before, self.plan.below, PRUNED, SLICE])?;
        let mut seen = 0;
        while let Some(row) = rows.next()? {
            seen += 1;
            self.after = (row.get(0)?, row.get(1)?);
            if row.get(3)? {
                self.plan.held += 1;
                continue;
            }
            self.plan.events += 1;
            self.plan.bytes += row.get::<_, u64>(2)?;
            self.plan.newest = Timestamp::from_micros(self.after.0);
            self.plan.oldest = self.plan.oldest.or(self.plan.newest);
        }
        Ok((seen < SLICE).then_some(self.plan))
    }
}

/// A list under way: a slice of it is made at a time.
#[derive(Debug)]
pub(super) struct Listing {
    before: Timestamp,
    below: u64,
    positions: Positions,
    after: (i64, i64),
}

impl Listing {
    pub(super) fn begin(before: Timestamp, below: u64) -> Self {
        Self { before, below, positions: Positions::default(), after: (-1, -1) }
    }

    /// Lists the next slice; answers the list when there is no further one.
    pub(super) fn slice(&mut self, connection: &Connection) -> Result<Option<Positions>, Failure> {
        // Of the index alone, which knows nothing of actions.
        let mut select = connection.prepare_cached(
            "SELECT occurred_at, position FROM annals_events INDEXED BY annals_events_time \
             WHERE (occurred_at, position) > (?1, ?2) AND occurred_at < ?3 AND position < ?4 \
             ORDER BY occurred_at, position LIMIT ?5",
        )?;
        let (time, position) = self.after;
        let before = self.before.as_micros();
        let mut rows = select.query(params![time, position, before, self.below, SLICE])?;
        let mut seen = 0;
        while let Some(row) = rows.next()? {
            seen += 1;
            self.after = (row.get(0)?, row.get(1)?);
            let position = self.after.1.unsigned_abs();
            self.positions.add(position, position + 1);
        }
        if seen == SLICE {
            return Ok(None);
        }
        let mut telling = connection.prepare_cached(
            "SELECT position FROM annals_events INDEXED BY annals_events_entity \
             WHERE entity_type = 'store' AND entity_id IS NULL AND action = ?1",
        )?;
        let mut rows = telling.query([PRUNED])?;
        while let Some(row) = rows.next()? {
            self.positions.take_out(row.get(0)?);
        }
        self.take_out_held(connection)?;
        Ok(Some(std::mem::take(&mut self.positions)))
    }
}

impl Listing {
    /// What is held is found by the index that fits the hold.
    fn take_out_held(&mut self, connection: &Connection) -> Result<(), Failure> {
        for hold in hold::all(connection)? {
            let (text, values) = hold::conditions(&hold.scope);
            let mut held =
                connection.prepare(&format!("SELECT position FROM annals_events WHERE {text}"))?;
            let mut rows = held.query(params_from_iter(values))?;
            while let Some(row) = rows.next()? {
                self.positions.take_out(row.get(0)?);
            }
        }
        Ok(())
    }
}

/// Removes up to `limit` events in one transaction.
pub(super) fn step(
    connection: &mut Connection,
    before: Timestamp,
    below: u64,
    limit: usize,
) -> Result<Removed, Failure> {
    // The events that tell of removals stay: without them, the others' absence
    // would be unexplained.
    const OLD: &str = concat!(
        "SELECT position, id, salt, body FROM annals_events e INDEXED BY annals_events_time \
         WHERE occurred_at < ?1 AND position < ?2 AND action <> ?3 AND NOT ",
        held!(),
        " ORDER BY occurred_at, position LIMIT ?4",
    );
    remove(connection, OLD, params![before.as_micros(), below, PRUNED, limit])
}

/// Removes the events at these positions in one transaction.
pub(super) fn listed(connection: &mut Connection, positions: &[u64]) -> Result<Removed, Failure> {
    const LISTED: &str = concat!(
        "SELECT position, id, salt, body FROM annals_events e \
         WHERE position IN (SELECT value FROM json_each(?1)) AND action <> ?2 AND NOT ",
        held!(),
    );
    let positions: Vec<String> = positions.iter().map(u64::to_string).collect();
    remove(connection, LISTED, params![format!("[{}]", positions.join(",")), PRUNED])
}

/// Removes what a query finds: positions, ids, salts and bodies.
fn remove(
    connection: &mut Connection,
    find: &str,
    params: &[&dyn rusqlite::ToSql],
) -> Result<Removed, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let removed = bury(&transaction, &mut transaction.prepare_cached(find)?.query(params)?)?;
    transaction.execute(
        "UPDATE annals_log_head SET events = events - ?1, bytes = bytes - ?2",
        (removed.events, removed.bytes),
    )?;
    transaction.commit()?;
    give_back(connection)?;
    Ok(removed)
}

fn bury(transaction: &Transaction<'_>, rows: &mut Rows<'_>) -> Result<Removed, Failure> {
    let (mut tombstones, mut days) = (Vec::new(), BTreeSet::new());
    let mut removed = Removed::default();
    while let Some(row) = rows.next()? {
        let salt: [u8; SALT_BYTES] = row.get(2)?;
        let body = row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
        tombstones.push((
            row.get::<_, i64>(0)?,
            row.get::<_, [u8; 16]>(1)?,
            log::commitment(&salt, body),
        ));
        removed.events += 1;
        removed.bytes += body.len() as u64;
    }
    let mut bury = transaction.prepare_cached(
        "INSERT INTO annals_tombstones (position, id, commitment) VALUES (?1, ?2, ?3)",
    )?;
    let mut delete = transaction.prepare_cached("DELETE FROM annals_events WHERE position = ?1")?;
    for (position, id, commitment) in tombstones {
        let Some(known) = EventId::from_bytes(id) else {
            let found = format!("the id at position {position} is no UUIDv7");
            return Err(Error::new(ErrorKind::Damaged, "prune events", found).into());
        };
        days.insert(day_of_millis(known.millis()));
        bury.execute((position, id, commitment))?;
        delete.execute([position])?;
    }
    rollups::mark(transaction, &days)?;
    Ok(removed)
}

/// Shortens the file by some of the pages that are free, if there are many.
fn give_back(connection: &Connection) -> Result<(), Failure> {
    let free: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    if free <= SPARE_PAGES {
        return Ok(());
    }
    let pages = u32::try_from(free - SPARE_PAGES).unwrap_or(u32::MAX).min(VACUUM_PAGES);
    // Each row that it answers is a page moved.
    connection.pragma(None, "incremental_vacuum", pages, |_| Ok(()))?;
    Ok(())
}
