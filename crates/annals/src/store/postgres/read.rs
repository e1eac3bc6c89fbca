//! Reading single events, windows and figures.

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::super::paging::ANSWER_BYTES;
use super::super::{StoreStats, Stored};
use crate::error::{Error, ErrorKind};
use crate::event::{EventId, Timestamp};
use crate::postgres::{Connection, Failure, Pool, Time, number};

/// The columns that [`stored`] reads, in its order; of annals_events as e and
/// annals_appends as a.
macro_rules! columns {
    () => {
        "a.first + e.rank, e.id, a.appended_at, e.body"
    };
}
pub(super) use columns;

/// Reads an event from the first four columns of a row.
pub(super) fn stored(row: &PgRow) -> Result<Stored, Failure> {
    let position = row.try_get::<i64, _>(0)?.unsigned_abs();
    let damaged = |what: &str| {
        let doing = format!("read the event at position {position}");
        Error::new(ErrorKind::Damaged, doing, what)
    };
    Ok(Stored {
        position,
        id: event_id(row.try_get(1)?).ok_or_else(|| damaged("its id is no UUIDv7"))?,
        appended_at: row.try_get::<Time, _>(2)?.0,
        body: row.try_get::<String, _>(3)?.into_bytes(),
    })
}

pub(super) fn uuid(id: EventId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

pub(super) fn event_id(uuid: Uuid) -> Option<EventId> {
    EventId::from_bytes(uuid.into_bytes())
}

/// A transaction that sees one moment.
pub(super) async fn snapshot(pool: &Pool) -> sqlx::Result<Connection> {
    pool.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
}

pub(super) async fn get(pool: Pool, id: EventId) -> Result<Option<Stored>, Failure> {
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM annals_events e JOIN annals_appends a ON a.number = e.append WHERE e.id = $1"
    );
    let mut connection = pool.connect().await?;
    let row = connection.query(sql).bind(uuid(id)).fetch_optional(&mut *connection).await?;
    connection.commit().await?;
    row.as_ref().map(stored).transpose()
}

pub(super) async fn window(pool: Pool, from: u64, limit: usize) -> Result<Vec<Stored>, Failure> {
    // One append after the other, from the one in which `from` lies; those of which
    // nothing is left cost a look each. The sum before a row is what the answer
    // holds without it.
    let sql = concat!(
        "SELECT * FROM ( \
             SELECT w.*, sum(octet_length(body)) OVER (ORDER BY position) - octet_length(body) AS before \
             FROM ( \
                 SELECT ",
        columns!(),
        " FROM (SELECT * FROM annals_appends WHERE first >= coalesce( \
                  (SELECT first FROM annals_appends WHERE first <= $1 ORDER BY first DESC LIMIT 1), 0) \
                  ORDER BY first) a \
             CROSS JOIN LATERAL (SELECT * FROM annals_events e \
                  WHERE e.append = a.number AND e.id >= a.lowest AND e.id <= a.highest \
                  AND a.first + e.rank >= $1 ORDER BY e.rank) e \
             LIMIT $2) AS w (position, id, appended_at, body) \
         ) AS summed WHERE before < $3 ORDER BY position"
    );
    // No position is beyond what PostgreSQL counts to.
    let Ok(from) = i64::try_from(from) else { return Ok(Vec::new()) };
    let mut connection = pool.connect().await?;
    let read = connection.query(sql).bind(from).bind(number(limit as u64));
    let rows = read.bind(number(ANSWER_BYTES as u64)).fetch_all(&mut *connection).await?;
    connection.commit().await?;
    rows.iter().map(stored).collect()
}

pub(super) async fn stats(pool: Pool) -> Result<StoreStats, Failure> {
    let mut snapshot = snapshot(&pool).await?;
    let figures = snapshot.query(
        "SELECT (SELECT size FROM annals_log_head), \
             (SELECT coalesce(sum(events), 0)::int8 FROM annals_partitions), \
             (SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::int8 \
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = ANY (current_schemas(false)) AND c.relkind = 'r' \
                 AND (c.relname IN ('annals_appends', 'annals_tombstones', 'annals_log_tiles', 'annals_log_head') \
                     OR c.relname IN (SELECT name FROM annals_partitions)))",
    );
    let row = figures.fetch_one(&mut *snapshot).await?;
    let figure = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    let mut stats = StoreStats {
        size: figure(0)?,
        events: figure(1)?,
        bytes: figure(2)?,
        oldest: None,
        newest: None,
    };
    stats.oldest = end(&mut snapshot, "min", "ASC").await?;
    stats.newest = end(&mut snapshot, "max", "DESC").await?;
    snapshot.commit().await?;
    Ok(stats)
}

/// The first or last time: among the events of the first or last millisecond.
async fn end(
    snapshot: &mut Connection,
    choose: &str,
    direction: &str,
) -> Result<Option<Timestamp>, Failure> {
    let sql = format!(
        "SELECT {choose}(e.occurred_at) \
         FROM (SELECT annals_uuid_time(id) AS time FROM annals_events ORDER BY id {direction} LIMIT 1) AS o \
         JOIN annals_events e ON e.id >= annals_uuid_from(o.time) \
             AND e.id < annals_uuid_from(o.time + interval '1 millisecond')"
    );
    let time: Option<Time> =
        snapshot.scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&mut **snapshot).await?;
    Ok(time.map(|time| time.0))
}
