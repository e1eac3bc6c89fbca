//! Reading single events, windows and figures.

use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::super::paging::ANSWER_BYTES;
use super::super::{StoreStats, Stored};
use crate::error::{Error, ErrorKind};
use crate::event::{EventId, Timestamp};
use crate::hex::hex;
use crate::mysql::{Connection, Failure, Pool, number};

/// Appends that a window looks at in one go.
const APPENDS: i64 = 1_024;

/// The columns that [`stored`] reads, in its order; of annals_events as e and
/// annals_appends as a.
macro_rules! columns {
    () => {
        "a.first + e.place, e.id, a.appended_at, e.body"
    };
}
pub(super) use columns;

/// Reads an event from the first four columns of a row.
pub(super) fn stored(row: &MySqlRow) -> Result<Stored, Failure> {
    let position = row.try_get::<i64, _>(0)?.unsigned_abs();
    let appended_at = Timestamp::from_micros(row.try_get(2)?).ok_or_else(|| {
        let doing = format!("read the event at position {position}");
        Error::new(ErrorKind::Damaged, doing, "its time of append is out of range")
    })?;
    Ok(Stored { position, id: event_id(row.try_get(1)?)?, appended_at, body: row.try_get(3)? })
}

pub(super) fn event_id(bytes: &[u8]) -> Result<EventId, Failure> {
    let id = bytes.try_into().ok().and_then(EventId::from_bytes);
    id.ok_or_else(|| {
        let found = format!("the id {} is no UUIDv7", hex(bytes));
        Error::new(ErrorKind::Damaged, "read an event", found).into()
    })
}

/// Ids as a list for a statement.
pub(super) fn ids_as_json(ids: impl Iterator<Item = EventId>) -> String {
    ids.map(|id| hex(id.as_bytes())).collect::<serde_json::Value>().to_string()
}

/// A transaction that sees one moment.
pub(super) async fn snapshot(pool: &Pool) -> sqlx::Result<Connection> {
    pool.begin(
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; \
         START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    )
    .await
}

pub(super) async fn get(pool: Pool, id: EventId) -> Result<Option<Stored>, Failure> {
    const GET: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM annals_events e JOIN annals_appends a ON a.number = e.append WHERE e.id = ?"
    );
    let mut connection = pool.connect().await?;
    let get = connection.query(GET).bind(&id.as_bytes()[..]);
    let row = get.fetch_optional(&mut *connection).await?;
    connection.commit().await?;
    row.as_ref().map(stored).transpose()
}

pub(super) async fn window(pool: Pool, from: u64, limit: usize) -> Result<Vec<Stored>, Failure> {
    // No position is beyond what the server counts to.
    let Ok(mut from) = i64::try_from(from) else { return Ok(Vec::new()) };
    let mut connection = pool.connect().await?;
    let mut events: Vec<Stored> = Vec::new();
    let mut bytes = 0;
    // One stretch of appends after the other; of those that were pruned nothing is left.
    while events.len() < limit && bytes < ANSWER_BYTES {
        let left = limit - events.len();
        let Some((appends, next)) = appends(&mut connection, from, left).await? else { break };
        let found = sizes(&mut connection, &appends, from).await?;
        let fitting: Vec<EventId> = found
            .iter()
            .take(left)
            .take_while(|(_, _, size)| {
                let fits = bytes < ANSWER_BYTES;
                bytes += size;
                fits
            })
            .map(|(_, id, _)| *id)
            .collect();
        let whole = fitting.len() == found.len();
        events.append(&mut bodies(&mut connection, &fitting).await?);
        if !whole {
            break;
        }
        from = next;
    }
    connection.commit().await?;
    Ok(events)
}

/// The appends from the one in which a position lies, as many as are likely to hold
/// what is wanted, as a list for a statement; and the position after them.
async fn appends(
    connection: &mut Connection,
    from: i64,
    wanted: usize,
) -> Result<Option<(String, i64)>, Failure> {
    const APPENDS_FROM: &str = "SELECT number, first, events FROM annals_appends WHERE first >= COALESCE( \
         (SELECT MAX(first) FROM annals_appends WHERE first <= ?), 0) ORDER BY first LIMIT ?";
    let look = connection.row(APPENDS_FROM).bind(from).bind(APPENDS);
    let mut list: Vec<Vec<i64>> = Vec::new();
    let mut next = from;
    for (append, first, events) in look.fetch_all(&mut **connection).await? {
        let (append, first, events): (i64, i64, i32) = (append, first, events);
        if next - from >= number(wanted as u64) {
            break;
        }
        list.push(vec![append, first]);
        next = first + i64::from(events);
    }
    let any = next > from;
    Ok(any.then(|| (serde_json::Value::from(list).to_string(), next)))
}

