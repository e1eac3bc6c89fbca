//! Appending: events, leaves, tiles and head in one transaction.
//!
//! The events go in first, in the order of their ids, so that two workers with the
//! same events wait for each other and not in a circle. Only then is the log's head
//! locked: an append is given its first position, and writes the tiles that it touches
//! together with the commit, in one round trip.
//!
//! A batch is first taken to be new. When the server finds an id that is stored
//! already, the transaction is given up, and begun again with what is new of it.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

use sqlx::mysql::MySqlDatabaseError;
use sqlx::{AssertSqlSafe, Row as _};

use super::super::batch::Batch;
use super::super::{Along, Appended, Record};
use super::memory::Memory;
use super::read::{event_id, ids_as_json};
use super::tiles::{self, Written};
use crate::error::{Error, ErrorKind};
use crate::event::Timestamp;
use crate::hex::hex;
use crate::log::{Edge, Hash};
use crate::mysql::rows::{self, Rows};
use crate::mysql::{Connection, Failure, Pool, number};

/// How often a batch is begun again because somebody else was at the same events.
const TRIES: usize = 20;

/// The rows of the events.
const EVENTS: Rows = Rows {
    insert: "INSERT INTO annals_events (id, occurred_at, append, place, salt, action, outcome, \
             entity_type, entity_id, actor_type, actor_id, tenant, request_id, body) VALUES ",
    row: "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    values: 14,
};

/// Why an append was given up.
enum Stopped {
    /// Some of its events are known already: an error of the server, or found by us.
    Known(Option<sqlx::Error>),
    Failed(Failure),
}

