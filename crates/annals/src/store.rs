//! The store: where events rest.
//!
//! Two seams. An [`Appender`] takes batches, and is all that a worker needs: a
//! mirror is one, and so is a file. A [`Store`] is an appender that is also read,
//! pruned and proved. A store promises:
//!
//! - appending is idempotent by id: the same id with the same bytes is a
//!   duplicate, with other bytes a conflict, and neither changes anything;
//! - a batch is appended whole or not at all, save its duplicates and conflicts;
//! - the bytes come back exactly as they were appended;
//! - every event has a position, positions have no gaps, and an event is readable
//!   if and only if its leaf is in the store's Merkle log ([`crate::log`]);
//! - a pruned id stays known, and appending it again is refused with that reason.

#[cfg(feature = "mysql")]
mod batch;
#[cfg(feature = "file")]
pub mod file;
pub mod hold;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub mod laravel;
mod ledger;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(any(feature = "archive", feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(crate) mod paging;
#[cfg(feature = "postgres")]
pub mod postgres;
mod prune;
mod record;
mod registry;
mod retain;
mod rollups;
mod shared;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod system;
mod vault;
mod viewer;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventId, Timestamp};
use crate::log::Positions;
use crate::query::{Page, Query};
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
use crate::url::Options;
use crate::url::without_secrets;

use hold::Hold;
pub use ledger::{Columns, Held, Kept, KeptRemoval, Ledger, LedgerRow, Sign, Signing, Standing};
pub use prune::{Archived, Archivist, PRUNED, Prune, Pruned, SignRemoval, prune};
pub(crate) use prune::{Going, Hands, announce, yield_to_appends};
pub use record::Record;
pub use registry::{Entry, Registry};
pub use retain::{Month, Retain, Spot, Surveyed};
pub(crate) use rollups::day_of;
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(crate) use rollups::day_of_millis;
pub use rollups::{Rolled, RollupHead, RollupPart, Rollups, StaleDay, WhichParts};
#[cfg(any(feature = "access", feature = "proof", feature = "redact", feature = "seal"))]
pub(crate) use system::{append_system_event, system_event};
pub use vault::{SubjectKey, Vault, Whose};
pub use viewer::seen_by;

/// Takes batches of events, durably.
#[async_trait]
pub trait Appender: Send + Sync + fmt::Debug {
    /// The URL it was opened from, without secrets.
    fn url(&self) -> &str;

    /// Appends a batch; returns once it is durable. The answer has one entry for
    /// each record, in order.
    ///
    /// # Errors
    /// [`ErrorKind::Event`] when some event of the batch can never be appended;
    /// nothing of the batch is then stored, and the caller splits it.
    /// [`ErrorKind::Away`] when the store cannot be reached.
    async fn append(&self, batch: Arc<[Record]>) -> Result<Vec<Appended>>;

    /// Appends a batch that came from a queue in the same database, and acknowledges
    /// in the same transaction what is then stored. `None` if the queue is elsewhere,
    /// or nothing of the batch was new: then nothing was done, and appending says what
    /// became of each.
    ///
    /// # Errors
    /// As [`Appender::append`]; nothing is then acknowledged either.
    async fn append_along(
        &self,
        batch: &Arc<[Record]>,
        along: Along,
    ) -> Result<Option<Vec<Appended>>> {
        let _ = (batch, along);
        Ok(None)
    }

    /// Lets go of the files it has open and opens them anew, as on SIGHUP after
    /// someone moved them. Whoever has no such files has nothing to do.
    ///
    /// # Errors
    /// When it cannot be opened anew.
    async fn reopen(&self) -> Result<()> {
        Ok(())
    }
}

/// An appender that is read, pruned and proved.
#[async_trait]
pub trait Store: Appender {
    /// The event with that id.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn get(&self, id: EventId) -> Result<Option<Stored>>;

    /// One page of the events that match, in order of (`occurred_at`, position).
    ///
    /// # Errors
    /// When the store cannot be read, or the cursor belongs to another query.
    async fn query(&self, query: Query) -> Result<Page>;

    /// Events in order of position, from position `from` on, up to `limit`. A
    /// window once read never changes, save by pruning.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn window(&self, from: u64, limit: usize) -> Result<Vec<Stored>>;

    /// What it holds now.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn stats(&self) -> Result<StoreStats>;

    /// Counts what pruning would remove: events that occurred before `before`.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn prune_plan(&self, before: Timestamp) -> Result<PrunePlan>;

    /// Lists the positions below `below` of the events that pruning would remove: those
    /// that occurred before `before`.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn prune_list(&self, before: Timestamp, below: u64) -> Result<Positions>;

    /// Removes up to `limit` of the events that occurred before `before`, those
    /// with a position below `below`, in one transaction; their ids and
    /// commitments stay. A store that keeps a stretch of time in a table of its own
    /// may drop all of it at once. Answers what was removed; nothing when all is
    /// done.
    ///
    /// # Errors
    /// When the store cannot be written.
    async fn prune_step(&self, before: Timestamp, below: u64, limit: usize) -> Result<Removed>;

    /// The holds that last, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn holds(&self) -> Result<Vec<Hold>>;

    /// Keeps all that fits a hold from now on; a step of a prune that is under way ends
    /// first. Who wants it told calls [`hold::place`].
    ///
    /// # Errors
    /// When the store cannot be written.
    async fn place_hold(&self, hold: &Hold) -> Result<()>;

    /// Ends a hold; answers whether there was one. Who wants it told calls
    /// [`hold::release`].
    ///
    /// # Errors
    /// When the store cannot be written.
    async fn lift_hold(&self, id: EventId) -> Result<bool>;

    /// Its Merkle log, for who signs, proves and verifies it.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if this kind of store shows none.
    fn ledger(&self) -> Result<&dyn Ledger> {
        Err(ledger::without_log(self.url()))
    }

    /// The keys under which personal values are sealed.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if this kind of store keeps none.
    fn vault(&self) -> Result<&dyn Vault> {
        Err(vault::without_vault(self.url()))
    }

    /// Who may use the server.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if this kind of store does not keep that.
    fn registry(&self) -> Result<&dyn Registry> {
        Err(registry::without_registry(self.url()))
    }

    /// Counts of its events.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if this kind of store keeps none.
    fn rollups(&self) -> Result<&dyn Rollups> {
        Err(rollups::without_rollups(self.url()))
    }

    /// What retention by rules looks at and removes.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if nothing is removed from this kind of store by rules.
    fn retain(&self) -> Result<&dyn Retain> {
        Err(retain::without_retention(self.url()))
    }
}

/// What a queue wants done in the transaction that stores its events.
#[derive(Clone, Debug)]
pub struct Along {
    /// The database that the queue is in: its URL, without secrets.
    pub database: String,
    /// The function that acknowledges events by two arrays of 64-bit integers, which
    /// are their receipts.
    pub function: &'static str,
    /// The receipt of each record of the batch, in order.
    pub receipts: Vec<(i64, i64)>,
}

/// What became of one appended record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is stored, at this position. A mirror, which has no positions, answers 0.
    Inserted(u64),
    /// It was there already, with the same bytes.
    Duplicate,
    /// It can never be stored: why. Nothing was changed.
    Refused(String),
}

