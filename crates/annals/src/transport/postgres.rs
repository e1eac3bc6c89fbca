//! The transport in a PostgreSQL database: a durable queue for any number of
//! machines, and the outbox in an application's own transactions.
//!
//! An event is durable when [`Transport::send`] returns, to the degree that the
//! server's `synchronous_commit` and `fsync` promise. Leases and acknowledgements
//! are committed without waiting for the disk: a crash of the server may take the
//! last of them back, and then an event is delivered again, which the store's
//! idempotence makes harmless.
//!
//! Who enqueues sends a notification only while a worker waits; a worker that
//! waits also looks again, ten times a second at the least.

mod queue;
mod record_in;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, OnceCell};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::{Buried, Delivery, Message, Receipt, Transport, TransportStats, Waiting, Want, Which};
use crate::error::{ErrorKind, Result};
use crate::event::Timestamp;
pub use crate::postgres::Promises;
use crate::postgres::{Pool, Server, number};
use crate::store::Along;
pub(crate) use queue::QUEUE;

/// Inserts one event, for applications that enqueue inside their own transaction
/// with another driver than sqlx. Its values are `$1` the event's id (16 bytes),
/// `$2` the time in microseconds since 1970, `$3` the encoded event
/// ([`crate::Audit::prepare`] gives all three).
///
/// From other languages, `SELECT annals_record('{…}')` takes an event as JSON.
pub const ENQUEUE: &str = "INSERT INTO annals_queue (id, sent_at, body) VALUES \
     (encode($1::bytea, 'hex')::uuid, timestamptz 'epoch' + $2::int8 * interval '1 microsecond', $3::bytea) \
     RETURNING (SELECT pg_notify('annals_queue', '') \
     FROM annals_idle WHERE until > clock_timestamp() LIMIT 1)::text";

/// How long a worker is known to wait, after it has said so.
const IDLE: Duration = Duration::from_secs(2);

/// A queue in a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresTransport {
    server: Server,
    /// Whether the tables are known to be there.
    prepared: OnceCell<()>,
    /// Told of events of this process, and by the listener of others'.
    arrived: Arc<Notify>,
    /// Hears the notifications, once somebody has waited.
    listener: OnceLock<AbortHandle>,
    /// What this handle is called while it waits.
    worker: i64,
    /// Until when the others know that it waits.
    idle: Mutex<Option<Instant>>,
}

impl PostgresTransport {
    /// Opens the database of a `postgres://` URL, and makes the tables if they are
    /// not there. A server that is away is no error: each call says so until it
    /// is back, and capturing goes to the spool meanwhile.
    ///
    /// # Errors
    /// When the URL cannot be understood, the server is too old, or its tables are
    /// of a newer version.
    pub async fn open(url: &str) -> Result<Self> {
        let transport = Self {
            server: Server::new(url, "the transport", &[])?,
            prepared: OnceCell::new(),
            arrived: Arc::new(Notify::new()),
            listener: OnceLock::new(),
            worker: number(super::random_lease()),
            idle: Mutex::default(),
        };
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

    fn idle(&self) -> MutexGuard<'_, Option<Instant>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets those who enqueue know that someone waits; answers whether they did
    /// already.
    async fn say_idle(&self) -> Result<bool> {
        let now = Instant::now();
        if self.idle().is_some_and(|until| until > now + IDLE / 2) {
            return Ok(true);
        }
        self.listener.get_or_init(|| {
            let (pool, arrived) = (self.server.pool(), Arc::clone(&self.arrived));
            self.server.spawn(listen(pool, arrived))
        });
        let worker = self.worker;
        self.server()
            .await?
            .brief("wait for events of", move |pool| queue::idle(pool, worker, IDLE))
            .await?;
        Ok(self.idle().replace(now + IDLE).is_some_and(|until| until > now))
    }

    /// From now on nobody need notify.
    async fn say_busy(&self) -> Result<()> {
        if self.idle().take().is_none() {
            return Ok(());
        }
        let worker = self.worker;
        self.server().await?.brief("receive from", move |pool| queue::busy(pool, worker)).await
    }
}

/// Tells `arrived` of every notification, for ever. Where there are none, events are
/// found by looking, a little later.
async fn listen(pool: Pool, arrived: Arc<Notify>) {
    const PAUSE: Duration = Duration::from_secs(1);
    loop {
        let listener = pool.listener().await;
        if let Ok(None) = listener {
            return;
        }
        if let Ok(Some(mut listener)) = listener
            && listener.listen("annals_queue").await.is_ok()
        {
            arrived.notify_waiters();
            while listener.recv().await.is_ok() {
                arrived.notify_waiters();
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Drop for PostgresTransport {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.get() {
            listener.abort();
        }
    }
}

#[async_trait]
impl Transport for PostgresTransport {
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
        // What waits for its retry becomes ready without anyone arriving.
        const LOOK_AGAIN: Duration = Duration::from_millis(100);
        // Those who had just asked have looked again by then.
        const LOOK_SOON: Duration = Waiting::KNOWN.saturating_mul(2);
        let until = Instant::now() + want.wait;
        let mut again = LOOK_AGAIN;
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            let work = move |pool| queue::receive(pool, want);
            let deliveries = self.server().await?.brief("receive from", work).await?;
            if !deliveries.is_empty() {
                let _ = self.say_busy().await;
                return Ok(deliveries);
            }
            if Instant::now() >= until {
                return Ok(deliveries);
            }
            // What was sent before anybody could know is found by another look.
            if self.say_idle().await? {
                let next = until.min(Instant::now() + again);
                let _ = timeout_at(next, arrived).await;
                again = LOOK_AGAIN;
            } else {
                again = LOOK_SOON;
            }
        }
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<usize> {
        let receipts = queue::Receipts::from(receipts);
        self.server().await?.brief("acknowledge to", |pool| queue::ack(pool, receipts)).await
    }

    async fn retry(&self, receipts: &[Receipt], at: Timestamp) -> Result<usize> {
        let receipts = queue::Receipts::from(receipts);
        self.server()
            .await?
            .brief("put back into", move |pool| queue::retry(pool, receipts, at))
            .await
    }

    async fn release(&self, receipts: &[Receipt]) -> Result<usize> {
        let receipts = queue::Receipts::from(receipts);
        let released =
            self.server().await?.brief("release to", |pool| queue::release(pool, receipts)).await?;
        self.arrived.notify_waiters();
        Ok(released)
    }

    async fn bury(&self, burials: &[(Receipt, String)]) -> Result<usize> {
        let burials = burials.to_vec();
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
