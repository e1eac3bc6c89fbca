//! What retention by rules looks at.

use rusqlite::{Connection, Row, params};

use super::prune::held;
use crate::error::{Error, ErrorKind};
use crate::event::{EventId, Timestamp};
use crate::sqlite::Failure;
use crate::store::PRUNED;
use crate::store::retain::{Spot, Surveyed, TAGS, tags_of};

pub(super) fn survey(
    connection: &Connection,
    after: Option<Spot>,
    before: Timestamp,
    below: u64,
    tags: bool,
    limit: usize,
) -> Result<Vec<Surveyed>, Failure> {
    let mut select = connection.prepare_cached(concat!(
        "SELECT position, id, occurred_at, length(body), ",
        held!(),
        ", tenant, entity_type, action, \
             CASE WHEN ?6 AND instr(body, CAST(?7 AS BLOB)) > 0 THEN body END \
         FROM annals_events e INDEXED BY annals_events_time \
         WHERE (occurred_at, position) > (?1, ?2) AND occurred_at < ?3 AND position < ?4 \
             AND action <> ?5 ORDER BY occurred_at, position LIMIT ?8",
    ))?;
    let (time, position) = after.map_or((i64::MIN, -1), |spot| {
        (spot.occurred_at.as_micros(), i64::try_from(spot.position).unwrap_or(i64::MAX))
    });
    let before = before.as_micros();
    let mut rows =
        select.query(params![time, position, before, below, PRUNED, tags, TAGS, limit])?;
    let mut surveyed = Vec::new();
    while let Some(row) = rows.next()? {
        surveyed.push(read(row)?);
    }
    Ok(surveyed)
}

fn read(row: &Row<'_>) -> Result<Surveyed, Failure> {
    let position = row.get(0)?;
    let damaged = |what: &str| {
        let doing = format!("read the event at position {position}");
        Error::new(ErrorKind::Damaged, doing, format!("its {what} is none"))
    };
    let id = EventId::from_bytes(row.get(1)?).ok_or_else(|| damaged("id"))?;
    let body: Option<Vec<u8>> = row.get(8)?;
    Ok(Surveyed {
        position,
        id,
        occurred_at: Timestamp::from_micros(row.get(2)?).ok_or_else(|| damaged("time"))?,
        bytes: row.get(3)?,
        held: row.get(4)?,
        tenant: row.get(5)?,
        entity_type: row.get(6)?,
        action: row.get(7)?,
        tags: tags_of(id, body.as_deref())?,
    })
}
