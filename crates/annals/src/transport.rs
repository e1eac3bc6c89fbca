//! The transport: a durable queue between capture and worker.
//!
//! A transport carries opaque bytes under an event id. It promises:
//!
//! - what [`Transport::send`] returned `Ok` for survives a crash, to the degree
//!   that the backend's page documents;
//! - a received event is leased: nobody else receives it until the lease ends,
//!   and if it is neither acknowledged, retried, released nor buried by then, it
//!   is ready again, in its old place;
//! - a receipt whose lease has ended does nothing;
//! - events that are ready are received first in, first out;
//! - a buried event is kept whole, with the reason, until someone revives or
//!   removes it.
//!
//! It does not look into the events, does not make them unique, and does not
//! order events that different workers hold at the same time.

pub mod memory;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(any(feature = "sqlx-sqlite", feature = "postgres", feature = "mysql"))]
mod outbox;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod raw;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "redis")]
pub mod redis_list;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub mod symfony;
pub mod sync;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Result};
use crate::event::{EventId, Timestamp};
use crate::store::Along;
use crate::url::without_secrets;

#[cfg(any(feature = "sqlx-sqlite", feature = "postgres", feature = "mysql"))]
pub use outbox::Outbox;
#[cfg(any(feature = "sqlx-sqlite", feature = "postgres", feature = "mysql"))]
pub(crate) use outbox::Waiting;

/// A durable queue; see the module's promises.
#[async_trait]
pub trait Transport: Send + Sync + fmt::Debug {
    /// The URL it was opened from, without secrets.
    fn url(&self) -> &str;

    /// How a store in the same database acknowledges these in the transaction that
    /// stores them; `None` if only [`Transport::ack`] can.
    fn acknowledgement(&self, receipts: &[Receipt]) -> Option<Along> {
        let _ = receipts;
        None
    }

    /// Takes over a batch: all of it, durably, or nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Full`] at the transport's bound, [`ErrorKind::Away`] when it
    /// cannot be reached.
    async fn send(&self, batch: Arc<[Message]>) -> Result<()>;

    /// Leases up to `want` of what is ready, waiting for the first at most
    /// `want.wait`. An empty answer means that nothing became ready.
    ///
    /// # Errors
    /// When the transport cannot be read.
    async fn receive(&self, want: Want) -> Result<Vec<Delivery>>;

    /// Removes delivered events, which someone has stored durably. Answers how
    /// many of the receipts were still valid.
    ///
    /// # Errors
    /// When the transport cannot be written.
    async fn ack(&self, receipts: &[Receipt]) -> Result<usize>;

    /// Ends the leases; the events are ready again at `at`, with their attempts
    /// counted. Answers as [`Transport::ack`].
    ///
    /// # Errors
    /// When the transport cannot be written.
    async fn retry(&self, receipts: &[Receipt], at: Timestamp) -> Result<usize>;

    /// Ends the leases as if the events had never been received: ready at once,
    /// in their place, the attempt not counted. Answers as [`Transport::ack`].
    ///
    /// # Errors
    /// When the transport cannot be written.
    async fn release(&self, receipts: &[Receipt]) -> Result<usize>;

    /// Moves delivered events to failed, each with its reason and with
    /// the bytes it came with. Answers as [`Transport::ack`].
    ///
    /// # Errors
    /// When the transport cannot be written.
    async fn bury(&self, burials: &[(Receipt, String)]) -> Result<usize>;

    /// Lists buried events, oldest first, those after `after` in that order.
    ///
    /// # Errors
    /// When the transport cannot be read.
    async fn buried(&self, after: Option<u64>, limit: usize) -> Result<Vec<Buried>>;

    /// Makes buried events ready again, as if they were sent now, in the order of
    /// their burial.
    /// Answers how many there were.
    ///
    /// # Errors
    /// When the transport cannot be written.
    async fn revive(&self, which: Which<'_>) -> Result<usize>;

    /// Removes buried events for ever. Answers how many there were.
    ///
    /// # Errors
    /// When the transport cannot be written.
    async fn remove(&self, which: Which<'_>) -> Result<usize>;

    /// How full the memory is in which it keeps what waits, from 0 to 1; `None` where
    /// nothing is lost when it is full: it is on disk, or who sends has a spool.
    ///
    /// # Errors
    /// When the transport cannot be read.
    async fn fullness(&self) -> Result<Option<f64>> {
        Ok(None)
    }

    /// What it holds now.
    ///
    /// # Errors
    /// When the transport cannot be read.
    async fn stats(&self) -> Result<TransportStats>;
}

/// An encoded event on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The event's id.
    pub id: EventId,
    /// The encoded event, opaque to the transport.
    pub body: Vec<u8>,
}

/// How much to receive.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// Events, at most.
    pub events: usize,
    /// Bytes of bodies: no further event is added once they are reached.
    pub bytes: usize,
    /// For how long nobody else may receive them.
    pub lease: Duration,
    /// How long to wait for the first one.
    pub wait: Duration,
}

impl Want {
    /// Up to `events` now, leased for a minute, up to 16 MiB, without waiting.
    #[must_use]
    pub fn up_to(events: usize) -> Self {
        Self {
            events,
            bytes: 16 * 1024 * 1024,
            lease: Duration::from_secs(60),
            wait: Duration::ZERO,
        }
    }
}

