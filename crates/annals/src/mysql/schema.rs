//! The tables: made and brought up to date one process at a time.
//!
//! These servers commit at each statement that changes a table. So each migration
//! passes over what it finds made already, and writes down its number last: one that
//! was interrupted is done again from its beginning.

use sqlx::Executor;

use super::{Connection, Pool};
pub(crate) use crate::sql::schema::Schema;

/// The lock under which tables are made; its name holds in all of a server, so that
/// it tells databases apart.
const LOCK: &str = "SELECT GET_LOCK(CONCAT('annals.', MD5(DATABASE())), 50)";
const UNLOCK: &str = "DO RELEASE_LOCK(CONCAT('annals.', MD5(DATABASE())))";

pub(super) async fn migrate(schema: &'static Schema, pool: Pool) -> sqlx::Result<usize> {
    let newest = schema.migrations.len();
    let mut connection = pool.connect().await?;
    // Without the lock first, since nearly always there is nothing to do.
    let mut version = schema.found(&mut connection).await?.unwrap_or(0);
    if version < newest {
        let lock = connection.scalar::<Option<i64>>(LOCK);
        if lock.fetch_one(&mut *connection).await? != Some(1) {
            // Whoever holds it is at work, and not done in time.
            return Err(super::errors::no_lock());
        }
        version = schema.found(&mut connection).await?.unwrap_or(0);
        for &migration in schema.migrations.iter().skip(version) {
            connection.execute(sqlx::raw_sql(migration)).await?;
        }
        connection.execute(sqlx::raw_sql(UNLOCK)).await?;
    }
    connection.commit().await?;
    Ok(version.max(newest))
}

pub(super) async fn found(
    schema: &Schema,
    connection: &mut Connection,
) -> sqlx::Result<Option<usize>> {
    let look = connection.scalar(
        "SELECT EXISTS (SELECT 1 FROM information_schema.tables \
         WHERE table_schema = DATABASE() AND table_name = ?)",
    );
    let known: bool = look.bind(schema.marker).fetch_one(&mut **connection).await?;
    if !known {
        return Ok(None);
    }
    let version: Option<i32> =
        connection.scalar(schema.version).fetch_optional(&mut **connection).await?;
    Ok(version.and_then(|version| usize::try_from(version).ok()))
}
