//! The tables: made and brought up to date in one transaction.

use sqlx::Executor;

use super::{Connection, Pool};
pub(crate) use crate::sql::schema::Schema;

/// The advisory lock under which tables are made: "annals" in ASCII.
const LOCK: i64 = 0x0000_616e_6e61_6c73;

impl Schema {
    /// Makes the tables or brings them up to date in a transaction; answers the
    /// version that they have then.
    pub(crate) async fn bring(&self, transaction: &mut Connection) -> sqlx::Result<usize> {
        let newest = self.migrations.len();
        // Without the lock first, since nearly always there is nothing to do.
        let mut version = self.found(transaction).await?.unwrap_or(0);
        if version >= newest {
            return Ok(version);
        }
        let lock = transaction.query("SELECT pg_advisory_xact_lock($1)").bind(LOCK);
        lock.execute(&mut **transaction).await?;
        version = self.found(transaction).await?.unwrap_or(0);
        // What functions remember as their search_path.
        let change = transaction.scalar(
            "WITH before AS (SELECT current_setting('search_path') AS path) SELECT path FROM before, \
             set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true)",
        );
        let before: String = change.fetch_one(&mut **transaction).await?;
        for &migration in self.migrations.iter().skip(version) {
            transaction.execute(sqlx::raw_sql(migration)).await?;
        }
        let back = transaction.query("SELECT set_config('search_path', $1, true)").bind(before);
        back.execute(&mut **transaction).await?;
        Ok(version.max(newest))
    }
}

pub(super) async fn migrate(schema: &'static Schema, pool: Pool) -> sqlx::Result<usize> {
    let mut transaction = pool.begin("BEGIN").await?;
    let version = schema.bring(&mut transaction).await?;
    transaction.commit().await?;
    Ok(version)
}

pub(super) async fn found(
    schema: &Schema,
    connection: &mut Connection,
) -> sqlx::Result<Option<usize>> {
    // Not to_regclass, which may answer from what this connection knew before it
    // waited for the lock.
    let look = connection.scalar(
        "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relname = $1 AND n.nspname = ANY (current_schemas(false)))",
    );
    let known: bool = look.bind(schema.marker).fetch_one(&mut **connection).await?;
    if !known {
        return Ok(None);
    }
    let version: i32 = connection.scalar(schema.version).fetch_one(&mut **connection).await?;
    Ok(usize::try_from(version).ok())
}
