//! What retention by rules looks at and removes.

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::super::Removed;
use super::prune::{TRIES, met_a_lock, removed};
use super::read::{event_id, uuid};
use crate::error::{Error, ErrorKind};
use crate::event::Timestamp;
use crate::postgres::{Failure, Pool, Time, number};
use crate::store::retain::{Month, Spot, Surveyed, TAGS, tags_of};

pub(super) async fn survey(
    pool: Pool,
    after: Option<Spot>,
    before: Timestamp,
    below: u64,
    tags: bool,
    limit: usize,
) -> Result<Vec<Surveyed>, Failure> {
    // The function of the holds would be called for each row.
    const SURVEY: &str = "SELECT a.first + e.rank, e.id, e.occurred_at, octet_length(e.body)::bigint, \
             EXISTS (SELECT FROM annals_holds h WHERE (h.tenant IS NULL OR h.tenant = e.tenant) \
                 AND (h.entity_type IS NULL OR h.entity_type = e.entity_type) \
                 AND (h.entity_id IS NULL OR h.entity_id = e.entity_id) \
                 AND (h.actor_type IS NULL OR h.actor_type = e.actor_type) \
                 AND (h.actor_id IS NULL OR h.actor_id = e.actor_id)), \
             e.tenant, e.entity_type, e.action, \
             CASE WHEN $5 AND position($6 IN e.body) > 0 THEN e.body END \
         FROM annals_events e JOIN annals_appends a ON a.number = e.append \
         WHERE e.id > $1 AND e.id < annals_uuid_from($2 + interval '1 millisecond') AND e.occurred_at < $2 \
             AND a.first + e.rank < $3 AND e.action <> 'annals.pruned' ORDER BY e.id LIMIT $4";
    let mut connection = pool.connect().await?;
    let after = after.map_or(Uuid::nil(), |spot| uuid(spot.id));
    let survey = connection.query(SURVEY).bind(after).bind(Time(before)).bind(number(below));
    let survey = survey.bind(number(limit as u64)).bind(tags).bind(TAGS);
    let rows = survey.fetch_all(&mut *connection).await?;
    connection.commit().await?;
    rows.iter().map(read).collect()
}

fn read(row: &PgRow) -> Result<Surveyed, Failure> {
    let position = row.try_get::<i64, _>(0)?.unsigned_abs();
    let id = event_id(row.try_get(1)?).ok_or_else(|| {
        let doing = format!("read the event at position {position}");
        Error::new(ErrorKind::Damaged, doing, "its id is no UUIDv7")
    })?;
    let body: Option<String> = row.try_get(8)?;
    Ok(Surveyed {
        position,
        id,
        occurred_at: row.try_get::<Time, _>(2)?.0,
        bytes: row.try_get::<i64, _>(3)?.unsigned_abs(),
        held: row.try_get(4)?,
        tenant: row.try_get(5)?,
        entity_type: row.try_get(6)?,
        action: row.try_get(7)?,
        tags: tags_of(id, body.as_deref().map(str::as_bytes))?,
    })
}

pub(super) async fn months(pool: Pool) -> Result<Vec<Month>, Failure> {
    const MONTHS: &str = "SELECT name, lower, upper FROM annals_partitions \
         WHERE lower IS NOT NULL AND upper IS NOT NULL AND dropped_at IS NULL AND events > 0 ORDER BY lower";
    let mut connection = pool.connect().await?;
    let rows = connection.query(MONTHS).fetch_all(&mut *connection).await?;
    connection.commit().await?;
    let month = |row: &PgRow| {
        // The first 48 bits of a UUIDv7 are its milliseconds.
        let time = |id: Uuid| {
            let micros = i64::try_from((id.as_u128() >> 80) * 1000).unwrap_or(i64::MAX);
            Timestamp::from_micros(micros).unwrap_or(Timestamp::MAX)
        };
        let (from, until) = (time(row.try_get(1)?), time(row.try_get(2)?));
        Ok(Month { name: row.try_get(0)?, from, until })
    };
    Ok(rows.iter().map(month).collect::<sqlx::Result<_>>()?)
}

/// Drops a month; leaves it if others are at it all the time.
pub(super) async fn remove_month(
    pool: Pool,
    name: String,
    below: u64,
) -> Result<Option<Removed>, Failure> {
    const MONTH: &str = "SELECT events, bytes FROM annals_prune_month($1, $2)";
    for _ in 0..TRIES {
        let drop = async {
            let mut connection = pool.connect().await?;
            let month = connection.query(MONTH).bind(name.clone()).bind(number(below));
            let row = month.fetch_one(&mut *connection).await?;
            connection.commit().await?;
            removed(&row)
        };
        match drop.await {
            Err(error) if met_a_lock(&error) => {}
            done => return Ok(done?),
        }
    }
    Ok(None)
}

pub(super) async fn remove(pool: Pool, events: Vec<Spot>) -> Result<Removed, Failure> {
    const EVENTS: &str = "SELECT events, bytes FROM annals_prune_events($1)";
    let mut connection = pool.connect().await?;
    let ids: Vec<Uuid> = events.iter().map(|event| uuid(event.id)).collect();
    let row = connection.query(EVENTS).bind(ids).fetch_one(&mut *connection).await?;
    connection.commit().await?;
    Ok(removed(&row)?.unwrap_or_default())
}
