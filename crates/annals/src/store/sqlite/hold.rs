//! Legal holds.

use rusqlite::{Connection, Row, params};

use crate::error::{Error, ErrorKind};
use crate::event::{EventId, Timestamp};
use crate::sqlite::Failure;
use crate::store::hold::{Hold, Scope};

/// The columns of a scope, in its order.
const COLUMNS: [&str; 5] = ["tenant", "entity_type", "entity_id", "actor_type", "actor_id"];

pub(super) fn all(connection: &Connection) -> Result<Vec<Hold>, Failure> {
    let mut read = connection.prepare_cached(
        "SELECT tenant, entity_type, entity_id, actor_type, actor_id, id, reason, placed_at \
         FROM annals_holds ORDER BY id",
    )?;
    let mut rows = read.query([])?;
    let mut holds = Vec::new();
    while let Some(row) = rows.next()? {
        holds.push(hold(row)?);
    }
    Ok(holds)
}

fn hold(row: &Row<'_>) -> Result<Hold, Failure> {
    let mut columns = <[Option<String>; 5]>::default();
    for (index, column) in columns.iter_mut().enumerate() {
        *column = row.get(index)?;
    }
    let damaged = || Error::new(ErrorKind::Damaged, "read a hold", "its id or its time is none");
    Ok(Hold {
        id: EventId::from_bytes(row.get(5)?).ok_or_else(damaged)?,
        scope: Scope::of_columns(columns),
        reason: row.get(6)?,
        placed_at: Timestamp::from_micros(row.get(7)?).ok_or_else(damaged)?,
    })
}

/// What an event's columns must be to fit a scope, and the values.
pub(super) fn conditions(scope: &Scope) -> (String, Vec<String>) {
    let named = COLUMNS.iter().zip(scope.columns());
    let (mut text, mut values) = (Vec::new(), Vec::new());
    for (column, value) in named.filter_map(|(column, value)| Some((column, value?))) {
        values.push(value.to_owned());
        text.push(format!("{column} = ?{}", values.len()));
    }
    (text.join(" AND "), values)
}

pub(super) fn place(connection: &mut Connection, hold: &Hold) -> Result<(), Failure> {
    let [tenant, entity_type, entity_id, actor_type, actor_id] = hold.scope.columns();
    connection.execute(
        "INSERT INTO annals_holds (id, tenant, entity_type, entity_id, actor_type, actor_id, reason, \
             placed_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            hold.id.as_bytes(),
            tenant,
            entity_type,
            entity_id,
            actor_type,
            actor_id,
            hold.reason,
            hold.placed_at.as_micros()
        ],
    )?;
    Ok(())
}

pub(super) fn lift(connection: &mut Connection, id: EventId) -> Result<bool, Failure> {
    Ok(connection.execute("DELETE FROM annals_holds WHERE id = ?1", [id.as_bytes()])? > 0)
}