/// An event at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the order of appends, from 0, without gaps.
    pub position: u64,
    /// The event's id.
    pub id: EventId,
    /// When it was appended, by the store's clock.
    pub appended_at: Timestamp,
    /// The bytes that were appended.
    pub body: Vec<u8>,
}

impl Stored {
    /// Reads the event.
    ///
    /// # Errors
    /// If the bytes are not an event, as when the store was altered.
    pub fn event(&self) -> Result<Event> {
        Event::decode(&self.body).map_err(|error| {
            Error::new(
                ErrorKind::Damaged,
                format!("read event {} at position {}", self.id, self.position),
                &error,
            )
            .caused_by(error)
        })
    }
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Events that are there.
    pub events: u64,
    /// Leaves of the log: events that were ever there.
    pub size: u64,
    /// The earliest `occurred_at`.
    pub oldest: Option<Timestamp>,
    /// The latest `occurred_at`.
    pub newest: Option<Timestamp>,
    /// Bytes that it occupies.
    pub bytes: u64,
}

/// What a prune would remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrunePlan {
    /// Events.
    pub events: u64,
    /// Bytes of those events as encoded.
    pub bytes: u64,
    /// The earliest of them.
    pub oldest: Option<Timestamp>,
    /// The latest of them.
    pub newest: Option<Timestamp>,
    /// The log's size now: the prune touches positions below it only.
    pub below: u64,
    /// Events as old, which stay since they are under a hold.
    pub held: u64,
}

/// What a prune step removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Events.
    pub events: u64,
    /// Bytes of those events as encoded.
    pub bytes: u64,
}

impl Removed {
    pub(crate) fn add(&mut self, more: Self) {
        self.events += more.events;
        self.bytes += more.bytes;
    }
}

