//! Pruning a month as a whole, which takes as long for a million events as for one.
//!
//! These servers commit at each statement that changes a table, and so a month goes in
//! steps, each of which may be the last one that is done:
//!
//! 1. It is listed in `annals_dropped`, under the log's lock. From then on no append
//!    brings an event of its time, and no row of it is pruned alone: what is in it
//!    stays the same, and may be looked at without a lock.
//! 2. Its events are counted, in slices, and the figures kept there.
//! 3. A procedure of the store's takes it out, and says so in the head's figures.
//!
//! A month that is listed and has not gone is first of all gone on with, whatever the
//! prune's time: the prune that began it told of it.

use sqlx::{AssertSqlSafe, Executor, Row};

use super::super::{PRUNED, Removed};
use super::append::lock_head;
use super::hold::held;
use super::partitions::{self, Month};
use super::prune::SLICE;
use super::read::first_of;
use crate::event::Timestamp;
use crate::mysql::{Connection, Pool, number};

/// How often it is tried to change the table while others are at it, a second each.
const TRIES: usize = 5;

/// A month that is listed and has not gone.
#[derive(Debug)]
pub(super) struct Going {
    pub(super) lower: Vec<u8>,
    pub(super) upper: Vec<u8>,
    name: String,
    /// What goes with it, once that is counted.
    counted: Option<Removed>,
}

/// The month that somebody has begun with.
pub(super) async fn going(connection: &mut Connection) -> sqlx::Result<Option<Going>> {
    const GOING: &str =
        "SELECT lower, upper, name, events, bytes FROM annals_dropped WHERE dropped_at IS NULL";
    let row = connection.query(GOING).fetch_optional(&mut **connection).await?;
    row.map(|row| {
        let figure = |column| row.try_get::<Option<i64>, _>(column);
        let counted = figure(3)?.zip(figure(4)?).map(|(events, bytes)| Removed {
            events: events.unsigned_abs(),
            bytes: bytes.unsigned_abs(),
        });
        Ok(Going { lower: row.try_get(0)?, upper: row.try_get(1)?, name: row.try_get(2)?, counted })
    })
    .transpose()
}

impl Going {
    /// What went with it and is in the head's figures still: nothing while it is there.
    pub(super) async fn gone(&self, connection: &mut Connection) -> sqlx::Result<Removed> {
        match self.counted {
            Some(counted) if !has_events(connection, &self.name).await? => Ok(counted),
            _ => Ok(Removed::default()),
        }
    }
}

/// Takes the oldest month out that lies before a time and has no event at or above
/// position `below`; nothing if there is none.
pub(super) async fn month(
    pool: &Pool,
    before: Timestamp,
    below: u64,
) -> sqlx::Result<Option<Removed>> {
    Ok(one(pool, before, below, None).await?.map(|(_, removed)| removed))
}

/// Takes one month out, after the one that somebody has begun with; nothing if it cannot go
/// as a whole.
pub(super) async fn this_month(
    pool: &Pool,
    name: &str,
    below: u64,
) -> sqlx::Result<Option<Removed>> {
    loop {
        match one(pool, Timestamp::MAX, below, Some(name)).await? {
            Some((taken, removed)) if taken == name => return Ok(Some(removed)),
            Some(_) => {}
            None => return Ok(None),
        }
    }
}

/// Takes a month out and answers which: first of all one that somebody has begun with.
async fn one(
    pool: &Pool,
    before: Timestamp,
    below: u64,
    only: Option<&str>,
) -> sqlx::Result<Option<(String, Removed)>> {
    loop {
        let mut connection = pool.connect().await?;
        let begun = going(&mut connection).await?;
        connection.commit().await?;
        let month = match begun {
            Some(month) => month,
            None => match list(pool, before, below, only).await? {
                Some(month) => month,
                None => return Ok(None),
            },
        };
        if month.counted.is_none() {
            count(pool, &month).await?;
        }
        // Otherwise another prune was faster.
        if let Some(removed) = take_out(pool).await? {
            return Ok(Some((month.name, removed)));
        }
    }
}

/// Lists the oldest month that can go, of those that are wanted.
async fn list(
    pool: &Pool,
    before: Timestamp,
    below: u64,
    only: Option<&str>,
) -> sqlx::Result<Option<Going>> {
    const KNOWN: &str = "SELECT EXISTS (SELECT 1 FROM annals_dropped WHERE upper = ?)";
    const LIST: &str = "INSERT INTO annals_dropped (upper, lower, name) VALUES (?, ?, ?)";
    // Events of a time that is not over are going to come.
    let line = before.as_millis().min(Timestamp::now().as_millis());
    let mut connection = pool.connect().await?;
    let mut months = partitions::made(&mut connection).await?;
    connection.commit().await?;
    months.retain(|month| month.next().millis() <= line);
    months.retain(|month| only.is_none_or(|only| month.name() == only));
    months.sort_unstable();
    for month in months {
        let (lower, upper) = (first_of(month.millis()), first_of(month.next().millis()));
        let name = month.name();
        let mut transaction = pool.begin("START TRANSACTION").await?;
        let known = transaction.scalar::<bool>(KNOWN).bind(&upper);
        if known.fetch_one(&mut *transaction).await? || !has_events(&mut transaction, &name).await?
        {
            transaction.commit().await?;
            continue;
        }
        lock_head(&mut transaction).await?;
        if let Some(begun) = going(&mut transaction).await? {
            transaction.commit().await?;
            return Ok(Some(begun));
        }
        // Both again, since it is only now that nobody else changes it.
        let known = transaction.scalar::<bool>(KNOWN).bind(&upper);
        if known.fetch_one(&mut *transaction).await?
            || !has_events(&mut transaction, &name).await?
            || has_later_ones(&mut transaction, month, below).await?
        {
            transaction.commit().await?;
            continue;
        }
        let list = transaction.query(LIST).bind(&upper).bind(&lower).bind(&name);
        list.execute(&mut *transaction).await?;
        transaction.commit().await?;
        return Ok(Some(Going { lower, upper, name, counted: None }));
    }
    Ok(None)
}

