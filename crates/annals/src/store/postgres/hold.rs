//! Legal holds.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::read::uuid;
use crate::error::{Error, ErrorKind};
use crate::event::{EventId, Timestamp};
use crate::log::Positions;
use crate::postgres::{Connection, Failure, Pool, Time, number};
use crate::store::hold::{Hold, Scope};

pub(super) async fn all(pool: Pool) -> Result<Vec<Hold>, Failure> {
    const ALL: &str = "SELECT tenant, entity_type, entity_id, actor_type, actor_id, id, reason, placed_at \
         FROM annals_holds ORDER BY id";
    let mut connection = pool.connect().await?;
    let rows = connection.query(ALL).fetch_all(&mut *connection).await?;
    connection.commit().await?;
    rows.iter().map(hold).collect()
}

fn hold(row: &PgRow) -> Result<Hold, Failure> {
    let mut columns = <[Option<String>; 5]>::default();
    for (index, column) in columns.iter_mut().enumerate() {
        *column = row.try_get(index)?;
    }
    let id = EventId::from_bytes(row.try_get::<uuid::Uuid, _>(5)?.into_bytes());
    let damaged = || Error::new(ErrorKind::Damaged, "read a hold", "its id is no UUIDv7");
    Ok(Hold {
        id: id.ok_or_else(damaged)?,
        scope: Scope::of_columns(columns),
        reason: row.try_get(6)?,
        placed_at: row.try_get::<Time, _>(7)?.0,
    })
}

pub(super) async fn place(pool: Pool, hold: Hold) -> Result<(), Failure> {
    const PLACE: &str = "INSERT INTO annals_holds (tenant, entity_type, entity_id, actor_type, actor_id, id, \
         reason, placed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let mut transaction = pool.begin("BEGIN").await?;
    // A step of a prune holds the log's head locked from before it looks for holds.
    let lock = transaction.query("SELECT FROM annals_log_head FOR UPDATE");
    lock.execute(&mut *transaction).await?;
    let mut place = transaction.query(PLACE);
    for column in hold.scope.columns() {
        place = place.bind(column.map(str::to_owned));
    }
    let place = place.bind(uuid(hold.id)).bind(hold.reason).bind(Time(hold.placed_at));
    place.execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}

pub(super) async fn lift(pool: Pool, id: EventId) -> Result<bool, Failure> {
    let mut connection = pool.connect().await?;
    let lift = connection.query("DELETE FROM annals_holds WHERE id = $1").bind(uuid(id));
    let lifted = lift.execute(&mut *connection).await?.rows_affected() > 0;
    connection.commit().await?;
    Ok(lifted)
}

/// The positions below `below` of the events under a hold that occurred before a time, save
/// those that tell of removals, which stay anyway.
pub(super) async fn held(
    connection: &mut Connection,
    before: Timestamp,
    below: u64,
) -> sqlx::Result<Positions> {
    const HELD: &str = "SELECT position FROM annals_held_events() \
         WHERE occurred_at < $1 AND position < $2 AND action <> 'annals.pruned'";
    let look = connection.scalar::<i64>(HELD).bind(Time(before)).bind(number(below));
    let mut held = Positions::default();
    for position in look.fetch_all(&mut **connection).await? {
        held.add(position.unsigned_abs(), position.unsigned_abs() + 1);
    }
    Ok(held)
}