/// One event leased to one worker.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The event's id.
    pub id: EventId,
    /// The bytes that were sent.
    pub body: Vec<u8>,
    /// How often it has been received, this time included.
    pub attempts: u32,
    /// What to acknowledge it with.
    pub receipt: Receipt,
    /// Why this is no event, where that was found on reading what others had put into
    /// the queue in a shape of theirs. It is to be buried; the id only names it.
    pub refused: Option<String>,
}

/// Names a delivery: which event, under which lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// The event's place in the transport, as the backend counts it.
    pub key: u128,
    /// The lease under which it was received.
    pub lease: u64,
}

/// An event that could not be stored, kept whole.
#[derive(Clone, Debug)]
pub struct Buried {
    /// Its number among the buried, for [`Transport::buried`] to go on after.
    pub number: u64,
    /// The event's id.
    pub id: EventId,
    /// The bytes that were sent.
    pub body: Vec<u8>,
    /// Why it could not be stored.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was given up.
    pub failed_at: Timestamp,
}

/// Which of the buried events.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// Those with these event ids.
    Ids(&'a [EventId]),
    /// Every one.
    All,
}

/// What a transport holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportStats {
    /// Events that a worker could receive now.
    pub ready: u64,
    /// Events that a worker holds, or that wait for their retry.
    pub leased: u64,
    /// Buried events.
    pub failed: u64,
    /// When the oldest event that is not buried was sent.
    pub oldest: Option<Timestamp>,
    /// Bytes that it occupies, where the backend can tell.
    pub bytes: Option<u64>,
}

/// Where a transport's and a store's URL may lead, and by which name. The one
/// place that knows every backend.
///
/// # Errors
/// [`ErrorKind::Usage`] for a URL that no backend of this build understands;
/// otherwise what the backend says.
pub async fn open(url: &str) -> Result<Arc<dyn Transport>> {
    match url.split_once(':') {
        Some(("memory", _)) => Ok(Arc::new(memory::MemoryTransport::new())),
        Some(("sync", rest)) => {
            Ok(Arc::new(sync::SyncTransport::new(crate::store::open(rest).await?)))
        }
        #[cfg(feature = "sqlite")]
        Some(("sqlite", rest)) => Ok(Arc::new(sqlite::SqliteTransport::open(rest).await?)),
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => {
            Ok(Arc::new(postgres::PostgresTransport::open(url).await?))
        }
        #[cfg(feature = "redis")]
        Some(("redis+list" | "rediss+list", _)) => {
            Ok(Arc::new(redis_list::RedisListTransport::open(url).await?))
        }
        #[cfg(feature = "redis")]
        Some(("redis" | "rediss", _)) => Ok(Arc::new(redis::RedisTransport::open(url).await?)),
        #[cfg(feature = "mysql")]
        Some(("mysql" | "mariadb", _)) => Ok(Arc::new(mysql::MysqlTransport::open(url).await?)),
        #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
        Some((
            "symfony+postgres" | "symfony+postgresql" | "symfony+mysql" | "symfony+mariadb"
            | "symfony+sqlite",
            _,
        )) => Ok(Arc::new(symfony::SymfonyTransport::open(url).await?)),
        _ => Err(Error::new(
            ErrorKind::Usage,
            format!("open the transport {}", without_secrets(url)),
            "no such kind of transport in this build",
        )
        .hint(
            "use memory:, sync:STORE-URL, sqlite:PATH, postgres://…, mysql://…, redis://…, redis+list://… or symfony+postgres://… (symfony+mysql, symfony+sqlite)",
        )),
    }
}

/// Whether only another application fills the queue that a URL names, in a shape of its
/// own, so that [`Transport::send`] is refused.
#[must_use]
pub fn is_foreign(url: &str) -> bool {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    scheme.starts_with("symfony+") || scheme.ends_with("+list")
}

/// Writes the SQLite database of a queue anew without what was deleted from it: no byte
/// of an event that left it is in its files any more.
///
/// # Errors
/// [`ErrorKind::Away`] while somebody reads or writes it for long.
#[cfg(feature = "sqlite")]
pub async fn compact(path: &std::path::Path) -> Result<()> {
    crate::sqlite::compact(path.to_path_buf(), "the transport").await
}

/// The id beside a body. Whoever enqueues with a statement of their own may have
/// put something else there; then the event's own id counts, and what is no event
/// gets one that lets it be named among the failed.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "redis", feature = "sqlite"))]
pub(crate) fn id_beside(id: &[u8], body: &[u8]) -> EventId {
    let given = <[u8; 16]>::try_from(id).ok().and_then(EventId::from_bytes);
    let own = || crate::store::Record::decode(body.to_vec()).ok().map(|record| record.id);
    let named = || {
        let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        EventId::derived(Timestamp::MIN, "", "annals_queue", &hex)
    };
    given.or_else(own).unwrap_or_else(named)
}

/// A lease id that no other receive has, here or elsewhere. Never 0, which
/// stands for no lease.
pub(crate) fn random_lease() -> u64 {
    // Without randomness the clock tells leases apart well enough.
    getrandom::u64()
        .unwrap_or_else(|_| Timestamp::now().as_micros().unsigned_abs())
        // SQL databases keep it in a signed 64-bit integer.
        .rem_euclid(1 << 62)
        .max(1)
}
