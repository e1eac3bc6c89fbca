//! Connections of a server, and the transactions on them.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgListener, PgPool, PgPoolOptions, PgRow};
use sqlx::query::{Query, QueryAs, QueryScalar};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, FromRow, PgConnection, Postgres, SqlSafeStr};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::settings::Settings;

/// How long we look for the reason why no connection was to be had.
const LOOK: Duration = Duration::from_secs(2);

/// The connections of one server, as many as its settings allow.
#[derive(Clone)]
pub(crate) struct Pool {
    pool: PgPool,
    settings: Arc<Settings>,
}

impl Pool {
    /// Connects when it is first asked; within a Tokio runtime.
    pub(super) fn new(settings: Settings) -> Self {
        let settings = Arc::new(settings);
        let of_session = Arc::clone(&settings);
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(settings.connect_timeout)
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                let settings = Arc::clone(&of_session);
                Box::pin(async move { set(connection, &settings).await })
            })
            .connect_lazy_with(settings.options.clone());
        Self { pool, settings }
    }

    /// A connection for one statement, or for several that need not belong together.
    /// What writes ends with [`Connection::commit`]: behind PgBouncer the statements
    /// are a transaction all the same.
    pub(crate) async fn connect(&self) -> sqlx::Result<Connection> {
        match self.settings.pgbouncer {
            true => self.begin("BEGIN").await,
            false => self.outside().await,
        }
    }

    /// A connection for statements that cannot be in a transaction, and have no values.
    pub(crate) async fn outside(&self) -> sqlx::Result<Connection> {
        let named = !self.settings.pgbouncer;
        Ok(Connection { lent: self.acquire().await?, named, open: false })
    }

    /// A connection within a transaction, begun with these words.
    pub(crate) async fn begin(&self, begin: &'static str) -> sqlx::Result<Connection> {
        let named = !self.settings.pgbouncer;
        let mut connection = Connection { lent: self.acquire().await?, named, open: true };
        match named {
            true => connection.execute(begin).await?,
            // Nothing that is set may stay on a connection that others get next.
            false => {
                let set = self.settings.for_transaction();
                connection.execute(AssertSqlSafe(format!("{begin}; {set}"))).await?
            }
        };
        Ok(connection)
    }

    /// Hears the server's notifications; `None` where there are none to be heard,
    /// because no session is ours for longer than a transaction.
    pub(crate) async fn listener(&self) -> sqlx::Result<Option<PgListener>> {
        match self.settings.pgbouncer {
            true => Ok(None),
            false => PgListener::connect_with(&self.pool).await.map(Some),
        }
    }

    async fn acquire(&self) -> sqlx::Result<PoolConnection<Postgres>> {
        if let Some(free) = self.pool.try_acquire() {
            return Ok(free);
        }
        let may_grow = self.pool.size() < self.settings.max_connections;
        if may_grow {
            self.knock().await?;
        }
        match self.pool.acquire().await {
            Err(sqlx::Error::PoolTimedOut) if may_grow => Err(self.why_not().await),
            acquired => acquired,
        }
    }

    /// Whether anybody is there: a pool would ask again and again until its time is
    /// over, and then say no more than that.
    async fn knock(&self) -> sqlx::Result<()> {
        let options = &self.settings.options;
        if options.get_socket().is_some() {
            return Ok(());
        }
        let host = options.get_host().trim_matches(['[', ']']);
        let connect = TcpStream::connect((host, options.get_port()));
        match timeout(self.settings.connect_timeout, connect).await {
            Ok(connected) => Ok(connected.map(drop)?),
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }

    /// Why no connection could be had in time.
    async fn why_not(&self) -> sqlx::Error {
        match timeout(LOOK, self.settings.options.connect()).await {
            Ok(Err(error)) => error,
            _ => sqlx::Error::PoolTimedOut,
        }
    }
}

/// Sets what holds for a session.
async fn set(connection: &mut PgConnection, settings: &Settings) -> sqlx::Result<()> {
    if settings.pgbouncer {
        return Ok(());
    }
    let (names, values): (Vec<&str>, Vec<&str>) = settings.of_session().unzip();
    sqlx::query(
        "SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS s (name, value)",
    )
    .bind(names)
    .bind(values)
    .execute(connection)
    .await
    .map(drop)
}

/// A connection that is the caller's until it is dropped, and perhaps a transaction
/// on it: one that nobody ended is then taken back, and the connection given up.
pub(crate) struct Connection {
    lent: PoolConnection<Postgres>,
    /// Whether statements are prepared once and found again by their names.
    named: bool,
    /// Whether a transaction is open.
    open: bool,
}

impl Connection {
    /// A statement to be run on this connection.
    pub(crate) fn query<'q>(&self, sql: impl SqlSafeStr) -> Query<'q, Postgres, PgArguments> {
        sqlx::query(sql).persistent(self.named)
    }

    /// A statement with its values.
    pub(crate) fn query_with<'q>(
        &self,
        sql: impl SqlSafeStr,
        values: PgArguments,
    ) -> Query<'q, Postgres, PgArguments> {
        sqlx::query_with(sql, values).persistent(self.named)
    }

    /// A statement that answers one column.
    pub(crate) fn scalar<'q, T>(
        &self,
        sql: impl SqlSafeStr,
    ) -> QueryScalar<'q, Postgres, T, PgArguments>
    where
        (T,): for<'r> FromRow<'r, PgRow>,
    {
        sqlx::query_scalar(sql).persistent(self.named)
    }

    /// A statement that answers tuples.
    pub(crate) fn row<'q, T>(&self, sql: impl SqlSafeStr) -> QueryAs<'q, Postgres, T, PgArguments>
    where
        T: for<'r> FromRow<'r, PgRow>,
    {
        sqlx::query_as(sql).persistent(self.named)
    }

    /// Ends the transaction, if there is one.
    pub(crate) async fn commit(self) -> sqlx::Result<()> {
        self.commit_with("").await
    }

    /// Runs last statements, written out in full, and ends the transaction, in one
    /// round trip.
    pub(crate) async fn commit_with(mut self, statements: &str) -> sqlx::Result<()> {
        let end = if self.open { "COMMIT" } else { "" };
        let sql = format!("{statements}{end}");
        if !sql.is_empty() {
            self.execute(AssertSqlSafe(sql)).await?;
        }
        self.open = false;
        Ok(())
    }

    /// Takes back what the transaction did.
    pub(crate) async fn rollback(mut self) -> sqlx::Result<()> {
        if self.open {
            self.execute("ROLLBACK").await?;
            self.open = false;
        }
        Ok(())
    }
}

impl Deref for Connection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.lent
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.lent
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("open", &self.open).finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.open {
            self.lent.close_on_drop();
        }
    }
}