/// Positions, ids and sizes of what is left of some appends, in order.
async fn sizes(
    connection: &mut Connection,
    appends: &str,
    from: i64,
) -> Result<Vec<(i64, EventId, usize)>, Failure> {
    const SIZES: &str = "SELECT a.first + e.place, e.id, OCTET_LENGTH(e.body) \
         FROM JSON_TABLE(?, '$[*]' COLUMNS (number BIGINT PATH '$[0]', first BIGINT PATH '$[1]')) a \
         STRAIGHT_JOIN annals_events e FORCE INDEX (annals_events_append) ON e.append = a.number \
         WHERE a.first + e.place >= ?";
    let look = connection.query(SIZES).bind(appends).bind(from);
    let mut found = Vec::new();
    for row in look.fetch_all(&mut **connection).await? {
        let size = usize::try_from(row.try_get::<i64, _>(2)?).unwrap_or(usize::MAX);
        found.push((row.try_get(0)?, event_id(row.try_get(1)?)?, size));
    }
    found.sort_unstable_by_key(|(position, ..)| *position);
    Ok(found)
}

/// Events by their ids, in order of their positions.
async fn bodies(connection: &mut Connection, ids: &[EventId]) -> Result<Vec<Stored>, Failure> {
    const BODIES: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) r \
         STRAIGHT_JOIN annals_events e FORCE INDEX (PRIMARY) ON e.id = UNHEX(r.id) \
         STRAIGHT_JOIN annals_appends a FORCE INDEX (PRIMARY) ON a.number = e.append"
    );
    let read = connection.query(BODIES).bind(ids_as_json(ids.iter().copied()));
    let rows = read.fetch_all(&mut **connection).await?;
    let mut events = rows.iter().map(stored).collect::<Result<Vec<_>, _>>()?;
    events.sort_unstable_by_key(|event| event.position);
    Ok(events)
}

pub(super) async fn stats(pool: Pool) -> Result<StoreStats, Failure> {
    const FIGURES: &str = "SELECT size, events, (SELECT CAST(SUM(data_length + index_length) AS SIGNED) \
         FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name IN \
         ('annals_events', 'annals_appends', 'annals_tombstones', 'annals_log_tiles')) \
         FROM annals_log_head";
    let mut snapshot = snapshot(&pool).await?;
    let row = snapshot.query(FIGURES).fetch_one(&mut *snapshot).await?;
    let figure = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    let stats = StoreStats {
        size: figure(0)?,
        events: figure(1)?,
        bytes: figure(2)?,
        oldest: end(&mut snapshot, "MIN", "ASC").await?,
        newest: end(&mut snapshot, "MAX", "DESC").await?,
    };
    snapshot.commit().await?;
    Ok(stats)
}

/// The first or last time: among the events of the first or last millisecond.
async fn end(
    snapshot: &mut Connection,
    choose: &str,
    direction: &str,
) -> Result<Option<Timestamp>, Failure> {
    let last = format!("SELECT id FROM annals_events ORDER BY id {direction} LIMIT 1");
    let last: Option<Vec<u8>> =
        snapshot.scalar(sqlx::AssertSqlSafe(last)).fetch_optional(&mut **snapshot).await?;
    let Some(last) = last else { return Ok(None) };
    let millis = event_id(&last)?.millis();
    let sql = format!("SELECT {choose}(occurred_at) FROM annals_events WHERE id >= ? AND id < ?");
    let micros: Option<i64> = snapshot
        .scalar(sqlx::AssertSqlSafe(sql))
        .bind(first_of(millis))
        .bind(first_of(millis + 1))
        .fetch_one(&mut **snapshot)
        .await?;
    Ok(micros.and_then(Timestamp::from_micros))
}

/// The smallest id of a millisecond; of one beyond what an id can say, the largest id.
pub(super) fn first_of(millis: i64) -> Vec<u8> {
    let millis = u128::from(millis.max(0).unsigned_abs());
    millis.saturating_mul(1 << 80).to_be_bytes().to_vec()
}
