//! A Redis list that an application fills with events in a shape of its own, in the
//! place of the application's own worker.
//!
//! The list is read, and never more than that: its name and what is pushed to it are the
//! application's. A receive moves events from it, in the same step, to a list of the
//! lease's own, so that they are in Redis at every moment until they are stored;
//! what a dead worker held is taken over when its lease ends. All of ours lies under
//! keys that begin with the list's name in braces, so that a Redis Cluster keeps them
//! beside it.
//!
//! What is no event of the shape is kept among the failed, as it came, with the reason;
//! reviving it puts it at the list's end. Events are as durable as the server's
//! `appendfsync` makes them, which is the application's choice.
//!
//! | option | |
//! |---|---|
//! | `key=audit_pkg:buffer` | the list, with the prefix that Laravel puts before it |
//! | `timezone=UTC` | the zone of the application's clock |
//! | `tenant=`, `source=laravel` | whose events they are |
//! | `redact=pin,iban` | further fields that hold secrets, see [`crate::foreign::Secrets`] |

mod held;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};

use super::{
    Buried, Delivery, Message, Receipt, Transport, TransportStats, Want, Which, random_lease,
};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{EventId, Timestamp};
use crate::foreign::laravel::Laravel;
pub use crate::redis::Promises;
use crate::redis::Server;
use held::{Failure, Keys, Received};

/// The options that are ours; the others are the connection's.
const OPTIONS: [&str; 5] = ["key", "timezone", "tenant", "source", "redact"];

/// The list's name if the URL gives none: the default of laravel-async-audit-logger,
/// behind Laravel's default prefix.
const KEY: &str = "laravel_database_audit_pkg:buffer";

/// Failed events that are looked at in one step.
const PAGE: usize = 500;

/// A list of a Redis server.
#[derive(Debug)]
pub struct RedisListTransport {
    server: Server,
    keys: Keys,
    laravel: Laravel,
}

impl RedisListTransport {
    /// Opens the list of a `redis+list://` URL. A server that is away is no error: each
    /// call says so until it is back. A list that is not there is empty.
    ///
    /// # Errors
    /// When the URL cannot be understood, or the server is too old.
    pub async fn open(url: &str) -> Result<Self> {
        let server = Server::new(url, "the transport", &OPTIONS)?;
        let laravel = Laravel::of(url)
            .map_err(|what| Error::new(ErrorKind::Usage, server.doing("open"), what))?;
        let keys = Keys::of(server.option("key").unwrap_or(KEY));
        match server.check().await {
            Err(error) if error.kind() != ErrorKind::Away => Err(error),
            _ => Ok(Self { server, keys, laravel }),
        }
    }

    /// What the server's settings promise.
    ///
    /// # Errors
    /// When the server cannot be reached, or this user has no right to `INFO`.
    pub async fn promises(&self) -> Result<Promises> {
        self.server.promises().await
    }

    /// The name of the list.
    #[must_use]
    pub fn key(&self) -> &str {
        self.keys.list()
    }

    /// Lists of this database whose first entry is such a row, with how many wait in
    /// each, by their names: the application's may have another prefix than was thought.
    /// Looks at 100,000 keys at most, and on a cluster at none.
    ///
    /// # Errors
    /// When the server cannot be reached, or this user may not look for keys.
    pub async fn likely(&self) -> Result<Vec<(String, u64)>> {
        const DOING: &str = "look for lists in";
        const STEPS: usize = 100;
        let mut likely = Vec::new();
        let mut cursor = "0".to_owned();
        for _ in 0..if self.server.cluster() { 0 } else { STEPS } {
            let mut scan = redis::cmd("SCAN");
            scan.arg(&cursor).arg("TYPE").arg("list").arg("COUNT").arg(1000);
            let (next, names): (String, Vec<Vec<u8>>) = self.server.command(DOING, scan).await?;
            for name in names.into_iter().filter_map(|name| String::from_utf8(name).ok()) {
                let mut first = redis::cmd("LINDEX");
                first.arg(&name).arg(0);
                let first: Option<Vec<u8>> = self.server.command(DOING, first).await?;
                if first.is_some_and(|first| self.laravel.event(&first).is_ok()) {
                    let mut length = redis::cmd("LLEN");
                    length.arg(&name);
                    likely.push((name, self.server.command(DOING, length).await?));
                }
            }
            cursor = next;
            if cursor == "0" {
                break;
            }
        }
        // What a lease of ours holds has the same shape.
        likely.retain(|(name, _)| !name.contains(":annals:batch:"));
        likely.sort();
        Ok(likely)
    }

    /// The event that a payload is; what is none is named by what it holds.
    fn id(&self, payload: &[u8]) -> EventId {
        let named = || {
            let text = String::from_utf8_lossy(payload);
            EventId::derived(Timestamp::MIN, "", "redis_list", &text)
        };
        self.laravel.event(payload).map_or_else(|_| named(), |event| event.id)
    }

