//! A PostgreSQL server: reached through a pool of connections, on a thread of its
//! own.
//!
//! Shared by the transport and the store. All of a pool's work runs on that
//! thread's small runtime, so that it serves callers under any executor, and
//! callers whose own runtime has ended; a call that its caller gave up is finished
//! all the same.

mod pool;
pub(crate) mod schema;
mod settings;
mod time;

use std::fmt;
use std::future::Future;
use std::thread::JoinHandle;
use std::time::Duration;

use sqlx::postgres::PgDatabaseError;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::error::{Error, ErrorKind, Result};
use crate::url::without_secrets;

pub(crate) use pool::{Connection, Pool};
use settings::Settings;
pub(crate) use time::Time;

/// The first version whose SQL we speak.
const FIRST_VERSION: i32 = 130_000;

/// A pool of connections to one database.
pub(crate) struct Server {
    pool: Pool,
    /// How long a call may take that is a few statements.
    patience: Option<Duration>,
    url: String,
    what: &'static str,
    runtime: Handle,
    /// Dropped to end the thread.
    running: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

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
        let (runtime, running, thread) = thread_of_its_own()
            .map_err(|error| Error::new(ErrorKind::Away, doing, format!("no thread: {error}")))?;
        let patience = settings.patience();
        let (pool, url) = (Pool::new(settings), shown);
        let (running, thread) = (Some(running), Some(thread));
        Ok(Self { pool, patience, url, what, runtime, running, thread })
    }

    /// Sees to it that the server can serve us.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if it is too old, or its database is not in UTF-8;
    /// otherwise why it cannot be reached.
    pub(crate) async fn check(&self) -> Result<()> {
        let (version, encoding): (i32, String) = self
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
            Err(Error::new(ErrorKind::Usage, self.doing("open"), found).hint(hint))
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

    /// What is being done with it, for messages: "open the transport …".
    pub(crate) fn doing(&self, what: &str) -> String {
        format!("{what} {} {}", self.what, self.url)
    }

    /// The database's URL, without password.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The pool, for a task that is spawned.
    pub(crate) fn pool(&self) -> Pool {
        self.pool.clone()
    }

    /// Runs a task beside the calls.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.runtime.spawn(task).abort_handle()
    }

    /// As [`Self::call`], for work of a few statements: given up when a network that
    /// went silent is all there is to wait for. The server ends each statement in its
    /// own time, and can no longer say so.
    pub(crate) async fn brief<T, E, F>(
        &self,
        doing: &'static str,
        work: impl FnOnce(Pool) -> F + Send + 'static,
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
        work: impl FnOnce(Pool) -> F + Send + 'static,
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
                Failure::Sql(error) => explain(format!("{doing} {}", self.url), error),
                Failure::Told(error) => error,
            }),
            Err(_) => {
                let what = "its thread has stopped";
                Err(Error::new(ErrorKind::Closed, format!("use {}", self.url), what))
            }
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.running.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to wait for.
            let _ = thread.join();
        }
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

/// A number as PostgreSQL's int8 holds it.
pub(crate) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A duration in microseconds, as PostgreSQL's int8 holds it.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

type Thread = (Handle, oneshot::Sender<()>, JoinHandle<()>);

/// A runtime on a thread of its own, until the sender is dropped.
fn thread_of_its_own() -> std::io::Result<Thread> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let (running, ended) = oneshot::channel::<()>();
    let thread =
        std::thread::Builder::new().name("annals-postgres".to_owned()).spawn(move || {
            // An error is what tells that the sender is gone.
            let _ = runtime.block_on(ended);
        })?;
    Ok((handle, running, thread))
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