impl From<sqlx::Error> for Stopped {
    fn from(error: sqlx::Error) -> Self {
        let number = error
            .as_database_error()
            .and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>())
            .map(MySqlDatabaseError::number);
        match number {
            // ER_DUP_ENTRY; ER_LOCK_DEADLOCK, of which one side is to begin again
            Some(1062 | 1213) => Self::Known(Some(error)),
            _ => Self::Failed(error.into()),
        }
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Appends a batch, and does what a queue in the same database wants done along with
/// it; then `None` if nothing was new.
pub(super) async fn append(
    pool: Pool,
    records: Arc<[Record]>,
    memory: Arc<Memory>,
    along: Option<Along>,
) -> Result<Option<Vec<Appended>>, Failure> {
    let mut batch = Batch::of(&records)?;
    let mut tries = 0;
    while !batch.rows().is_empty() {
        tries += 1;
        match run(&pool, &batch, &memory, along.as_ref()).await {
            Ok(first) => {
                batch.stored_from(first);
                return Ok(Some(batch.answers()));
            }
            Err(Stopped::Failed(failure)) => return Err(failure),
            Err(Stopped::Known(_)) if tries < TRIES => look_up(&pool, &mut batch).await?,
            // Not what was thought: it does not pass.
            Err(Stopped::Known(Some(error))) => return Err(error.into()),
            Err(Stopped::Known(None)) => {
                let found = "others append or prune the same events all the time";
                return Err(Error::new(ErrorKind::Away, "append events", found).into());
            }
        }
    }
    Ok(along.is_none().then(|| batch.answers()))
}

/// Finds out which of the records are stored or pruned.
async fn look_up(pool: &Pool, batch: &mut Batch<'_>) -> Result<(), Failure> {
    const STORED: &str = "SELECT e.id, e.body FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) r \
         STRAIGHT_JOIN annals_events e FORCE INDEX (PRIMARY) ON e.id = UNHEX(r.id)";
    const PRUNED: &str = "SELECT t.id FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) r \
         STRAIGHT_JOIN annals_tombstones t FORCE INDEX (PRIMARY) ON t.id = UNHEX(r.id) \
         UNION SELECT UNHEX(r.id) FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) r \
         JOIN annals_dropped d ON UNHEX(r.id) >= d.lower AND UNHEX(r.id) < d.upper";
    let ids = ids_as_json(batch.ids());
    let mut connection = pool.connect().await?;
    let mut stored = HashMap::new();
    for row in connection.query(STORED).bind(&ids).fetch_all(&mut *connection).await? {
        stored.insert(event_id(row.try_get(0)?)?, row.try_get(1)?);
    }
    let mut pruned = HashSet::new();
    for row in connection.query(PRUNED).bind(&ids).bind(&ids).fetch_all(&mut *connection).await? {
        pruned.insert(event_id(row.try_get(0)?)?);
    }
    connection.commit().await?;
    batch.look_up(stored, &pruned);
    Ok(())
}

/// Stores what is to be stored, in one transaction; answers the first position.
async fn run(
    pool: &Pool,
    batch: &Batch<'_>,
    memory: &Memory,
    along: Option<&Along>,
) -> Result<u64, Stopped> {
    let append = memory.number(pool).await?;
    let leaves = batch.leaves().await;
    let mut connection = pool.begin("START TRANSACTION").await?;
    match transact(&mut connection, pool, batch, append, memory, &leaves, along).await {
        Ok((first, edge, statements)) => {
            connection.commit_with(&statements).await?;
            memory.keep_edge(edge);
            Ok(first)
        }
        Err(stopped) => {
            // What cannot be rolled back goes with its connection.
            let _ = connection.rollback().await;
            Err(stopped)
        }
    }
}

/// Does all but what is written under the log's lock: answers the first position, the
/// log's edge after the append, and the statements that are left.
async fn transact(
    connection: &mut Connection,
    pool: &Pool,
    batch: &Batch<'_>,
    append: i64,
    memory: &Memory,
    leaves: &[Hash],
    along: Option<&Along>,
) -> Result<(u64, Edge, String), Stopped> {
    insert(connection, pool, batch, append).await?;
    if let Some(along) = along {
        let receipts = batch.receipts_of_stored(along);
        let receipts = receipts.into_iter().map(|(key, lease)| vec![key, lease]);
        let receipts = serde_json::Value::from_iter(receipts).to_string();
        let acknowledge = AssertSqlSafe(format!("CALL {}(?)", along.function));
        connection.query(acknowledge).bind(receipts).execute(&mut **connection).await?;
    }
    let (size, newest_pruned) = lock_head(connection).await?;
    let lowest = batch.ids().next().map(|id| id.as_bytes().to_vec());
    if newest_pruned >= lowest {
        expect_none_pruned(connection, batch).await?;
    }
    let mut edge = match memory.take_edge() {
        Some(edge) if edge.size() == size => edge,
        // Another handle has appended since.
        _ => tiles::edge(connection, size).await?,
    };
    let mut written = Written::default();
    edge.append(leaves, |tile| {
        written.push(tile);
        Ok::<_, Error>(())
    })?;
    let mut statements = written.statement();
    let hex = |id: Option<crate::EventId>| id.map(|id| hex(id.as_bytes())).unwrap_or_default();
    let _ = write!(
        statements,
        "INSERT INTO annals_appends (number, first, events, appended_at, lowest, highest) \
         VALUES ({append}, {size}, {events}, {now}, X'{lowest}', X'{highest}'); \
         UPDATE annals_log_head SET size = size + {events}, events = events + {events}, \
             bytes = bytes + {bytes}; ",
        events = leaves.len(),
        now = Timestamp::now().as_micros(),
        lowest = hex(batch.ids().next()),
        highest = hex(batch.ids().last()),
        bytes = batch.bytes(),
    );
    Ok((size, edge, statements))
}

async fn insert(
    connection: &mut Connection,
    pool: &Pool,
    batch: &Batch<'_>,
    append: i64,
) -> Result<(), Stopped> {
    let bodies = batch.rows().iter().map(|row| batch.record(*row).0.body().len());
    for chunk in EVENTS.chunks(bodies, rows::bytes(pool)) {
        let mut insert = connection.query(AssertSqlSafe(EVENTS.statement(chunk.len())));
        for row in &batch.rows()[chunk] {
            let (record, salt) = batch.record(*row);
            insert = insert
                .bind(&record.id.as_bytes()[..])
                .bind(record.occurred_at.as_micros())
                .bind(append)
                .bind(number(row.rank as u64))
                .bind(&salt[..])
                .bind(record.action().as_bytes())
                .bind(record.outcome().as_bytes())
                .bind(record.entity_type().as_bytes())
                .bind(record.entity_id().map(str::as_bytes))
                .bind(record.actor_type().map(str::as_bytes))
                .bind(record.actor_id().map(str::as_bytes))
                .bind(record.tenant().map(str::as_bytes))
                .bind(record.request_id().map(str::as_bytes))
                .bind(record.body());
        }
        insert.execute(&mut **connection).await?;
    }
    Ok(())
}

/// Locks the log; answers its size, and the largest id that was pruned, or the end of the
/// last month that was. Two statements in one round trip: the second sees what was
/// committed while the first waited.
pub(super) async fn lock_head(connection: &mut Connection) -> sqlx::Result<(u64, Option<Vec<u8>>)> {
    let lock = "SELECT size FROM annals_log_head FOR UPDATE; \
        SELECT (SELECT MAX(id) FROM annals_tombstones), (SELECT MAX(upper) FROM annals_dropped)";
    let rows = sqlx::raw_sql(lock).fetch_all(&mut **connection).await?;
    let [size, newest] = rows.as_slice() else { return Err(sqlx::Error::RowNotFound) };
    let newest: [Option<Vec<u8>>; 2] = [newest.try_get(0)?, newest.try_get(1)?];
    Ok((size.try_get::<i64, _>(0)?.unsigned_abs(), newest.into_iter().max().flatten()))
}

/// Ids begin with the event's time, so that most new ones are larger than any that was
/// pruned, and need no search among the tombstones.
async fn expect_none_pruned(connection: &mut Connection, batch: &Batch<'_>) -> Result<(), Stopped> {
    const LOOK: &str = "SELECT EXISTS (SELECT 1 \
         FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) r \
         STRAIGHT_JOIN annals_tombstones t FORCE INDEX (PRIMARY) ON t.id = UNHEX(r.id)) \
         OR EXISTS (SELECT 1 FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) r \
         JOIN annals_dropped d ON UNHEX(r.id) >= d.lower AND UNHEX(r.id) < d.upper)";
    let ids = ids_as_json(batch.ids());
    let look = connection.scalar(LOOK).bind(&ids).bind(&ids);
    let pruned: bool = look.fetch_one(&mut **connection).await?;
    if pruned { Err(Stopped::Known(None)) } else { Ok(()) }
}
