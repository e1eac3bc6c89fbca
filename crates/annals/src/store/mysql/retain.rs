//! What retention by rules looks at and removes.

use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::super::{PRUNED, Removed};
use super::append::lock_head;
use super::drop;
use super::hold::held;
use super::partitions;
use super::prune::bury;
use super::read::{event_id, first_of, ids_as_json};
use crate::error::{Error, ErrorKind};
use crate::event::Timestamp;
use crate::mysql::{Failure, Pool, number};
use crate::store::retain::{Month, Spot, Surveyed, TAGS, tags_of};

pub(super) async fn survey(
    pool: Pool,
    after: Option<Spot>,
    before: Timestamp,
    below: u64,
    tags: bool,
    limit: usize,
) -> Result<Vec<Surveyed>, Failure> {
    const SURVEY: &str = concat!(
        "SELECT a.first + e.place, e.id, e.occurred_at, OCTET_LENGTH(e.body), ",
        held!(),
        ", e.tenant, e.entity_type, e.action, IF(? AND INSTR(e.body, ?) > 0, e.body, NULL) \
         FROM annals_events e FORCE INDEX (PRIMARY) \
         STRAIGHT_JOIN annals_appends a FORCE INDEX (PRIMARY) ON a.number = e.append \
         WHERE e.id > ? AND e.id < ? AND e.occurred_at < ? AND a.first + e.place < ? AND e.action <> ? \
         ORDER BY e.id LIMIT ?"
    );
    let mut connection = pool.connect().await?;
    let after = after.map_or_else(|| first_of(0), |spot| spot.id.as_bytes().to_vec());
    let survey = connection.query(SURVEY).bind(tags).bind(TAGS.as_bytes()).bind(after);
    let survey = survey.bind(first_of(before.as_millis() + 1)).bind(before.as_micros());
    let survey = survey.bind(number(below)).bind(PRUNED.as_bytes()).bind(number(limit as u64));
    let rows = survey.fetch_all(&mut *connection).await?;
    connection.commit().await?;
    rows.iter().map(read).collect()
}

fn read(row: &MySqlRow) -> Result<Surveyed, Failure> {
    let position = row.try_get::<i64, _>(0)?.unsigned_abs();
    let occurred_at = Timestamp::from_micros(row.try_get(2)?).ok_or_else(|| {
        let doing = format!("read the event at position {position}");
        Error::new(ErrorKind::Damaged, doing, "its time is out of range")
    })?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let id = event_id(row.try_get(1)?)?;
    Ok(Surveyed {
        position,
        id,
        occurred_at,
        bytes: row.try_get::<i64, _>(3)?.unsigned_abs(),
        held: row.try_get::<i64, _>(4)? != 0,
        tenant: row.try_get::<Option<Vec<u8>>, _>(5)?.map(text),
        entity_type: text(row.try_get(6)?),
        action: text(row.try_get(7)?),
        tags: tags_of(id, row.try_get::<Option<Vec<u8>>, _>(8)?.as_deref())?,
    })
}

pub(super) async fn months(pool: Pool) -> Result<Vec<Month>, Failure> {
    let mut connection = pool.connect().await?;
    let mut made = partitions::made(&mut connection).await?;
    connection.commit().await?;
    made.sort_unstable();
    let time = |millis: i64| Timestamp::from_micros(millis * 1000).unwrap_or(Timestamp::MAX);
    let month = |month: partitions::Month| Month {
        name: month.name(),
        from: time(month.millis()),
        until: time(month.next().millis()),
    };
    Ok(made.into_iter().map(month).collect())
}

pub(super) async fn remove_month(
    pool: Pool,
    name: String,
    below: u64,
) -> Result<Option<Removed>, Failure> {
    Ok(drop::this_month(&pool, &name, below).await?)
}

/// Removes these, save what tells of removals, what is held, and what another prune is
/// taking out as a whole.
pub(super) async fn remove(pool: Pool, events: Vec<Spot>) -> Result<Removed, Failure> {
    const FIND: &str = concat!(
        "SELECT e.id, OCTET_LENGTH(e.body) FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) r \
         STRAIGHT_JOIN annals_events e FORCE INDEX (PRIMARY) ON e.id = UNHEX(r.id) \
         WHERE e.action <> ? AND NOT EXISTS (SELECT 1 FROM annals_dropped d \
                 WHERE d.dropped_at IS NULL AND e.id >= d.lower AND e.id < d.upper) AND NOT ",
        held!(),
    );
    let mut transaction = pool.begin("START TRANSACTION").await?;
    // Whoever appends or prunes waits here, so that what is found stays as it is.
    lock_head(&mut transaction).await?;
    let listed = ids_as_json(events.iter().map(|event| event.id));
    let find = transaction.query(FIND).bind(listed).bind(PRUNED.as_bytes());
    let found = find.fetch_all(&mut *transaction).await?;
    let removed = bury(&mut transaction, &found).await?;
    transaction.commit().await?;
    Ok(removed)
}
