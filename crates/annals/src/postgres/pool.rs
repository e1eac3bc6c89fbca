//! Connections of a server, and the transactions on them.
//!
//! Not the driver's own pool, which asks the server after each use whether the
//! connection is still good: one round trip more for each statement, and in the
//! meantime the next one opens another connection. Here it is good if what it was
//! used for came to its end.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgArguments, PgListener, PgPoolOptions, PgRow};
use sqlx::query::{Query, QueryAs, QueryScalar};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, FromRow, PgConnection, Postgres, SqlSafeStr};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::settings::Settings;

/// How long a connection is kept that nobody uses: what lies between may forget it.
const IDLE: Duration = Duration::from_secs(60);

/// How long a connection is used, so that a server that has moved is found again,
/// and a session's memory does not grow for ever.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// The connections of one server, as many as its settings allow.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    settings: Settings,
    /// One for each connection that may be open.
    permits: Arc<Semaphore>,
    /// What nobody uses now; the last that was used is the first to be used again.
    idle: Mutex<Vec<Session>>,
}

/// An open connection, and how old it is.
struct Session {
    connection: PgConnection,
    opened: Instant,
    used: Instant,
}

impl Shared {
    fn idle(&self) -> MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// Connects when it is first asked.
    pub(super) fn new(settings: Settings) -> Self {
        let permits = Arc::new(Semaphore::new(settings.max_connections as usize));
        Self(Arc::new(Shared { settings, permits, idle: Mutex::default() }))
    }

    /// A connection for one statement, or for several that need not belong together.
    /// It ends with [`Connection::commit`]: behind PgBouncer the statements are a
    /// transaction all the same.
    pub(crate) async fn connect(&self) -> sqlx::Result<Connection> {
        match self.0.settings.pgbouncer {
            true => self.begin("BEGIN").await,
            false => self.outside().await,
        }
    }

    /// A connection within a transaction, begun with these words.
    pub(crate) async fn begin(&self, begin: &'static str) -> sqlx::Result<Connection> {
        let mut connection = self.outside().await?;
        match self.0.settings.pgbouncer {
            false => connection.execute(begin).await?,
            // Nothing that is set may stay on a connection that others get next.
            true => {
                let set = self.0.settings.for_transaction();
                connection.execute(AssertSqlSafe(format!("{begin}; {set}"))).await?
            }
        };
        connection.open = true;
        Ok(connection)
    }

    /// A connection for statements that cannot be in a transaction, and have no values.
    pub(crate) async fn outside(&self) -> sqlx::Result<Connection> {
        let within = self.0.settings.connect_timeout;
        let acquire = timeout(within, Arc::clone(&self.0.permits).acquire_owned()).await;
        let permit = acquire.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let permit = permit.map_err(|_| sqlx::Error::PoolClosed)?;
        let session = match self.lend() {
            Some(session) => session,
            None => timeout(within, self.open()).await.map_err(|_| no_answer())??,
        };
        let named = !self.0.settings.pgbouncer;
        let end = End { pool: Arc::clone(&self.0), good: false };
        Ok(Connection { session, named, open: false, end, _permit: permit })
    }

    /// A connection that is open and idle; those that were so for long are given up.
    fn lend(&self) -> Option<Session> {
        let mut idle = self.0.idle();
        let now = Instant::now();
        idle.retain(|session| now.duration_since(session.used) < IDLE);
        idle.pop()
    }

    async fn open(&self) -> sqlx::Result<Session> {
        let settings = &self.0.settings;
        let mut connection = settings.options.connect().await?;
        if !settings.pgbouncer {
            let (names, values): (Vec<&str>, Vec<&str>) = settings.of_session().unzip();
            sqlx::query(
                "SELECT set_config(name, value, false) \
                 FROM unnest($1::text[], $2::text[]) AS s (name, value)",
            )
            .bind(names)
            .bind(values)
            .execute(&mut connection)
            .await?;
        }
        let now = Instant::now();
        Ok(Session { connection, opened: now, used: now })
    }

    /// Hears the server's notifications; `None` where there are none to be heard,
    /// because no session is ours for longer than a transaction.
    pub(crate) async fn listener(&self) -> sqlx::Result<Option<PgListener>> {
        let settings = &self.0.settings;
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

pub(super) fn no_answer() -> sqlx::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time").into()
}

/// A connection that is the caller's until it is dropped, and perhaps a transaction
/// on it. One that nobody ended may be in any state: it is closed, and whatever was
/// open on it taken back.
pub(crate) struct Connection {
    session: Session,
    /// Whether statements are prepared once and found again by their names.
    named: bool,
    /// Whether a transaction is open.
    open: bool,
    end: End,
    _permit: OwnedSemaphorePermit,
}

/// How the use of a connection ended.
struct End {
    pool: Arc<Shared>,
    good: bool,
}

impl Drop for End {
    fn drop(&mut self) {
        // Where one connection has ended badly, the others may have too.
        if !self.good {
            self.pool.idle().clear();
        }
    }
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

    /// Ends the transaction, if there is one, and gives the connection back.
    pub(crate) async fn commit(self) -> sqlx::Result<()> {
        self.commit_with("").await
    }

    /// Runs last statements, written out in full, and ends the transaction, in one
    /// round trip.
    pub(crate) async fn commit_with(self, statements: &str) -> sqlx::Result<()> {
        let end = if self.open { "COMMIT" } else { "" };
        self.end(format!("{statements}{end}")).await
    }

    /// Takes back what the transaction did, after an error of the server's.
    pub(crate) async fn rollback(self) -> sqlx::Result<()> {
        let end = if self.open { "ROLLBACK" } else { "" };
        self.end(end.to_owned()).await
    }

    async fn end(mut self, sql: String) -> sqlx::Result<()> {
        if !sql.is_empty() {
            self.execute(AssertSqlSafe(sql)).await?;
        }
        let Self { mut session, mut end, .. } = self;
        end.good = true;
        if session.opened.elapsed() < LIFETIME {
            session.used = Instant::now();
            end.pool.idle().push(session);
        }
        Ok(())
    }
}

impl Deref for Connection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.session.connection
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.session.connection
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("open", &self.open).finish_non_exhaustive()
    }
}
