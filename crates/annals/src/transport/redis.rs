//! The transport on a Redis stream: a durable queue for any number of machines.
//!
//! An event is as durable when [`Transport::send`] returns as the server's
//! `appendfsync` makes it; with `replicas=N` in the URL so many replicas have it too.
//! It rests in the stream until it is acknowledged, and is removed then, so that the
//! stream holds what waits and nothing else. Nothing is ever trimmed.
//!
//! A consumer group says what has been delivered. A consumer of it is one lease: the
//! entries that one receive took, until they are settled or the lease ends; when
//! that is stands in a sorted set beside the stream. What leases that have ended
//! held is moved to the consumer `free`, from which it is delivered again before
//! anything newer. Each operation is one script, so that nobody sees half of it.
//!
//! Who waits is woken by the stream, on a connection of its own, and looks again
//! four times a second for what was released or is due.
//!
//! A server that was emptied, or replaced by a replica that knows less, is told of
//! as an error in the log, once; the group is made again, and what is in the stream
//! is delivered.

mod queue;

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, OnceCell};
use tokio::time::{Instant, timeout_at};

use super::{Buried, Delivery, Message, Receipt, Transport, TransportStats, Want, Which};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Timestamp;
pub use crate::redis::Promises;
use crate::redis::Server;
use queue::{Keys, Received};

/// How long the replicas of `replicas=N` have to confirm what was sent.
const CONFIRM: Duration = Duration::from_secs(1);

/// How often it is looked whether deliveries are there of which no lease is known.
const LOOK_AFTER_LEASES: Duration = Duration::from_secs(60);

/// A queue in a Redis stream.
#[derive(Debug)]
pub struct RedisTransport {
    server: Server,
    keys: Keys,
    /// How many replicas confirm what is sent.
    replicas: u32,
    /// Whether the server is known to be new enough.
    checked: OnceCell<()>,
    seen: Mutex<Seen>,
    /// Told of what this handle sent, released or found.
    arrived: Notify,
}

/// What this handle has seen of the server, by which it knows it again.
#[derive(Debug, Default)]
struct Seen {
    /// Whether the group was there.
    group: bool,
    /// When the group and its leases were looked at; not, if the group has gone.
    looked: Option<Instant>,
    /// How many leases there had been.
    leases: u64,
}

impl RedisTransport {
    /// What the server's settings promise.
    ///
    /// # Errors
    /// When the server cannot be reached, or this user has no right to `INFO`.
    pub async fn promises(&self) -> Result<Promises> {
        self.server.promises().await
    }

