//! The transport in a MariaDB or MySQL database: a durable queue for any number of
//! machines, and the outbox in an application's own transactions.
//!
//! An event is durable when [`Transport::send`] returns, to the degree that the
//! server's `innodb_flush_log_at_trx_commit` promises: 1, its default, is a sync of
//! the log at each commit. Leases and acknowledgements are commits like any other,
//! since a session cannot ask for less.
//!
//! These servers cannot notify. A worker that waits hears of what its own process
//! sends, and looks for the rest less often the longer nothing comes, up to five times
//! a second.

mod queue;
mod record_in;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, OnceCell};
use tokio::time::{Instant, timeout_at};

use super::{Buried, Delivery, Message, Receipt, Transport, TransportStats, Want, Which};
use crate::error::{ErrorKind, Result};
use crate::event::Timestamp;
pub use crate::mysql::Promises;
use crate::mysql::Server;
use crate::store::Along;
pub(crate) use queue::QUEUE;

/// Inserts one event, for applications that enqueue inside their own transaction with
/// another driver than sqlx. Its values are, in this order, the event's id (16 bytes),
/// the time in microseconds since 1970, and the encoded event
/// ([`crate::Audit::prepare`] gives all three).
///
/// From other languages, `CALL annals_record('{…}')` takes an event as JSON.
pub const ENQUEUE: &str = "INSERT INTO annals_queue (id, sent_at, body) VALUES (?, ?, ?)";

/// A queue in a MariaDB or MySQL database.
#[derive(Debug)]
pub struct MysqlTransport {
    server: Server,
    /// Whether the tables are known to be there.
    prepared: OnceCell<()>,
    /// Told of events of this process.
    arrived: Notify,
}

impl MysqlTransport {
    /// Opens the database of a `mysql://` URL, and makes the tables if they are not
    /// there. A server that is away is no error: each call says so until it is back,
    /// and capturing goes to the spool meanwhile.
    ///
    /// # Errors
    /// When the URL cannot be understood, the server is too old, or its tables are of
    /// a newer version.
    pub async fn open(url: &str) -> Result<Self> {
        let server = Server::new(url, "the transport")?;
        let transport = Self { server, prepared: OnceCell::new(), arrived: Notify::new() };
        match transport.server().await {
            Err(error) if error.kind() != ErrorKind::Away => Err(error),
            _ => Ok(transport),
        }
    }

    /// The server, with its tables.
    async fn server(&self) -> Result<&Server> {
        self.prepared.get_or_try_init(|| QUEUE.prepare(&self.server)).await?;
        Ok(&self.server)
    }
}

#[async_trait]
impl Transport for MysqlTransport {
    fn url(&self) -> &str {
        self.server.url()
    }

    fn acknowledgement(&self, receipts: &[Receipt]) -> Option<Along> {
        Some(queue::acknowledgement(self.server.url(), receipts))
    }

    async fn send(&self, batch: Arc<[Message]>) -> Result<()> {
        self.server().await?.brief("send to", move |pool| queue::send(pool, batch)).await?;
        self.arrived.notify_waiters();
        Ok(())
    }

    async fn receive(&self, want: Want) -> Result<Vec<Delivery>> {
        const FIRST: Duration = Duration::from_millis(10);
        const LONGEST: Duration = Duration::from_millis(200);
        let until = Instant::now() + want.wait;
        let mut pause = FIRST;
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            let work = move |pool| queue::receive(pool, want);
            let deliveries = self.server().await?.brief("receive from", work).await?;
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
        let receipts = queue::json(receipts);
        self.server().await?.brief("acknowledge to", |pool| queue::ack(pool, receipts)).await
    }

    async fn retry(&self, receipts: &[Receipt], at: Timestamp) -> Result<usize> {
        let receipts = queue::json(receipts);
        self.server()
            .await?
            .brief("put back into", move |pool| queue::retry(pool, receipts, at))
            .await
    }

    async fn release(&self, receipts: &[Receipt]) -> Result<usize> {
        let receipts = queue::json(receipts);
        let released =
            self.server().await?.brief("release to", |pool| queue::release(pool, receipts)).await?;
        self.arrived.notify_waiters();
        Ok(released)
    }

    async fn bury(&self, burials: &[(Receipt, String)]) -> Result<usize> {
        let burials = queue::json_with_reasons(burials);
        self.server().await?.brief("bury in", |pool| queue::bury(pool, burials)).await
    }

    async fn buried(&self, after: Option<u64>, limit: usize) -> Result<Vec<Buried>> {
        let work = move |pool| queue::buried(pool, after, limit);
        self.server().await?.brief("list the failed of", work).await
    }

    async fn revive(&self, which: Which<'_>) -> Result<usize> {
        let which = queue::Chosen::from(which);
        let revived =
            self.server().await?.brief("revive in", |pool| queue::revive(pool, which)).await?;
        self.arrived.notify_waiters();
        Ok(revived)
    }

    async fn remove(&self, which: Which<'_>) -> Result<usize> {
        let which = queue::Chosen::from(which);
        self.server().await?.brief("remove from", |pool| queue::remove(pool, which)).await
    }

    async fn stats(&self) -> Result<TransportStats> {
        self.server().await?.brief("read the figures of", queue::stats).await
    }
}
