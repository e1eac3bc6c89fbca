//! Pruning: whole months are taken out, single rows become tombstones; the log stays as
//! it is.

use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::super::{PRUNED, PrunePlan, Removed};
use super::append::lock_head;
use super::drop;
use super::hold::held;
use super::read::{event_id, first_of, ids_as_json};
use super::rollups;
use crate::event::Timestamp;
use crate::log::Positions;
use crate::mysql::{Connection, Failure, Pool, number};

/// Rows that a plan looks at in one go: a fraction of a second.
pub(super) const SLICE: i64 = 20_000;

/// What pruning would remove. Made in slices, beside which appends go on.
pub(super) async fn plan(pool: Pool, before: Timestamp) -> Result<PrunePlan, Failure> {
    const LOOK: &str = concat!(
        "SELECT COUNT(*), MAX(id), CAST(SUM(old AND NOT held) AS SIGNED), \
             CAST(SUM(IF(old AND NOT held, size, 0)) AS SIGNED), MIN(IF(old AND NOT held, occurred_at, NULL)), \
             MAX(IF(old AND NOT held, occurred_at, NULL)), CAST(SUM(old AND held) AS SIGNED) \
         FROM (SELECT id, occurred_at, OCTET_LENGTH(body) AS size, \
                 (occurred_at < ? OR id >= ? AND id < ?) AND action <> ? AS old, ",
        held!(),
        " AS held FROM annals_events e FORCE INDEX (PRIMARY) WHERE id > ? AND id < ? ORDER BY id LIMIT ?) s"
    );
    let mut connection = pool.connect().await?;
    let below = super::tiles::size(&mut connection).await?;
    let mut plan = PrunePlan { events: 0, bytes: 0, oldest: None, newest: None, below, held: 0 };
    // Within one millisecond ids are in no order of time.
    let mut beyond = first_of(before.as_millis() + 1);
    // A month that another prune has begun with goes in any case.
    let mut going = (Vec::new(), Vec::new());
    if let Some(month) = drop::going(&mut connection).await? {
        let gone = month.gone(&mut connection).await?;
        (plan.events, plan.bytes) = (gone.events, gone.bytes);
        beyond = beyond.max(month.upper.clone());
        going = (month.lower, month.upper);
    }
    let mut after = first_of(0);
    loop {
        let look = connection
            .query(LOOK)
            .bind(before.as_micros())
            .bind(&going.0)
            .bind(&going.1)
            .bind(PRUNED.as_bytes())
            .bind(&after)
            .bind(&beyond)
            .bind(SLICE);
        let row = look.fetch_one(&mut *connection).await?;
        let figure = |column| {
            row.try_get::<Option<i64>, _>(column).map(|sum| sum.unwrap_or(0).unsigned_abs())
        };
        let time = |column| {
            let micros = row.try_get::<Option<i64>, _>(column)?;
            Ok::<_, sqlx::Error>(micros.and_then(Timestamp::from_micros))
        };
        plan.events += figure(2)?;
        plan.bytes += figure(3)?;
        plan.held += figure(6)?;
        plan.oldest = [plan.oldest, time(4)?].into_iter().flatten().min();
        plan.newest = plan.newest.max(time(5)?);
        match row.try_get::<Option<Vec<u8>>, _>(1)? {
            Some(last) if row.try_get::<i64, _>(0)? == SLICE => after = last,
            _ => break,
        }
    }
    connection.commit().await?;
    Ok(plan)
}

/// The positions of what pruning would remove. Made in slices, as the plan.
pub(super) async fn list(pool: Pool, before: Timestamp, below: u64) -> Result<Positions, Failure> {
    const LIST: &str = concat!(
        "SELECT e.id, a.first + e.place, \
             (e.occurred_at < ? OR e.id >= ? AND e.id < ?) AND e.action <> ? AND a.first + e.place < ? AND NOT ",
        held!(),
        " FROM annals_events e FORCE INDEX (PRIMARY) \
         STRAIGHT_JOIN annals_appends a FORCE INDEX (PRIMARY) ON a.number = e.append \
         WHERE e.id > ? AND e.id < ? ORDER BY e.id LIMIT ?"
    );
    let mut connection = pool.connect().await?;
    let mut beyond = first_of(before.as_millis() + 1);
    let mut going = (Vec::new(), Vec::new());
    if let Some(month) = drop::going(&mut connection).await? {
        beyond = beyond.max(month.upper.clone());
        going = (month.lower, month.upper);
    }
    let (mut positions, mut after) = (Positions::default(), first_of(0));
    loop {
        let list = connection.query(LIST).bind(before.as_micros()).bind(&going.0).bind(&going.1);
        let list = list.bind(PRUNED.as_bytes()).bind(number(below));
        let list = list.bind(&after).bind(&beyond).bind(SLICE);
        let rows = list.fetch_all(&mut *connection).await?;
        for row in &rows {
            let position = row.try_get::<i64, _>(1)?.unsigned_abs();
            if row.try_get::<i64, _>(2)? != 0 {
                positions.add(position, position + 1);
            }
        }
        match rows.last() {
            Some(last) if number(rows.len() as u64) == SLICE => after = last.try_get(0)?,
            _ => break,
        }
    }
    connection.commit().await?;
    Ok(positions)
}