    /// Opens the stream of a `redis://` or `rediss://` URL, and makes its group if it
    /// is not there. A server that is away is no error: each call says so until it
    /// is back, and capturing goes to the spool meanwhile.
    ///
    /// # Errors
    /// When the URL cannot be understood, or the server is too old.
    pub async fn open(url: &str) -> Result<Self> {
        let server = Server::new(url, "the transport", &["stream", "group", "replicas"])?;
        let wrong = |found: String, hint| {
            Error::new(ErrorKind::Usage, server.doing("open"), found).hint(hint)
        };
        let option = |name| server.option(name).unwrap_or("annals");
        let keys = Keys::of(option("stream"), option("group"))
            .ok_or_else(|| wrong("the stream has no name".to_owned(), "such as stream=annals"))?;
        let replicas = match server.option("replicas") {
            None => 0,
            Some(number) => number.parse().map_err(|_| {
                wrong(format!("replicas={number}"), "write how many replicas confirm each event")
            })?,
        };
        if replicas > 0 && server.cluster() {
            let hint = "set min-replicas-to-write on its masters";
            return Err(wrong("replicas= is for a server, not for a cluster".to_owned(), hint));
        }
        let transport = Self {
            server,
            keys,
            replicas,
            checked: OnceCell::new(),
            seen: Mutex::default(),
            arrived: Notify::new(),
        };
        match transport.prepare().await {
            Err(error) if error.kind() != ErrorKind::Away => Err(error),
            _ => Ok(transport),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the group, if it is not there.
    async fn prepare(&self) -> Result<()> {
        self.checked.get_or_try_init(|| self.server.check()).await?;
        if self.seen().looked.is_some_and(|looked| looked.elapsed() < LOOK_AFTER_LEASES) {
            return Ok(());
        }
        let made = queue::prepare(&self.server, &self.keys).await?;
        let known = {
            let mut seen = self.seen();
            if made {
                seen.leases = 0;
            }
            seen.looked = Some(Instant::now());
            std::mem::replace(&mut seen.group, true)
        };
        if made && known {
            tracing::error!(
                target: "annals::transport",
                transport = self.server.url(),
                stream = self.keys.stream,
                "the stream or its group has vanished, and what was in it with it: somebody \
                 removed it or emptied the server, or another server answers now; the group \
                 is made again",
            );
        }
        Ok(())
    }

    /// Compares how many leases the server knew with how many it had known when it
    /// was `asked`.
    fn notice(&self, asked: u64, leases: &Range<u64>) {
        let mut seen = self.seen();
        if leases.start >= asked || seen.leases < asked {
            seen.leases = seen.leases.max(leases.end);
            return;
        }
        seen.leases = leases.end;
        drop(seen);
        tracing::error!(
            target: "annals::transport",
            transport = self.server.url(),
            stream = self.keys.stream,
            had = asked,
            has = leases.start,
            "the server has gone back to an earlier state: a replica that knew less, or an older \
             copy, answers now; what was sent between is lost, and what was acknowledged \
             between is delivered again",
        );
    }

    async fn receive_now(&self, want: Want) -> Result<Received> {
        loop {
            self.prepare().await?;
            let asked = self.seen().leases;
            let received = queue::receive(&self.server, &self.keys, want).await?;
            let Some(received) = received else {
                // The group has gone: it is looked for again.
                self.seen().looked = None;
                continue;
            };
            self.notice(asked, &received.leases);
            if !received.more {
                return Ok(received);
            }
        }
    }
}

#[async_trait]
impl Transport for RedisTransport {
    fn url(&self) -> &str {
        self.server.url()
    }

    async fn send(&self, batch: Arc<[Message]>) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let confirmed =
            queue::send(&self.server, &self.keys, &batch, self.replicas, CONFIRM).await?;
        self.arrived.notify_waiters();
        if confirmed < self.replicas {
            let found = format!("{confirmed} of {} replicas confirmed it in time", self.replicas);
            return Err(Error::new(ErrorKind::Away, self.server.doing("send to"), found)
                .hint("look at the server's replicas, or lower replicas= in the URL"));
        }
        Ok(())
    }

    async fn receive(&self, want: Want) -> Result<Vec<Delivery>> {
        // What others release or retry becomes ready without anyone arriving.
        const LOOK_AGAIN: Duration = Duration::from_millis(250);
        let until = Instant::now() + want.wait;
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            let received = self.receive_now(want).await?;
            let left = until.saturating_duration_since(Instant::now());
            if !received.deliveries.is_empty() || left.is_zero() {
                return Ok(received.deliveries);
            }
            let wait = received.due.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN).min(left);
            let at = Instant::now() + wait;
            tokio::select! {
                biased;
                _ = timeout_at(at, arrived) => {}
                came = queue::wait(&self.server, &self.keys, received.place, wait) => {
                    if came? {
                        self.arrived.notify_waiters();
                    }
                }
            }
        }
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<usize> {
        queue::settle(&self.server, &self.keys, queue::Settle::Ack, receipts).await
    }

    async fn retry(&self, receipts: &[Receipt], at: Timestamp) -> Result<usize> {
        queue::settle(&self.server, &self.keys, queue::Settle::Retry(at), receipts).await
    }

    async fn release(&self, receipts: &[Receipt]) -> Result<usize> {
        let released =
            queue::settle(&self.server, &self.keys, queue::Settle::Release, receipts).await?;
        self.arrived.notify_waiters();
        Ok(released)
    }

    async fn bury(&self, burials: &[(Receipt, String)]) -> Result<usize> {
        queue::bury(&self.server, &self.keys, burials).await
    }

    async fn buried(&self, after: Option<u64>, limit: usize) -> Result<Vec<Buried>> {
        queue::buried(&self.server, &self.keys, after, limit).await
    }

    async fn revive(&self, which: Which<'_>) -> Result<usize> {
        let revived = queue::failed(&self.server, &self.keys, "revive", which).await?;
        self.arrived.notify_waiters();
        Ok(revived)
    }

    async fn remove(&self, which: Which<'_>) -> Result<usize> {
        queue::failed(&self.server, &self.keys, "remove", which).await
    }

    async fn stats(&self) -> Result<TransportStats> {
        queue::stats(&self.server, &self.keys).await
    }
}
