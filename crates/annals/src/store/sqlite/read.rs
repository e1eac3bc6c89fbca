//! Reading single events, windows and figures.

use rusqlite::{Connection, OptionalExtension, Row};

use super::tiles::Head;
use crate::error::{Error, ErrorKind};
use crate::event::{EventId, Timestamp};
use crate::sqlite::Failure;
use crate::store::paging::ANSWER_BYTES;
use crate::store::{StoreStats, Stored};

/// The columns that [`stored`] reads, in its order.
macro_rules! columns {
    () => {
        "position, id, appended_at, body"
    };
}

/// Reads an event from the first four columns of a row.
pub(super) fn stored(row: &Row<'_>) -> Result<Stored, Failure> {
    let position = row.get(0)?;
    let damaged = |what: &str| {
        let doing = format!("read the event at position {position}");
        Error::new(ErrorKind::Damaged, doing, what)
    };
    Ok(Stored {
        position,
        id: EventId::from_bytes(row.get(1)?).ok_or_else(|| damaged("its id is no UUIDv7"))?,
        appended_at: Timestamp::from_micros(row.get(2)?)
            .ok_or_else(|| damaged("its time of append is out of range"))?,
        body: row.get(3)?,
    })
}

pub(super) fn get(connection: &Connection, id: EventId) -> Result<Option<Stored>, Failure> {
    let sql = concat!("SELECT ", columns!(), " FROM annals_events WHERE id = ?1");
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query([id.as_bytes()])?;
    rows.next()?.map(stored).transpose()
}

pub(super) fn window(
    connection: &Connection,
    from: u64,
    limit: usize,
) -> Result<Vec<Stored>, Failure> {
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM annals_events WHERE position >= ?1 ORDER BY position LIMIT ?2"
    );
    // No position is beyond what SQLite counts to.
    let Ok(from) = i64::try_from(from) else { return Ok(Vec::new()) };
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query((from, limit))?;
    let mut events = Vec::new();
    let mut bytes = 0;
    while bytes < ANSWER_BYTES
        && let Some(row) = rows.next()?
    {
        let event = stored(row)?;
        bytes += event.body.len();
        events.push(event);
    }
    Ok(events)
}

pub(super) fn stats(connection: &mut Connection) -> Result<StoreStats, Failure> {
    let transaction = connection.transaction()?;
    let head = Head::read(&transaction)?;
    let end = |sql: &str| -> Result<Option<Timestamp>, Failure> {
        let mut select = transaction.prepare_cached(sql)?;
        let micros: Option<i64> = select.query_row([], |row| row.get(0)).optional()?;
        Ok(micros.and_then(Timestamp::from_micros))
    };
    let pragma = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    Ok(StoreStats {
        events: head.events,
        size: head.size,
        oldest: end("SELECT occurred_at FROM annals_events ORDER BY occurred_at LIMIT 1")?,
        newest: end("SELECT occurred_at FROM annals_events ORDER BY occurred_at DESC LIMIT 1")?,
        bytes: pragma("page_count")? * pragma("page_size")?,
    })
}
