//! The tables: made, brought up to date, refused when newer than this program.

use sqlx::Executor;

use super::{Connection, Pool, Server};
use crate::error::{Error, ErrorKind, Result};

/// The advisory lock under which tables are made: "annals" in ASCII.
const LOCK: i64 = 0x0000_616e_6e61_6c73;

/// Tables that belong together, and how they came to be.
#[derive(Debug)]
pub(crate) struct Schema {
    /// The table that tells of the version: without it there are none.
    pub(crate) marker: &'static str,
    /// Answers the version, an int4.
    pub(crate) version: &'static str,
    /// One file a version, in order; each writes down its number.
    pub(crate) migrations: &'static [&'static str],
}

impl Schema {
    /// Makes the tables or brings them up to date; when many processes start at
    /// once, one of them does it and the others find it done.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if they are newer than this program, or the server is
    /// too old; otherwise what the server says.
    pub(crate) async fn prepare(&'static self, server: &Server) -> Result<()> {
        server.check().await?;
        let version = server.call("prepare the tables of", |pool| self.migrate(pool)).await?;
        self.check(server, version)
    }

    /// Checks that the tables are there and can be read by this program.
    ///
    /// # Errors
    /// As [`Self::prepare`]; also if there are none.
    pub(crate) async fn expect(&'static self, server: &Server) -> Result<()> {
        server.check().await?;
        let look = move |pool: Pool| async move {
            let mut connection = pool.connect().await?;
            let found = self.found(&mut connection).await?;
            connection.commit().await?;
            Ok::<_, sqlx::Error>(found)
        };
        match server.call("look for the tables of", look).await? {
            Some(version) => self.check(server, version),
            None => {
                let found = "the database holds none of its tables";
                Err(Error::new(ErrorKind::Usage, server.doing("open"), found)
                    .hint("check the URL; `annals migrate` makes them"))
            }
        }
    }

    fn check(&self, server: &Server, version: usize) -> Result<()> {
        let newest = self.migrations.len();
        if version <= newest {
            return Ok(());
        }
        let found = format!("its tables have version {version}, this program knows up to {newest}");
        Err(Error::new(ErrorKind::Usage, server.doing("open"), found)
            .hint("a newer Annals wrote them: use that one or a newer one"))
    }

    async fn migrate(&'static self, pool: Pool) -> sqlx::Result<usize> {
        let mut transaction = pool.begin("BEGIN").await?;
        let version = self.bring(&mut transaction).await?;
        transaction.commit().await?;
        Ok(version)
    }

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

    /// The version of the tables, `None` if there are none.
    pub(crate) async fn found(&self, connection: &mut Connection) -> sqlx::Result<Option<usize>> {
        // Not to_regclass, which may answer from what this connection knew before it
        // waited for the lock.
        let look = connection.scalar(
            "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relname = $1 AND n.nspname = ANY (current_schemas(false)))",
        );
        let known: bool = look.bind(self.marker).fetch_one(&mut **connection).await?;
        if !known {
            return Ok(None);
        }
        let version: i32 = connection.scalar(self.version).fetch_one(&mut **connection).await?;
        Ok(usize::try_from(version).ok())
    }
}