/// Takes a whole month out, or removes up to `limit` events in one transaction.
pub(super) async fn step(
    pool: Pool,
    before: Timestamp,
    below: u64,
    limit: usize,
) -> Result<Removed, Failure> {
    match drop::month(&pool, before, below).await? {
        Some(removed) => Ok(removed),
        None => rows(pool, before, below, limit).await,
    }
}

/// Removes events, oldest first, save those that tell of removals: without them, the
/// others' absence would be unexplained. What another prune is taking out as a whole is
/// left to it.
async fn rows(pool: Pool, before: Timestamp, below: u64, limit: usize) -> Result<Removed, Failure> {
    const FIND: &str = concat!(
        "SELECT e.id, OCTET_LENGTH(e.body) FROM annals_events e FORCE INDEX (PRIMARY) \
         STRAIGHT_JOIN annals_appends a FORCE INDEX (PRIMARY) ON a.number = e.append \
         WHERE e.id < ? AND e.occurred_at < ? AND e.action <> ? AND a.first + e.place < ? \
             AND NOT EXISTS (SELECT 1 FROM annals_dropped d \
                 WHERE d.dropped_at IS NULL AND e.id >= d.lower AND e.id < d.upper) AND NOT ",
        held!(),
        " ORDER BY e.id LIMIT ?"
    );
    let mut transaction = pool.begin("START TRANSACTION").await?;
    // Whoever appends or prunes waits here, so that what is found stays as it is.
    lock_head(&mut transaction).await?;
    let find = transaction
        .query(FIND)
        .bind(first_of(before.as_millis() + 1))
        .bind(before.as_micros())
        .bind(PRUNED.as_bytes())
        .bind(number(below))
        .bind(number(limit as u64));
    let found = find.fetch_all(&mut *transaction).await?;
    let removed = bury(&mut transaction, &found).await?;
    transaction.commit().await?;
    Ok(removed)
}

/// Puts tombstones in the place of events, found by id and size while the log's head is
/// locked.
pub(super) async fn bury(
    transaction: &mut Connection,
    found: &[MySqlRow],
) -> Result<Removed, Failure> {
    // The commitment is that of crate::log::commitment.
    const BURY: &str = "INSERT INTO annals_tombstones (id, position, commitment) \
         SELECT e.id, a.first + e.place, UNHEX(SHA2(CONCAT(_binary'annals/leaf/v1\n', e.salt, e.body), 256)) \
         FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) r \
         STRAIGHT_JOIN annals_events e FORCE INDEX (PRIMARY) ON e.id = UNHEX(r.id) \
         STRAIGHT_JOIN annals_appends a FORCE INDEX (PRIMARY) ON a.number = e.append";
    const DELETE: &str = "DELETE e FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) r \
         STRAIGHT_JOIN annals_events e FORCE INDEX (PRIMARY) ON e.id = UNHEX(r.id)";
    const LESS: &str = "UPDATE annals_log_head SET events = events - ?, bytes = bytes - ?";
    let (mut ids, mut removed) = (Vec::new(), Removed::default());
    for row in found {
        ids.push(event_id(row.try_get(0)?)?);
        removed.events += 1;
        removed.bytes += row.try_get::<i64, _>(1)?.unsigned_abs();
    }
    if !ids.is_empty() {
        rollups::mark(transaction, &ids).await?;
        let ids = ids_as_json(ids.into_iter());
        transaction.query(BURY).bind(&ids).execute(&mut **transaction).await?;
        transaction.query(DELETE).bind(&ids).execute(&mut **transaction).await?;
        let less = transaction.query(LESS).bind(number(removed.events)).bind(number(removed.bytes));
        less.execute(&mut **transaction).await?;
    }
    Ok(removed)
}
