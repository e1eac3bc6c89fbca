//! A MariaDB or MySQL server: where it is, how to be its guest, and what its errors
//! mean.
//!
//! Shared by the transport and the store. Both servers are spoken to in the SQL that
//! they have in common; what only one of them has stands in comments that only it
//! executes.

mod errors;
mod promises;
pub(crate) mod rows;
pub(crate) mod schema;
mod settings;

use sqlx::{AssertSqlSafe, ConnectOptions, Executor, MySql, MySqlConnection, Row};
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::sql::{self, Dialect};
use crate::url::without_secrets;

pub(crate) use crate::sql::{Failure, micros, number};
pub use promises::Promises;
use schema::Schema;
pub(crate) use settings::Settings;

/// A connection of its pool.
pub(crate) type Connection = sql::Connection<Settings>;
/// The connections of one server.
pub(crate) type Pool = sql::Pool<Settings>;
/// A pool of connections to one database.
pub(crate) type Server = sql::Server<Settings>;

/// The first versions that pass over locked rows.
const FIRST_MARIADB: (u32, u32) = (10, 6);
const FIRST_MYSQL: (u32, u32) = (8, 0);

impl Server {
    /// The database of a `mysql://` URL, to which the first call connects. `what` it
    /// is for goes into messages: "the transport".
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a URL that cannot be understood.
    pub(crate) fn new(url: &str, what: &'static str) -> Result<Self> {
        let shown = without_secrets(url);
        let settings = Settings::of(url, &format!("open {what} {shown}"))?;
        Self::of(settings, shown, what)
    }
}

impl Dialect for Settings {
    type Database = MySql;

    const THREAD: &'static str = "annals-mysql";

    fn max_connections(&self) -> u32 {
        self.max_connections
    }

    fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    fn patience(&self) -> Option<Duration> {
        self.patience()
    }

    async fn open(&self) -> sqlx::Result<MySqlConnection> {
        let mut connection = self.options.connect().await?;
        let set = format!("{}; SELECT @@max_allowed_packet", self.of_session());
        let row = sqlx::raw_sql(AssertSqlSafe(set)).fetch_one(&mut connection).await?;
        let packet: u64 = row.try_get(0)?;
        self.packet.store(usize::try_from(packet).unwrap_or(usize::MAX), Ordering::Relaxed);
        Ok(connection)
    }

    async fn run(connection: &mut MySqlConnection, sql: String) -> sqlx::Result<()> {
        connection.execute(AssertSqlSafe(sql)).await.map(drop)
    }

    fn explain(doing: String, error: sqlx::Error) -> Error {
        errors::explain(doing, error)
    }

    async fn check(server: &Server) -> Result<()> {
        let (found, database): (String, Option<String>) = server
            .call("connect to", |pool| async move {
                let mut connection = pool.connect().await?;
                let ask = connection.row("SELECT version(), database()");
                let answer = ask.fetch_one(&mut *connection).await?;
                connection.commit().await?;
                Ok::<_, sqlx::Error>(answer)
            })
            .await?;
        let refuse = |found: String, hint| {
            Err(Error::new(ErrorKind::Usage, server.doing("open"), found).hint(hint))
        };
        if !is_new_enough(&found) {
            return refuse(
                format!("the server's version is {found}"),
                "use MariaDB 10.6, MySQL 8.0, or newer",
            );
        }
        match database {
            Some(_) => Ok(()),
            None => refuse(
                "the URL names no database".to_owned(),
                "use mysql://USER@HOST:PORT/DATABASE",
            ),
        }
    }

    async fn found(schema: &Schema, connection: &mut Connection) -> sqlx::Result<Option<usize>> {
        schema::found(schema, connection).await
    }

    async fn migrate(schema: &'static Schema, pool: Pool) -> sqlx::Result<usize> {
        schema::migrate(schema, pool).await
    }
}

/// Whether a server of this version passes over locked rows: "10.11.14-MariaDB-…",
/// "8.0.36".
fn is_new_enough(version: &str) -> bool {
    // What older MariaDB servers put before their version, for old replicas.
    let plain = version.strip_prefix("5.5.5-").unwrap_or(version);
    let mut numbers = plain.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    found >= if version.contains("MariaDB") { FIRST_MARIADB } else { FIRST_MYSQL }
}
