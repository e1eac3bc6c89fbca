//! A PostgreSQL server: where it is, how to be its guest, and what its errors mean.
//!
//! Shared by the transport and the store.

mod promises;
pub(crate) mod schema;
mod settings;
mod time;

use std::time::Duration;

use sqlx::postgres::{PgDatabaseError, PgListener, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, PgConnection, Postgres};

use crate::error::{Error, ErrorKind, Result};
use crate::sql::{self, Dialect};
use crate::url::without_secrets;

pub(crate) use crate::sql::{Failure, micros, number};
pub use promises::Promises;
use schema::Schema;
pub(crate) use settings::Settings;
pub(crate) use time::Time;

/// The first version whose SQL we speak.
const FIRST_VERSION: i32 = 130_000;

/// A connection of its pool.
pub(crate) type Connection = sql::Connection<Settings>;
/// The connections of one server.
pub(crate) type Pool = sql::Pool<Settings>;
/// A pool of connections to one database.
pub(crate) type Server = sql::Server<Settings>;

impl Server {
    /// The database of a `postgres://` URL, to which the first call connects.
    /// `what` it is for goes into messages: "the transport". Each connection gets
    /// these `settings` beside those of all.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a URL that cannot be understood.
    pub(crate) fn new(
        url: &str,
        what: &'static str,
        settings: &'static [(&'static str, &'static str)],
    ) -> Result<Self> {
        let shown = without_secrets(url);
        let doing = format!("open {what} {shown}");
        let settings = Settings::of(url, &doing, settings)?;
        Self::of(settings, shown, what)
    }
}

impl Dialect for Settings {
    type Database = Postgres;

    const THREAD: &'static str = "annals-postgres";

    fn max_connections(&self) -> u32 {
        self.max_connections
    }

    fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    fn patience(&self) -> Option<Duration> {
        self.patience()
    }

    fn lent(&self) -> Option<String> {
        self.pgbouncer.then(|| self.for_transaction())
    }

    async fn open(&self) -> sqlx::Result<PgConnection> {
        let mut connection = self.options.connect().await?;
        if !self.pgbouncer {
            let (names, values): (Vec<&str>, Vec<&str>) = self.of_session().unzip();
            sqlx::query(
                "SELECT set_config(name, value, false) \
                 FROM unnest($1::text[], $2::text[]) AS s (name, value)",
            )
            .bind(names)
            .bind(values)
            .execute(&mut connection)
            .await?;
        }
        Ok(connection)
    }

    async fn run(connection: &mut PgConnection, sql: String) -> sqlx::Result<()> {
        connection.execute(AssertSqlSafe(sql)).await.map(drop)
    }

    fn explain(doing: String, error: sqlx::Error) -> Error {
        explain(doing, error)
    }

    async fn check(server: &Server) -> Result<()> {
        let (version, encoding): (i32, String) = server
            .call("connect to", |pool| async move {
                let mut connection = pool.connect().await?;
                let ask = connection.row(
                    "SELECT current_setting('server_version_num')::int4, \
                     current_setting('server_encoding')",
                );
                let answer = ask.fetch_one(&mut *connection).await?;
                connection.commit().await?;
                Ok::<_, sqlx::Error>(answer)
            })
            .await?;
        let refuse = |found: String, hint| {
            Err(Error::new(ErrorKind::Usage, server.doing("open"), found).hint(hint))
        };
        match version {
            ..FIRST_VERSION => refuse(
                format!("the server is PostgreSQL {}", version / 10_000),
                "use PostgreSQL 13 or newer",
            ),
            _ if encoding != "UTF8" => refuse(
                format!("the database's encoding is {encoding}, and events are UTF-8"),
                "make the database with ENCODING 'UTF8'",
            ),
            _ => Ok(()),
        }
    }

    async fn found(schema: &Schema, connection: &mut Connection) -> sqlx::Result<Option<usize>> {
        schema::found(schema, connection).await
    }

    async fn migrate(schema: &'static Schema, pool: Pool) -> sqlx::Result<usize> {
        schema::migrate(schema, pool).await
    }
}

impl Pool {
    /// Hears the server's notifications; `None` where there are none to be heard,
    /// because no session is ours for longer than a transaction.
    pub(crate) async fn listener(&self) -> sqlx::Result<Option<PgListener>> {
        let settings = self.settings();
        if settings.pgbouncer {
            return Ok(None);
        }
        let alone = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(settings.connect_timeout)
            .connect_lazy_with(settings.options.clone());
        PgListener::connect_with(&alone).await.map(Some)
    }
}