    /// Reads what was received, the event that it is or why it is none.
    fn convert(&self, received: Received, lease: u64) -> Vec<Delivery> {
        let delivery = |(number, attempts, payload): (u64, u32, Vec<u8>)| {
            let receipt = Receipt { key: u128::from(number), lease };
            let (id, body, refused) = match self.laravel.encode(&payload) {
                Ok((id, body)) => (id, body, None),
                Err(why) => (self.id(&payload), payload, Some(why)),
            };
            Delivery { id, body, attempts, receipt, refused }
        };
        received.into_events().map(delivery).collect()
    }

    async fn settle(
        &self,
        what: &str,
        at: i64,
        receipts: &[Receipt],
        doing: &'static str,
    ) -> Result<usize> {
        if receipts.is_empty() {
            return Ok(0);
        }
        self.server.script(doing, self.keys.settle(what, at, receipts)).await
    }

    /// The numbers of the failed events that are meant.
    async fn failed(&self, which: Which<'_>) -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        let mut after = 0;
        loop {
            let page = self.page(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(numbers) };
            after = last.number;
            let meant = |failure: &&Failure| match which {
                Which::All => true,
                Which::Ids(ids) => ids.contains(&self.id(&failure.body)),
            };
            numbers.extend(page.iter().filter(meant).map(|failure| failure.number));
        }
    }

    async fn page(&self, after: u64, limit: usize) -> Result<Vec<Failure>> {
        let list = self.keys.failed(after, limit);
        let page: redis::Value = self.server.command("list the failed of", list).await?;
        Failure::all(page).ok_or_else(|| {
            let doing = self.server.doing("list the failed of");
            Error::new(ErrorKind::Damaged, doing, "the key of the failed is not as annals made it")
        })
    }

    async fn end(&self, which: Which<'_>, revive: bool, doing: &'static str) -> Result<usize> {
        let mut count = 0;
        for numbers in self.failed(which).await?.chunks(PAGE) {
            count += self.server.script::<usize>(doing, self.keys.revive(revive, numbers)).await?;
        }
        Ok(count)
    }
}

#[async_trait]
impl Transport for RedisListTransport {
    fn url(&self) -> &str {
        self.server.url()
    }

    async fn fullness(&self) -> Result<Option<f64>> {
        // Who may not ask is helped by the time that it takes.
        Ok(Some(self.server.fullness().await.unwrap_or_default()))
    }

    async fn send(&self, _: Arc<[Message]>) -> Result<()> {
        let what = "only the application pushes to its list, in its own shape";
        Err(Error::new(ErrorKind::Usage, self.server.doing("send to"), what)
            .hint("capture into another transport; a worker may read several"))
    }

    async fn receive(&self, want: Want) -> Result<Vec<Delivery>> {
        // A list tells nobody that something was pushed, save by a read that takes it.
        const FIRST: Duration = Duration::from_millis(5);
        const LONGEST: Duration = Duration::from_millis(50);
        let until = Instant::now() + want.wait;
        let mut pause = FIRST;
        loop {
            let lease = random_lease();
            let receive = self.keys.receive(want, lease);
            let received = Received::of(self.server.script("receive from", receive).await?);
            if !received.is_empty() || Instant::now() >= until {
                return Ok(self.convert(received, lease));
            }
            sleep_until(until.min(Instant::now() + pause)).await;
            pause = LONGEST.min(pause * 2);
        }
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<usize> {
        self.settle("ack", 0, receipts, "acknowledge to").await
    }

    async fn retry(&self, receipts: &[Receipt], at: Timestamp) -> Result<usize> {
        self.settle("retry", at.as_millis(), receipts, "put back into").await
    }

    async fn release(&self, receipts: &[Receipt]) -> Result<usize> {
        self.settle("release", 0, receipts, "release to").await
    }

    async fn bury(&self, burials: &[(Receipt, String)]) -> Result<usize> {
        if burials.is_empty() {
            return Ok(0);
        }
        self.server.script("bury in", self.keys.bury(burials)).await
    }

    async fn buried(&self, after: Option<u64>, limit: usize) -> Result<Vec<Buried>> {
        let page = self.page(after.unwrap_or(0), limit).await?;
        let buried = |failure: Failure| Buried {
            number: failure.number,
            id: self.id(&failure.body),
            body: failure.body,
            reason: failure.reason,
            attempts: failure.attempts,
            failed_at: failure.failed_at,
        };
        Ok(page.into_iter().map(buried).collect())
    }

    async fn revive(&self, which: Which<'_>) -> Result<usize> {
        self.end(which, true, "revive in").await
    }

    async fn remove(&self, which: Which<'_>) -> Result<usize> {
        self.end(which, false, "remove from").await
    }

    async fn stats(&self) -> Result<TransportStats> {
        let figures = self.server.script("read the figures of", self.keys.stats()).await?;
        let (ready, leased, failed, oldest): (u64, u64, u64, Vec<Vec<u8>>) = figures;
        let times = oldest.iter().filter_map(|payload| self.laravel.event(payload).ok());
        let oldest = times.map(|event| event.occurred_at).min();
        Ok(TransportStats { ready, leased, failed, oldest, bytes: None })
    }
}
