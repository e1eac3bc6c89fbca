//! SQLite connections: opened safely, each owned by one thread.
//!
//! Shared by the transport and the store. A [`Connection`] runs closures on its
//! own thread, one after the other, so that no async task ever blocks on a file
//! and no lock is held across an `.await`. It works under any executor.

mod check;

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::OpenFlags;
use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind, Result};
use crate::private::make_private_directory_of;

pub use check::{SqliteCheck, check_sqlite, sqlite_version};

/// SQLite 3.7.0 to 3.51.2 can corrupt a WAL database that two connections
/// checkpoint at once (sqlite.org/wal.html, "the WAL-reset bug").
const FIRST_SOUND_VERSION: i32 = 3_051_003;

/// How long a statement waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long opening waits while another process makes the database: a dozen
/// syncs, each of which a busy disk may hold up for seconds.
const MAKING_TIMEOUT: Duration = Duration::from_secs(60);

/// Up to this size, in bytes, a file is still being made: once our tables are in
/// it, and not only in its write-ahead log, it is larger.
const UNMADE: u64 = 4096;

/// What to open, and how.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    /// The database file.
    pub(crate) path: PathBuf,
    /// Whether this is a queue or a store, for messages: "the transport".
    pub(crate) what: &'static str,
    /// Whether to create it if it is not there, and its tables.
    pub(crate) write: bool,
    /// Whose journal it is.
    pub(crate) journal: Journal,
}

impl Open {
    /// What is being done, for an error.
    fn doing(&self) -> String {
        format!("open {} sqlite:{}", self.what, self.path.display())
    }
}

/// How a database keeps what is not yet in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Journal {
    /// With a log that readers need not wait for, and with the pages that suit us.
    Ours,
    /// As the application chose: only that a commit is on disk is seen to.
    TheirOwn,
}

/// A database connection on a thread of its own.
///
/// After an error that leaves in doubt what is on disk (a failed write or sync,
/// a full disk, damage), the connection is closed, and the next call opens and
/// prepares a new one: nothing is acknowledged on a handle that failed.
#[derive(Debug)]
pub(crate) struct Connection {
    /// There until it is dropped, which is what ends the thread.
    jobs: Option<mpsc::SyncSender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
    url: String,
}

/// Work for the connection's thread; answers whether the connection is still sound.
type Job = Box<dyn FnOnce(Result<&mut rusqlite::Connection>) -> bool + Send>;

/// Jobs that may wait for the connection; callers beyond that wait themselves.
const MAX_WAITING_JOBS: usize = 1024;

impl Connection {
    /// Opens the file and runs `prepare` (which makes or checks the tables) on it.
    pub(crate) async fn open<P>(open: Open, prepare: P) -> Result<Self>
    where
        P: Fn(&mut rusqlite::Connection) -> Result<()> + Send + 'static,
    {
        let (jobs, waiting) = mpsc::sync_channel::<Job>(MAX_WAITING_JOBS);
        let (opened, is_open) = oneshot::channel();
        let url = format!("sqlite:{}", open.path.display());
        let thread = thread::Builder::new().name(format!("annals-{}", open.what.replace(' ', "-")));
        let spawned = thread.spawn(move || {
            let ready = || {
                let mut connection = connect(&open)?;
                prepare(&mut connection)?;
                connection
                    .busy_timeout(BUSY_TIMEOUT)
                    .map_err(|error| explain(open.doing(), error))?;
                Ok(connection)
            };
            match ready() {
                Err(error) => drop(opened.send(Err(error))),
                Ok(connection) => {
                    if opened.send(Ok(())).is_ok() {
                        serve(&waiting, connection, ready);
                    }
                }
            }
        });
        let thread = spawned.map_err(|error| {
            Error::new(ErrorKind::Away, format!("open {url}"), format!("no thread: {error}"))
        })?;
        is_open.await.map_err(|_| stopped(&url))??;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), url })
    }

    /// The database's URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Runs `work` on the connection's thread. An error of SQLite is told as
    /// having happened while `doing` something.
    pub(crate) async fn call<T, W>(&self, doing: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&mut rusqlite::Connection) -> Result<T, Failure> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let outcome = connection.map_err(Failure::Other).and_then(work);
            let sound = !matches!(&outcome, Err(failure) if failure.leaves_doubt());
            drop(answer.send(outcome));
            sound
        });
        let jobs = self.jobs.as_ref().ok_or_else(|| stopped(&self.url))?;
        jobs.send(job).map_err(|_| stopped(&self.url))?;
        match answered.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Failure::Sqlite(error))) => Err(explain(format!("{doing} {}", self.url), error)),
            Ok(Err(Failure::Other(error))) => Err(error),
            Err(_) => Err(stopped(&self.url)),
        }
    }
}

