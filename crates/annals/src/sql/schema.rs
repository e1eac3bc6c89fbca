//! The tables: made, brought up to date, refused when newer than this program.

use super::{Connection, Dialect, Pool, Server};
use crate::error::{Error, ErrorKind, Result};

/// Tables that belong together, and how they came to be.
#[derive(Debug)]
pub(crate) struct Schema {
    /// The table that tells of the version: without it there are none.
    pub(crate) marker: &'static str,
    /// Answers the version, an integer of 32 bits.
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
    pub(crate) async fn prepare<D: Dialect>(&'static self, server: &Server<D>) -> Result<()> {
        server.check().await?;
        let migrate = |pool| D::migrate(self, pool);
        let version = server.call("prepare the tables of", migrate).await?;
        self.refuse_newer(server, version)
    }

    /// Checks that the tables are there and can be read by this program.
    ///
    /// # Errors
    /// As [`Self::prepare`]; also if there are none.
    pub(crate) async fn expect<D: Dialect>(&'static self, server: &Server<D>) -> Result<()> {
        server.check().await?;
        let look = move |pool: Pool<D>| async move {
            let mut connection = pool.connect().await?;
            let found = self.found(&mut connection).await?;
            connection.commit().await?;
            Ok::<_, sqlx::Error>(found)
        };
        match server.call("look for the tables of", look).await? {
            Some(version) => self.refuse_newer(server, version),
            None => {
                let found = "the database holds none of its tables";
                Err(Error::new(ErrorKind::Usage, server.doing("open"), found)
                    .hint("check the URL; `annals migrate` makes them"))
            }
        }
    }

    fn refuse_newer<D: Dialect>(&self, server: &Server<D>, version: usize) -> Result<()> {
        let newest = self.migrations.len();
        if version <= newest {
            return Ok(());
        }
        let found = format!("its tables have version {version}, this program knows up to {newest}");
        Err(Error::new(ErrorKind::Usage, server.doing("open"), found)
            .hint("a newer Annals wrote them: use that one or a newer one"))
    }

    /// The version of the tables, `None` if there are none.
    pub(crate) async fn found<D: Dialect>(
        &self,
        connection: &mut Connection<D>,
    ) -> sqlx::Result<Option<usize>> {
        D::found(self, connection).await
    }
}