/// Whether a month has events that may go: neither do those that tell of removals, nor what
/// is under a hold.
async fn has_events(connection: &mut Connection, name: &str) -> sqlx::Result<bool> {
    let look = format!(
        "SELECT EXISTS (SELECT 1 FROM annals_events PARTITION ({name}) e FORCE INDEX (PRIMARY) \
         WHERE NOT (e.entity_type = 'store' AND e.entity_id IS NULL AND e.action = '{PRUNED}') AND NOT {})",
        held!(),
    );
    connection.scalar(AssertSqlSafe(look)).fetch_one(&mut **connection).await
}

/// Whether a month has an event at or above a position: those came after the prune was
/// told of.
async fn has_later_ones(
    connection: &mut Connection,
    month: Month,
    below: u64,
) -> sqlx::Result<bool> {
    let look = format!(
        "SELECT EXISTS (SELECT 1 FROM annals_appends a FORCE INDEX (annals_appends_first) \
         STRAIGHT_JOIN annals_events PARTITION ({}) e FORCE INDEX (annals_events_append) ON e.append = a.number \
         WHERE a.first >= COALESCE((SELECT MAX(first) FROM annals_appends WHERE first <= ?), 0) \
             AND a.lowest < ? AND a.highest >= ? AND a.first + e.place >= ?)",
        month.name()
    );
    connection
        .scalar(AssertSqlSafe(look))
        .bind(number(below))
        .bind(first_of(month.next().millis()))
        .bind(first_of(month.millis()))
        .bind(number(below))
        .fetch_one(&mut **connection)
        .await
}

/// Counts what goes with a month, beside which appends go on.
async fn count(pool: &Pool, month: &Going) -> sqlx::Result<()> {
    const LOOK: &str = concat!(
        "SELECT COUNT(*), MAX(id), CAST(SUM(goes) AS SIGNED), CAST(SUM(IF(goes, size, 0)) AS SIGNED) \
         FROM (SELECT id, OCTET_LENGTH(body) AS size, \
                 NOT (entity_type = 'store' AND entity_id IS NULL AND action = ?) AND NOT ",
        held!(),
        " AS goes FROM annals_events e FORCE INDEX (PRIMARY) WHERE id > ? AND id < ? ORDER BY id LIMIT ?) s"
    );
    const KEEP: &str = "UPDATE annals_dropped SET events = ?, bytes = ? \
         WHERE upper = ? AND events IS NULL AND dropped_at IS NULL";
    let mut connection = pool.connect().await?;
    let (mut events, mut bytes, mut after) = (0, 0, month.lower.clone());
    loop {
        let look = connection.query(LOOK).bind(PRUNED.as_bytes());
        let look = look.bind(&after).bind(&month.upper).bind(SLICE);
        let row = look.fetch_one(&mut *connection).await?;
        let figure =
            |column| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(column)?.unwrap_or(0));
        events += figure(2)?;
        bytes += figure(3)?;
        match row.try_get::<Option<Vec<u8>>, _>(1)? {
            Some(last) if row.try_get::<i64, _>(0)? == SLICE => after = last,
            _ => break,
        }
    }
    // Who was faster has counted the same, or taken it out already, which left nothing
    // to be counted.
    let keep = connection.query(KEEP).bind(events).bind(bytes).bind(&month.upper);
    keep.execute(&mut *connection).await?;
    connection.commit().await
}

/// Takes the month out that is listed and counted. For that nobody may be at the table:
/// so it is tried for a second, in which others wait as well, and then again.
async fn take_out(pool: &Pool) -> sqlx::Result<Option<Removed>> {
    const TAKE_OUT: &str = "CALL annals_drop_partition(@annals_events, @annals_bytes)";
    const TAKEN_OUT: &str = "SELECT CAST(@annals_events AS SIGNED), CAST(@annals_bytes AS SIGNED)";
    let mut tries = 0;
    loop {
        tries += 1;
        let mut connection = pool.connect().await?;
        connection.execute("SET SESSION lock_wait_timeout = 1").await?;
        match connection.execute(TAKE_OUT).await {
            Ok(_) => {}
            Err(error) if tries < TRIES && somebody_was_at_it(&error) => continue,
            Err(error) => return Err(error),
        }
        let row = connection.query(TAKEN_OUT).fetch_one(&mut *connection).await?;
        let figure = |column| row.try_get::<Option<i64>, _>(column);
        let taken = figure(0)?.zip(figure(1)?);
        connection.execute(AssertSqlSafe(pool.settings().of_session())).await?;
        connection.commit().await?;
        return Ok(taken.map(|(events, bytes)| Removed {
            events: events.unsigned_abs(),
            bytes: bytes.unsigned_abs(),
        }));
    }
}

/// Someone held what the change needed (`ER_LOCK_WAIT_TIMEOUT`, `ER_LOCK_DEADLOCK`), or
/// is pruning.
fn somebody_was_at_it(error: &sqlx::Error) -> bool {
    let error = error.as_database_error();
    let number = error
        .and_then(|error| error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>())
        .map(sqlx::mysql::MySqlDatabaseError::number);
    matches!(number, Some(1205 | 1213))
        || error.and_then(|error| error.code()).as_deref() == Some("AN003")
}
