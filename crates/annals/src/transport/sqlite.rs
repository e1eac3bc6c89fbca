//! The transport in a SQLite database: the embedded default, and the spool.
//!
//! One database file, any number of processes. An event is durable when
//! [`Transport::send`] returns: `synchronous=FULL`, one sync of the write-ahead
//! log for a whole batch. Leases and acknowledgements are written without a sync
//! of their own: a power failure may take the last of them back, and then an
//! event is delivered again, which the store's idempotence makes harmless.
//!
//! It is not for databases on a network file system, whose locks SQLite cannot
//! trust.

mod queue;
#[cfg(feature = "sqlx-sqlite")]
mod record_in;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::{Buried, Delivery, Message, Receipt, Transport, TransportStats, Want, Which};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Timestamp;
use crate::sqlite::{Connection, Journal, Open};

/// Inserts one event, for applications that enqueue inside their own transaction
/// with another driver than sqlx. Its values are `?1` the event's id (16 bytes),
/// `?2` the time in microseconds since 1970, `?3` the encoded event
/// ([`crate::Audit::prepare`] gives all three).
pub const ENQUEUE: &str = "INSERT INTO annals_queue (seq, id, sent_at, body) VALUES (\
     1 + max(coalesce((SELECT max(seq) FROM annals_queue), 0), \
             (SELECT leased FROM annals_queue_head)), ?1, ?2, ?3)";

pub(crate) use queue::prepare as prepare_queue;

/// A queue in a SQLite database.
#[derive(Debug)]
pub struct SqliteTransport {
    connection: Connection,
    arrived: Notify,
    max_bytes: u64,
}

impl SqliteTransport {
    /// Bytes that the database may occupy, at most, unless told otherwise: 8 GiB,
    /// about twelve million events of 600 bytes.
    pub const MAX_BYTES: u64 = 8 * 1024 * 1024 * 1024;

    /// Opens the database `path`, and makes it and its tables if they are not
    /// there. `path` may end in `?max_bytes=N`.
    ///
    /// # Errors
    /// When the file cannot be opened, is damaged or of a newer version.
    pub async fn open(path: &str) -> Result<Self> {
        let (path, options) = path.split_once('?').unwrap_or((path, ""));
        let mut max_bytes = Self::MAX_BYTES;
        for option in options.split('&').filter(|option| !option.is_empty()) {
            max_bytes = option
                .strip_prefix("max_bytes=")
                .and_then(|bytes| bytes.parse().ok())
                .ok_or_else(|| {
                    Error::new(
                        ErrorKind::Usage,
                        format!("open the transport sqlite:{path}"),
                        format!("unknown option {option:?}"),
                    )
                    .hint("use ?max_bytes=N, in bytes")
                })?;
        }
        let open = Open {
            path: PathBuf::from(path),
            what: "transport",
            write: true,
            journal: Journal::Ours,
        };
        let connection = Connection::open(open, queue::prepare).await?;
        Ok(Self { connection, arrived: Notify::new(), max_bytes })
    }

    /// Keeps among the failed what came from elsewhere and is no event, whole and with
    /// the reason; what is there already is not kept twice. Answers how many are new.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn keep_failed(&self, failed: Vec<(Message, String)>) -> Result<usize> {
        let work = move |db: &mut _| queue::keep_failed(db, &failed);
        self.connection.call("keep the failed in", work).await
    }
}

#[async_trait]
impl Transport for SqliteTransport {
    fn url(&self) -> &str {
        self.connection.url()
    }

    async fn send(&self, batch: Arc<[Message]>) -> Result<()> {
        let max_bytes = self.max_bytes;
        let work = move |db: &mut _| queue::send(db, &batch, max_bytes);
        self.connection.call("send to", work).await?;
        self.arrived.notify_waiters();
        Ok(())
    }

    async fn receive(&self, want: Want) -> Result<Vec<Delivery>> {
        // Another process's events arrive without a notification, so the queue
        // is looked at again and again, less often the longer it stays empty.
        const FIRST: Duration = Duration::from_millis(5);
        const LONGEST: Duration = Duration::from_millis(100);
        let until = Instant::now() + want.wait;
        let mut pause = FIRST;
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            let deliveries =
                self.connection.call("receive from", move |db| queue::receive(db, want)).await?;
            if !deliveries.is_empty() || Instant::now() >= until {
                return Ok(deliveries);
            }
            let next = until.min(Instant::now() + pause);
            // Either way, the next turn looks.
            let _ = timeout_at(next, arrived).await;
            pause = LONGEST.min(pause * 2);
        }
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<usize> {
        let receipts = receipts.to_vec();
        self.connection.call("acknowledge to", move |db| queue::ack(db, &receipts)).await
    }

    async fn retry(&self, receipts: &[Receipt], at: Timestamp) -> Result<usize> {
        let receipts = receipts.to_vec();
        self.connection.call("put back into", move |db| queue::retry(db, &receipts, at)).await
    }

    async fn release(&self, receipts: &[Receipt]) -> Result<usize> {
        let receipts = receipts.to_vec();
        let released =
            self.connection.call("release to", move |db| queue::release(db, &receipts)).await?;
        self.arrived.notify_waiters();
        Ok(released)
    }

    async fn bury(&self, burials: &[(Receipt, String)]) -> Result<usize> {
        let burials = burials.to_vec();
        self.connection.call("bury in", move |db| queue::bury(db, &burials)).await
    }

    async fn buried(&self, after: Option<u64>, limit: usize) -> Result<Vec<Buried>> {
        let work = move |db: &mut _| queue::buried(db, after, limit);
        self.connection.call("list the failed of", work).await
    }

    async fn revive(&self, which: Which<'_>) -> Result<usize> {
        let which = queue::Chosen::from(which);
        let revived =
            self.connection.call("revive in", move |db| queue::revive(db, &which)).await?;
        self.arrived.notify_waiters();
        Ok(revived)
    }

    async fn remove(&self, which: Which<'_>) -> Result<usize> {
        let which = queue::Chosen::from(which);
        self.connection.call("remove from", move |db| queue::remove(db, &which)).await
    }

    async fn stats(&self) -> Result<TransportStats> {
        self.connection.call("read the figures of", queue::stats).await
    }
}
