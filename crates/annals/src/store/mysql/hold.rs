//! Legal holds.

use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::append::lock_head;
use super::drop;
use super::read::event_id;
use crate::error::{Error, ErrorKind};
use crate::event::{EventId, Timestamp};
use crate::mysql::{Connection, Failure, Pool};
use crate::store::hold::{Hold, Scope};

/// Whether an event, as e, is under a hold.
macro_rules! held {
    () => {
        "EXISTS (SELECT 1 FROM annals_holds h WHERE (h.tenant IS NULL OR h.tenant = e.tenant) \
             AND (h.entity_type IS NULL OR h.entity_type = e.entity_type) \
             AND (h.entity_id IS NULL OR h.entity_id = e.entity_id) \
             AND (h.actor_type IS NULL OR h.actor_type = e.actor_type) \
             AND (h.actor_id IS NULL OR h.actor_id = e.actor_id))"
    };
}
pub(super) use held;

pub(super) async fn all(pool: Pool) -> Result<Vec<Hold>, Failure> {
    const ALL: &str = "SELECT tenant, entity_type, entity_id, actor_type, actor_id, id, reason, placed_at \
         FROM annals_holds ORDER BY id";
    let mut connection = pool.connect().await?;
    let rows = connection.query(ALL).fetch_all(&mut *connection).await?;
    connection.commit().await?;
    rows.iter().map(hold).collect()
}

fn hold(row: &MySqlRow) -> Result<Hold, Failure> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let mut columns = <[Option<String>; 5]>::default();
    for (index, column) in columns.iter_mut().enumerate() {
        *column = row.try_get::<Option<Vec<u8>>, _>(index)?.map(text);
    }
    let placed_at = Timestamp::from_micros(row.try_get(7)?);
    let damaged = || Error::new(ErrorKind::Damaged, "read a hold", "its time is out of range");
    Ok(Hold {
        id: event_id(row.try_get(5)?)?,
        scope: Scope::of_columns(columns),
        reason: text(row.try_get(6)?),
        placed_at: placed_at.ok_or_else(damaged)?,
    })
}

pub(super) async fn place(pool: Pool, hold: Hold) -> Result<(), Failure> {
    const PLACE: &str = "INSERT INTO annals_holds (tenant, entity_type, entity_id, actor_type, actor_id, id, \
         reason, placed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    let mut transaction = pool.begin("START TRANSACTION").await?;
    // A step of a prune holds the log's head locked from before it looks for holds.
    lock_head(&mut transaction).await?;
    refuse_while_a_month_goes(&mut transaction, "place a hold").await?;
    let mut place = transaction.query(PLACE);
    for column in hold.scope.columns() {
        place = place.bind(column.map(|column| column.as_bytes().to_vec()));
    }
    let place = place.bind(&hold.id.as_bytes()[..]).bind(hold.reason.into_bytes());
    place.bind(hold.placed_at.as_micros()).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}

pub(super) async fn lift(pool: Pool, id: EventId) -> Result<bool, Failure> {
    let mut transaction = pool.begin("START TRANSACTION").await?;
    lock_head(&mut transaction).await?;
    refuse_while_a_month_goes(&mut transaction, "lift a hold").await?;
    let lift = transaction.query("DELETE FROM annals_holds WHERE id = ?").bind(&id.as_bytes()[..]);
    let lifted = lift.execute(&mut *transaction).await?.rows_affected() > 0;
    transaction.commit().await?;
    Ok(lifted)
}

/// What goes with a month was counted, and is told of: until it has gone, nothing changes
/// what is held.
async fn refuse_while_a_month_goes(
    transaction: &mut Connection,
    doing: &str,
) -> Result<(), Failure> {
    if drop::going(transaction).await?.is_none() {
        return Ok(());
    }
    let found = "a prune is taking a month out, or was killed while it did";
    Err(Error::new(ErrorKind::Away, doing, found)
        .hint("wait until it is done, or run `annals prune` so that it ends; then try again")
        .into())
}