/// Opens the store that a URL names.
///
/// # Errors
/// [`ErrorKind::Usage`] for a URL that no backend of this build understands;
/// otherwise what the backend says.
pub async fn open(url: &str) -> Result<Arc<dyn Store>> {
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    refuse_layout(url)?;
    match url.split_once(':') {
        #[cfg(feature = "sqlite")]
        Some(("sqlite", path)) => {
            Ok(Arc::new(sqlite::SqliteStore::open(without_options(path)?).await?))
        }
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => {
            Ok(Arc::new(postgres::PostgresStore::open(url).await?))
        }
        #[cfg(feature = "mysql")]
        Some(("mysql" | "mariadb", _)) => Ok(Arc::new(mysql::MysqlStore::open(url).await?)),
        Some(("archive", _)) => Err(Error::new(
            ErrorKind::Usage,
            format!("open the store {}", without_secrets(url)),
            "an archive is read and verified, and never written to or changed",
        )
        .hint("`annals query --store archive:DIR` reads it, and `history`")),
        Some(("file", _)) => Err(Error::new(
            ErrorKind::Usage,
            format!("read {}", without_secrets(url)),
            "a file has no index to be queried",
        )
        .hint("read it with jq, or store into sqlite:PATH and keep the file as --mirror")),
        _ => Err(unknown(url)),
    }
}

/// Opens the store that a URL names to be read: it must be there already, since
/// looking at a store must not make it.
///
/// # Errors
/// As [`open`]; also if there is no store.
pub async fn open_existing(url: &str) -> Result<Arc<dyn Store>> {
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    refuse_layout(url)?;
    match url.split_once(':') {
        #[cfg(feature = "sqlite")]
        Some(("sqlite", path)) => {
            Ok(Arc::new(sqlite::SqliteStore::open_existing(without_options(path)?).await?))
        }
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => {
            Ok(Arc::new(postgres::PostgresStore::open_existing(url).await?))
        }
        #[cfg(feature = "mysql")]
        Some(("mysql" | "mariadb", _)) => {
            Ok(Arc::new(mysql::MysqlStore::open_existing(url).await?))
        }
        #[cfg(feature = "archive")]
        Some(("archive", directory)) => {
            Ok(Arc::new(crate::archive::Archive::open(directory.as_ref()).await?))
        }
        _ => open(url).await,
    }
}

/// Opens what a worker appends to: a store, or a mirror in its place.
///
/// # Errors
/// As [`open`].
pub async fn open_appender(url: &str) -> Result<Arc<dyn Appender>> {
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    if laravel::AuditsTable::is_named_by(url) {
        return Ok(Arc::new(laravel::AuditsTable::open(url).await?));
    }
    match url.split_once(':') {
        #[cfg(feature = "file")]
        Some(("file", rest)) => Ok(Arc::new(file::FileStore::open(rest).await?)),
        _ => open(url).await.map(|store| store as Arc<dyn Appender>),
    }
}

/// Refuses a URL with a `layout`: its tables are another's, and none of ours are to be
/// made beside them.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
fn refuse_layout(url: &str) -> Result<()> {
    let options = Options::of(url);
    let Some(layout) = options.get("layout") else { return Ok(()) };
    let shown = without_secrets(url);
    Err(match layout {
        "laravel" => Error::new(
            ErrorKind::Usage,
            format!("read {shown}"),
            "the application's own table has no positions and no index to be queried",
        )
        .hint("read it with the application, or make it a --mirror of a store of annals' own"),
        _ => Error::new(
            ErrorKind::Usage,
            format!("open the store {shown}"),
            format!("there is no layout {layout:?}"),
        )
        .hint("use layout=laravel for the table audits of an application, or none"),
    })
}

/// The path of a SQLite store, which has no options: one that is meant for something
/// else must not become part of a file's name.
#[cfg(feature = "sqlite")]
fn without_options(path: &str) -> Result<&str> {
    match path.split_once('?') {
        None => Ok(path),
        Some((path, options)) => Err(Error::new(
            ErrorKind::Usage,
            format!("open the store sqlite:{path}"),
            format!("unknown option {options:?}"),
        )
        .hint("a store in SQLite has no options: leave out what follows the ?")),
    }
}

fn unknown(url: &str) -> Error {
    Error::new(
        ErrorKind::Usage,
        format!("open the store {}", without_secrets(url)),
        "no such kind of store in this build",
    )
    .hint("use sqlite:PATH, postgres://…, mysql://… or file:PATH")
}