/// The number of the table that a name means: as in SQL, or to the letter.
pub(crate) async fn find_table(connection: &mut Connection, name: &str) -> Result<i64, Failure> {
    const FIND: &str = "SELECT coalesce(to_regclass($1), to_regclass(quote_ident($1)))::oid::int8";
    let found: Option<i64> = connection
        .scalar(FIND)
        .bind(name)
        .fetch_one(&mut **connection)
        .await
        // Not even a name.
        .or_else(|error| if error.as_database_error().is_some() { Ok(None) } else { Err(error) })?;
    if let Some(found) = found {
        return Ok(found);
    }
    let doing = format!("find the table {name}");
    Err(Error::new(ErrorKind::Usage, doing, "there is no such table in the search path")
        .hint("write SCHEMA.TABLE, and quote what is not in lower case: 'public.\"Order\"'")
        .into())
}

/// The SQLSTATE of what our own functions refuse.
const OURS: &str = "AN001";

/// Says what an error of PostgreSQL means for who operates it.
pub(crate) fn explain(doing: impl Into<String>, error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|error| error.code().map(String::from));
    let (kind, hint) = match &error {
        // Our own functions say what to do.
        sqlx::Error::Database(found) if code.as_deref() == Some(OURS) => {
            let found = found.try_downcast_ref::<PgDatabaseError>();
            let told = |error: Error| match found.and_then(PgDatabaseError::hint) {
                Some(hint) => error.hint(hint),
                None => error,
            };
            let what = found.map_or("", PgDatabaseError::message);
            return told(Error::new(ErrorKind::Usage, doing, what)).caused_by(error);
        }
        sqlx::Error::Database(_) => meaning(code.as_deref().unwrap_or_default()),
        sqlx::Error::Tls(_) => (ErrorKind::Away, Some("check sslmode and sslrootcert in the URL")),
        sqlx::Error::PoolTimedOut => {
            (ErrorKind::Away, Some("let it have more: max_connections= in the URL"))
        }
        sqlx::Error::Configuration(_) => (ErrorKind::Usage, None),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound => {
            (ErrorKind::Damaged, Some("the tables are not as annals made them"))
        }
        _ => (ErrorKind::Away, Some("check that the server runs, and its host and port")),
    };
    let found = match &error {
        // Without the line of the server's source, which sqlx would add.
        sqlx::Error::Database(found) => {
            format!("{} (SQLSTATE {})", found.message(), code.unwrap_or_default())
        }
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::PoolTimedOut => "all of its connections are in use".to_owned(),
        other => other.to_string(),
    };
    let mut explained = Error::new(kind, doing, found).caused_by(error);
    if let Some(hint) = hint {
        explained = explained.hint(hint);
    }
    explained
}

/// What a SQLSTATE means (PostgreSQL's documentation, appendix A).
fn meaning(code: &str) -> (ErrorKind, Option<&'static str>) {
    use ErrorKind as Kind;
    let class = code.get(..2).unwrap_or_default();
    match (class, code) {
        (_, "28P01") => (
            Kind::Away,
            Some("check the user and the password (PGPASSWORD, password_file= or .pgpass)"),
        ),
        (_, "28000") => (
            Kind::Away,
            Some(
                "check the user, and what the server's pg_hba.conf asks for (a password: PGPASSWORD; \
                 TLS: sslmode=require)",
            ),
        ),
        // An unknown startup parameter, a prepared statement that is gone or is there.
        (_, "08P01" | "26000" | "42P05") => (
            Kind::Away,
            Some("behind PgBouncer in transaction mode, add pgbouncer=true to the URL"),
        ),
        (_, "3D000") => (Kind::Away, Some("create the database, or correct its name in the URL")),
        (_, "42501") => (
            Kind::Away,
            Some(
                "grant this role what it needs; `annals migrate --roles` makes roles that have it",
            ),
        ),
        // No value of an event does this: statements and tables do not fit.
        ("42", _) | (_, "3F000" | "23502" | "23503") => {
            let hint =
                "if somebody changed the tables, undo that; `annals migrate` makes missing ones";
            (Kind::Usage, Some(hint))
        }
        (_, "53100") => (Kind::Away, Some("free disk space on the server")),
        (_, "53300") => (Kind::Away, Some("raise max_connections, or let fewer programs connect")),
        (_, "25006") => (Kind::Away, Some("the server is read-only; connect to the primary")),
        (_, "57014" | "55P03" | "40001" | "40P01") => {
            (Kind::Away, Some("it is tried again; look who holds the lock in pg_stat_activity"))
        }
        (_, "XX001" | "XX002") => {
            (Kind::Damaged, Some("the server says that its files are corrupted"))
        }
        // Values that PostgreSQL does not take.
        ("22" | "23" | "54", _) => (Kind::Event, None),
        ("08" | "53" | "57" | "58", _) => (Kind::Away, Some("check the server and its log")),
        _ => (Kind::Transient, None),
    }
}