impl Drop for Connection {
    /// Waits for the job in hand, so that the last handle on a database closes
    /// it: SQLite then writes its log into the file and leaves one file behind.
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to wait for.
            let _ = thread.join();
        }
    }
}

/// Runs the jobs, each on a sound connection or with the reason why there is none.
fn serve(
    jobs: &mpsc::Receiver<Job>,
    connection: rusqlite::Connection,
    ready: impl Fn() -> Result<rusqlite::Connection>,
) {
    let mut current = Some(connection);
    for job in jobs {
        let sound = match current.take().map_or_else(&ready, Ok) {
            Err(error) => job(Err(error)),
            Ok(mut connection) => {
                let sound = job(Ok(&mut connection));
                current = Some(connection);
                sound
            }
        };
        if !sound {
            current = None;
        }
    }
}

/// Why a call on a connection failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// SQLite said so.
    Sqlite(rusqlite::Error),
    /// We said so.
    Other(Error),
}

impl Failure {
    /// Whether it is unknown what of the write reached the disk.
    fn leaves_doubt(&self) -> bool {
        use rusqlite::ErrorCode as Code;
        let Self::Sqlite(error) = self else { return false };
        matches!(
            error.sqlite_error_code(),
            Some(
                Code::SystemIoFailure
                    | Code::DiskFull
                    | Code::DatabaseCorrupt
                    | Code::NotADatabase
                    | Code::CannotOpen
                    | Code::ReadOnly
            )
        )
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

fn stopped(url: &str) -> Error {
    Error::new(ErrorKind::Closed, format!("use {url}"), "its thread has stopped")
}

fn connect(open: &Open) -> Result<rusqlite::Connection> {
    let doing = || open.doing();
    if rusqlite::version_number() < FIRST_SOUND_VERSION {
        let found = format!("SQLite {} can corrupt its files", rusqlite::version());
        return Err(Error::new(ErrorKind::Usage, doing(), found)
            .hint("build with SQLite 3.51.3 or newer; this crate bundles one by default"));
    }
    if open.write {
        create_private(&open.path).map_err(|error| {
            let hint = match error.kind() {
                std::io::ErrorKind::PermissionDenied => "make the directory writable for this user",
                std::io::ErrorKind::ReadOnlyFilesystem => "choose a directory that can be written",
                std::io::ErrorKind::StorageFull => "free disk space",
                _ => "check the path",
            };
            Error::new(ErrorKind::Away, doing(), &error).hint(hint).caused_by(error)
        })?;
    } else if !open.path.exists() {
        let hint = match open.journal {
            Journal::Ours => {
                "nothing has been recorded here yet; `annals up` or `annals work` makes it"
            }
            Journal::TheirOwn => "check the path of the application's database",
        };
        return Err(Error::new(ErrorKind::Away, doing(), "no such file").hint(hint));
    }
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_READ_WRITE;
    let connection = rusqlite::Connection::open_with_flags(&open.path, flags)
        .map_err(|error| explain(doing(), error))?;
    let size = open.path.metadata().map_or(0, |metadata| metadata.len());
    let patience = if size <= UNMADE { MAKING_TIMEOUT } else { BUSY_TIMEOUT };
    connection.busy_timeout(patience).map_err(|error| explain(doing(), error))?;
    unless_busy_for(patience, || configure(&connection, open.journal))
        .map_err(|error| explain(doing(), error))?;
    Ok(connection)
}

/// Tries `work` again while the database is busy. SQLite's own timeout does not
/// cover the change to a write-ahead log: of two processes that make it at once,
/// one is refused without a wait, since both hold what the other waits for.
fn unless_busy_for<T>(
    patience: Duration,
    work: impl Fn() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    const PAUSE: Duration = Duration::from_millis(10);
    let began = Instant::now();
    loop {
        match work() {
            Err(error) if is_busy(&error) && began.elapsed() < patience => thread::sleep(PAUSE),
            outcome => return outcome,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode as Code;
    matches!(error.sqlite_error_code(), Some(Code::DatabaseBusy | Code::DatabaseLocked))
}

fn configure(connection: &rusqlite::Connection, journal: Journal) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(64);
    if journal == Journal::TheirOwn {
        return connection.pragma_update(None, "synchronous", "FULL");
    }
    // Takes effect in an empty database only, and takes the write lock in any
    // other: opening would wait for whoever writes.
    if connection.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0))? == 0 {
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // After a checkpoint the log file is cut to this, instead of staying as
    // large as it ever was.
    connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // In KiB. Two batches of a thousand events, in a queue: what is deleted then
    // need not be read again.
    connection.pragma_update(None, "cache_size", -8 * 1024)?;
    connection.pragma_update(None, "trusted_schema", false)
}

/// Writes a database anew without what was deleted from it, and its write-ahead log into
/// it: no byte of a deleted row is left in its files.
///
/// # Errors
/// [`ErrorKind::Away`] while somebody reads or writes it for long.
pub(crate) async fn compact(path: PathBuf, what: &'static str) -> Result<()> {
    let open = Open { path, what, write: false, journal: Journal::Ours };
    let connection = Connection::open(open, |_| Ok(())).await?;
    let work = move |connection: &mut rusqlite::Connection| {
        connection.execute_batch("VACUUM")?;
        let busy: bool =
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy {
            let found = "somebody reads it, so that its write-ahead log cannot be cut";
            return Err(Error::new(ErrorKind::Away, format!("compact {what}"), found).into());
        }
        Ok(())
    };
    connection.call("compact", work).await
}

/// Makes the directory and the file, for their owner alone.
fn create_private(path: &Path) -> std::io::Result<()> {
    make_private_directory_of(path)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

const DAMAGED: &str =
    "set the file aside and restore a backup; `sqlite3 FILE .recover` may save what is readable";

fn is_unreadable(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as Found;
    matches!(
        error,
        Found::InvalidColumnType(..)
            | Found::FromSqlConversionFailure(..)
            | Found::IntegralValueOutOfRange(..)
            | Found::Utf8Error(..)
            | Found::QueryReturnedNoRows
    )
}

/// Says what an error of SQLite means for who operates it.
pub(crate) fn explain(doing: impl Into<String>, error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode as Code;
    let (kind, hint) = match error.sqlite_error_code() {
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => {
            (ErrorKind::Away, Some("another program holds the database; find it with `fuser`"))
        }
        Some(Code::ReadOnly | Code::PermissionDenied) => {
            (ErrorKind::Away, Some("make the file and its directory writable for this user"))
        }
        Some(Code::DiskFull) => (ErrorKind::Away, Some("free disk space")),
        Some(Code::CannotOpen) => {
            (ErrorKind::Away, Some("check that the directory exists and its rights"))
        }
        Some(Code::SystemIoFailure | Code::FileLockingProtocolFailed) => {
            (ErrorKind::Away, Some("check the disk and the kernel's log"))
        }
        Some(Code::DatabaseCorrupt | Code::NotADatabase) => (ErrorKind::Damaged, Some(DAMAGED)),
        Some(Code::TooBig | Code::ConstraintViolation | Code::TypeMismatch) => {
            (ErrorKind::Event, None)
        }
        // Every column has its type and every row that is asked for is there, unless
        // someone else wrote into the file.
        None if is_unreadable(&error) => (ErrorKind::Damaged, Some(DAMAGED)),
        // The tables of an older version, opened to be read.
        Some(Code::Unknown) if error.to_string().starts_with("no such table: annals_") => {
            (ErrorKind::Usage, Some("`annals migrate` brings the tables up to date"))
        }
        _ => (ErrorKind::Transient, None),
    };
    let mut explained = Error::new(kind, doing, &error).caused_by(error);
    if let Some(hint) = hint {
        explained = explained.hint(hint);
    }
    explained
}
