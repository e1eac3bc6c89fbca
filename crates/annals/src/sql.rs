//! What our backends in SQL servers share, over the driver's connections: a pool of
//! them, on a thread of its own, and the tables' versions.
//!
//! All of a pool's work runs on that thread's small runtime, so that it serves
//! callers under any executor, and callers whose own runtime has ended; a call that
//! its caller gave up is finished all the same.
//!
//! Statements are not shared: each backend speaks its server's own SQL. What differs
//! beneath them is a [`Dialect`].

mod pool;
pub(crate) mod schema;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use sqlx::Database;
use sqlx::database::HasStatementCache;
use tokio::time::timeout;

use crate::error::{Error, ErrorKind, Result};
use crate::runtime::Runtime;
use schema::Schema;

pub(crate) use pool::{Connection, Pool};

/// A kind of server, and what a URL said of one: how to connect to it.
pub(crate) trait Dialect: Sized + Send + Sync + 'static {
    /// The driver.
    type Database: Database + HasStatementCache;

    /// What a pool's thread is called.
    const THREAD: &'static str;

    /// How many connections may be open.
    fn max_connections(&self) -> u32;

    /// How long a call waits for one.
    fn connect_timeout(&self) -> Duration;

    /// How long a few statements can take, if they are not to take for ever.
    fn patience(&self) -> Option<Duration>;

    /// Where connections are lent for one transaction only: the statements that set
    /// in it what else is set once for a session.
    fn lent(&self) -> Option<String> {
        None
    }

    /// Opens a connection.
    fn open(
        &self,
    ) -> impl Future<Output = sqlx::Result<<Self::Database as Database>::Connection>> + Send;

    /// Runs statements of ours that answer nothing and are written out in full.
    fn run(
        connection: &mut <Self::Database as Database>::Connection,
        sql: String,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Says what an error means for who operates the server.
    fn explain(doing: String, error: sqlx::Error) -> Error;

    /// Sees to it that the server can serve us.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if it is too old, or its database cannot hold events;
    /// otherwise why it cannot be reached.
    fn check(server: &Server<Self>) -> impl Future<Output = Result<()>> + Send;

    /// The version of the tables, `None` if there are none.
    fn found(
        schema: &Schema,
        connection: &mut Connection<Self>,
    ) -> impl Future<Output = sqlx::Result<Option<usize>>> + Send;

    /// Makes the tables or brings them up to date, one process at a time; answers the
    /// version that they have then.
    fn migrate(
        schema: &'static Schema,
        pool: Pool<Self>,
    ) -> impl Future<Output = sqlx::Result<usize>> + Send;
}

/// A pool of connections to one database.
pub(crate) struct Server<D: Dialect> {
    pool: Pool<D>,
    /// How long a call may take that is a few statements.
    patience: Option<Duration>,
    url: String,
    what: &'static str,
    runtime: Runtime,
}

impl<D: Dialect> Server<D> {
    /// Reaches a server when the first call is made. `shown` is its URL without
    /// secrets; `what` it is for goes into messages: "the transport".
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub(crate) fn of(settings: D, shown: String, what: &'static str) -> Result<Self> {
        let runtime = Runtime::start(D::THREAD).map_err(|error| {
            let doing = format!("open {what} {shown}");
            Error::new(ErrorKind::Away, doing, format!("no thread: {error}"))
        })?;
        let patience = settings.patience();
        let (pool, url) = (Pool::new(settings), shown);
        Ok(Self { pool, patience, url, what, runtime })
    }

    /// Sees to it that the server can serve us.
    ///
    /// # Errors
    /// As [`Dialect::check`].
    pub(crate) async fn check(&self) -> Result<()> {
        D::check(self).await
    }

    /// What is being done with it, for messages: "open the transport …".
    pub(crate) fn doing(&self, what: &str) -> String {
        format!("{what} {} {}", self.what, self.url)
    }

    /// The database's URL, without password.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The pool, for a task that is spawned.
    #[cfg(feature = "postgres")]
    pub(crate) fn pool(&self) -> Pool<D> {
        self.pool.clone()
    }

    /// Runs a task beside the calls.
    #[cfg(feature = "postgres")]
    pub(crate) fn spawn(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::AbortHandle {
        self.runtime.spawn(task).abort_handle()
    }

    /// As [`Self::call`], for work of a few statements: given up when a network that
    /// went silent is all there is to wait for. The server ends each statement in its
    /// own time, and can no longer say so.
    pub(crate) async fn brief<T, E, F>(
        &self,
        doing: &'static str,
        work: impl FnOnce(Pool<D>) -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        E: Into<Failure> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let Some(patience) = self.patience else { return self.call(doing, work).await };
        self.call(doing, move |pool| async move {
            match timeout(patience, work(pool)).await {
                Ok(done) => done.map_err(Into::into),
                Err(_) => Err(Failure::Sql(pool::no_answer())),
            }
        })
        .await
    }

    /// Does `work` with a connection of the pool. An error is told as having
    /// happened while `doing` something.
    pub(crate) async fn call<T, E, F>(
        &self,
        doing: &'static str,
        work: impl FnOnce(Pool<D>) -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        E: Into<Failure> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let pool = self.pool.clone();
        match self.runtime.spawn(async move { work(pool).await }).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(failure)) => Err(match failure.into() {
                Failure::Sql(error) => D::explain(format!("{doing} {}", self.url), error),
                Failure::Told(error) => error,
            }),
            Err(_) => {
                let what = "its thread has stopped";
                Err(Error::new(ErrorKind::Closed, format!("use {}", self.url), what))
            }
        }
    }
}

impl<D: Dialect> fmt::Debug for Server<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Why a piece of work failed: as the driver says, or as we already did.
#[derive(Debug)]
pub(crate) enum Failure {
    Sql(sqlx::Error),
    Told(Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

/// A number as a signed bigint holds it.
pub(crate) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A duration in microseconds, as a signed bigint holds it.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
