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

use sqlx::query::{Query, QueryAs, QueryScalar};
use sqlx::{Database, FromRow, IntoArguments, SqlSafeStr};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Dialect;

/// The driver's connection, a statement's values, and a row of the answer.
type Raw<D> = <<D as Dialect>::Database as Database>::Connection;
type Values<D> = <<D as Dialect>::Database as Database>::Arguments;
type Row<D> = <<D as Dialect>::Database as Database>::Row;

/// How long a connection is kept that nobody uses: what lies between may forget it.
const IDLE: Duration = Duration::from_secs(60);

/// How long a connection is used, so that a server that has moved is found again,
/// and a session's memory does not grow for ever.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// The connections of one server, as many as its settings allow.
pub(crate) struct Pool<D: Dialect> {
    shared: Arc<Shared<D>>,
    /// What is set in each transaction, and all is in one then.
    set: Option<Arc<str>>,
}

impl<D: Dialect> Clone for Pool<D> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), set: self.set.clone() }
    }
}

struct Shared<D: Dialect> {
    settings: D,
    /// One for each connection that may be open.
    permits: Arc<Semaphore>,
    /// What nobody uses now; the last that was used is the first to be used again.
    idle: Mutex<Vec<Session<D>>>,
}

/// An open connection, and how old it is.
struct Session<D: Dialect> {
    connection: Raw<D>,
    opened: Instant,
    used: Instant,
}

impl<D: Dialect> Shared<D> {
    fn idle(&self) -> MutexGuard<'_, Vec<Session<D>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Dialect> Pool<D> {
    /// Connects when it is first asked.
    pub(super) fn new(settings: D) -> Self {
        let permits = Arc::new(Semaphore::new(settings.max_connections() as usize));
        let shared = Shared { settings, permits, idle: Mutex::default() };
        Self { shared: Arc::new(shared), set: None }
    }

    /// The same connections, with this set in each transaction.
    #[cfg(feature = "postgres")]
    pub(crate) fn setting(self, set: Option<String>) -> Self {
        Self { set: set.map(Arc::from), ..self }
    }

    /// What is to be set in each transaction, if anything is.
    fn set(&self) -> Option<String> {
        match (self.shared.settings.lent(), &self.set) {
            (Some(lent), Some(set)) => Some(format!("{lent}; {set}")),
            (lent, set) => lent.or_else(|| set.as_deref().map(str::to_owned)),
        }
    }

    /// What the URL said.
    pub(crate) fn settings(&self) -> &D {
        &self.shared.settings
    }

    /// A connection for one statement, or for several that need not belong together.
    /// It ends with [`Connection::commit`]: where connections are lent for one
    /// transaction only, the statements are one all the same.
    pub(crate) async fn connect(&self) -> sqlx::Result<Connection<D>> {
        match self.set() {
            Some(_) => self.begin("BEGIN").await,
            None => self.outside().await,
        }
    }

    /// A connection within a transaction, begun with these words.
    pub(crate) async fn begin(&self, begin: &'static str) -> sqlx::Result<Connection<D>> {
        let mut connection = self.outside().await?;
        let begin = match self.set() {
            None => begin.to_owned(),
            // Nothing that is set may stay on a connection that others get next.
            Some(set) => format!("{begin}; {set}"),
        };
        D::run(&mut connection, begin).await?;
        connection.open = true;
        Ok(connection)
    }

    /// A connection for statements that cannot be in a transaction, and have no values.
    pub(crate) async fn outside(&self) -> sqlx::Result<Connection<D>> {
        let within = self.shared.settings.connect_timeout();
        let acquire = timeout(within, Arc::clone(&self.shared.permits).acquire_owned()).await;
        let permit = acquire.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let permit = permit.map_err(|_| sqlx::Error::PoolClosed)?;
        let session = match self.lend() {
            Some(session) => session,
            None => timeout(within, self.open()).await.map_err(|_| no_answer())??,
        };
        let named = self.shared.settings.lent().is_none();
        let end = End { pool: Arc::clone(&self.shared), good: false };
        Ok(Connection { session, named, open: false, end, _permit: permit })
    }

    /// A connection that is open and idle; those that were so for long are given up.
    fn lend(&self) -> Option<Session<D>> {
        let mut idle = self.shared.idle();
        let now = Instant::now();
        idle.retain(|session| now.duration_since(session.used) < IDLE);
        idle.pop()
    }

    async fn open(&self) -> sqlx::Result<Session<D>> {
        let connection = self.shared.settings.open().await?;
        let now = Instant::now();
        Ok(Session { connection, opened: now, used: now })
    }
}

pub(super) fn no_answer() -> sqlx::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time").into()
}

/// A connection that is the caller's until it is dropped, and perhaps a transaction
/// on it. One that nobody ended may be in any state: it is closed, and whatever was
/// open on it taken back.
pub(crate) struct Connection<D: Dialect> {
    session: Session<D>,
    /// Whether statements are prepared once and found again by their names.
    named: bool,
    /// Whether a transaction is open.
    open: bool,
    end: End<D>,
    _permit: OwnedSemaphorePermit,
}

/// How the use of a connection ended.
struct End<D: Dialect> {
    pool: Arc<Shared<D>>,
    good: bool,
}

impl<D: Dialect> Drop for End<D> {
    fn drop(&mut self) {
        // Where one connection has ended badly, the others may have too.
        if !self.good {
            self.pool.idle().clear();
        }
    }
}

impl<D: Dialect> Connection<D> {
    /// A statement to be run on this connection.
    pub(crate) fn query<'q>(&self, sql: impl SqlSafeStr) -> Query<'q, D::Database, Values<D>> {
        sqlx::query(sql).persistent(self.named)
    }

    /// A statement with its values.
    pub(crate) fn query_with<'q, A>(
        &self,
        sql: impl SqlSafeStr,
        values: A,
    ) -> Query<'q, D::Database, A>
    where
        A: IntoArguments<D::Database>,
    {
        sqlx::query_with(sql, values).persistent(self.named)
    }

    /// A statement that answers one column.
    pub(crate) fn scalar<'q, T>(
        &self,
        sql: impl SqlSafeStr,
    ) -> QueryScalar<'q, D::Database, T, Values<D>>
    where
        (T,): for<'r> FromRow<'r, Row<D>>,
    {
        sqlx::query_scalar(sql).persistent(self.named)
    }

    /// A statement that answers tuples.
    pub(crate) fn row<'q, T>(&self, sql: impl SqlSafeStr) -> QueryAs<'q, D::Database, T, Values<D>>
    where
        T: for<'r> FromRow<'r, Row<D>>,
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
            D::run(&mut self, sql).await?;
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

impl<D: Dialect> Deref for Connection<D> {
    type Target = Raw<D>;

    fn deref(&self) -> &Raw<D> {
        &self.session.connection
    }
}

impl<D: Dialect> DerefMut for Connection<D> {
    fn deref_mut(&mut self) -> &mut Raw<D> {
        &mut self.session.connection
    }
}

impl<D: Dialect> fmt::Debug for Connection<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("open", &self.open).finish_non_exhaustive()
    }
}
