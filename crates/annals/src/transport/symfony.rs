//! The table of a Symfony application's Messenger: its Doctrine transport, worked
//! through beside PHP's workers or in their place.
//!
//! Nothing is made in the database, and the application need not know. A message is
//! taken as Messenger takes it: the row is locked, its `delivered_at` is set, and
//! nobody else gets it before `redeliver_timeout` is over. It is deleted when it has
//! been stored. One that fails is sent again as Messenger does, as a new row with more
//! stamps and a later `available_at`; one that is given up goes to the queue of the
//! failure transport, where `messenger:failed:show` finds it with the reason. Each of
//! these is one transaction.
//!
//! Only messages of the named classes are taken. Any other row is neither locked for
//! longer than a look nor changed, in whatever queue it stands.
//!
//! A lease lasts for `redeliver_timeout`, which must be the application's own: that is
//! how long a row stays when its worker was killed. A worker that asks for a longer
//! lease gets it, by a `delivered_at` in the future. The column knows seconds, and so
//! does a receipt. Times in the table have no zone; they are the application's.
//!
//! What cannot be decoded at all, a worker of PHP's would throw away, even when it is
//! only shown. It is kept, body as it came, in a queue beside that of the failed.

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
mod settings;
#[cfg(feature = "sqlite")]
mod sqlite;
mod table;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Buried, Delivery, Message, Receipt, Transport, TransportStats, Want, Which};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{EventId, Timestamp};
use crate::foreign::symfony::{Failure, Row, Symfony, failed, retried, revived};
use settings::Settings;
use table::{Held, Judged, Listed, NewRow, Seek, Table};

/// Rows that look like messages of ours and are none, whose numbers are remembered.
const MAX_PASSED: usize = 10_000;

/// Rows of the failed that are read at a time.
const PAGE: usize = 200;

/// The queue of a Symfony application.
#[derive(Debug)]
pub struct SymfonyTransport {
    table: Box<dyn Table>,
    settings: Arc<Settings>,
    /// Rows that are not ours, whatever they look like.
    passed: Mutex<BTreeSet<i64>>,
}

impl SymfonyTransport {
    /// Opens the table that a `symfony+postgres://`, `symfony+mysql://` or
    /// `symfony+sqlite:` URL names. A
    /// server that is away is no error: each call says so until it is back.
    ///
    /// # Errors
    /// When the URL cannot be understood or names no message class.
    pub async fn open(url: &str) -> Result<Self> {
        let (address, settings) = Settings::of(url)?;
        let settings = Arc::new(settings);
        let table: Box<dyn Table> = match address.split_once(':') {
            #[cfg(feature = "postgres")]
            Some(("postgres" | "postgresql", _)) => {
                Box::new(postgres::PostgresTable::open(&address, &settings)?)
            }
            #[cfg(feature = "mysql")]
            Some(("mysql" | "mariadb", _)) => {
                Box::new(mysql::MysqlTable::open(&address, &settings)?)
            }
            #[cfg(feature = "sqlite")]
            Some(("sqlite", path)) => Box::new(sqlite::SqliteTable::open(path, &settings).await?),
            _ => {
                let what = "no such database in this build";
                return Err(Error::new(ErrorKind::Usage, settings.opening(), what).hint(
                    "use symfony+postgres://…?message=CLASS or symfony+sqlite:PATH?message=CLASS",
                ));
            }
        };
        Ok(Self { table, settings, passed: Mutex::default() })
    }

    /// What is ready now, leased; `None` if what was ready was nothing to be delivered,
    /// and there may be more behind it.
    async fn take(&self, want: Want) -> Result<Option<Vec<Delivery>>> {
        let settings = &self.settings;
        let now = Timestamp::now();
        // Whoever goes by a timeout that is shorter than the lease is told of it later.
        let longer = want.lease.saturating_sub(settings.redeliver);
        let until = settings.second(now.after(longer));
        let seek = Seek {
            queue: settings.queue.clone(),
            now: settings.text(now),
            expired: settings.text(now.before(settings.redeliver)),
            until: settings.text(until),
            passed: self.passed(),
            events: want.events,
            bytes: want.bytes,
            // A lease that is over in a moment is no lock.
            hold: settings.hold && want.lease > Duration::from_secs(5),
        };
        let judge = {
            let settings = Arc::clone(settings);
            Arc::new(move |row: &Row| settings.judge(row))
        };
        let taken = self.table.take(seek, judge).await?;
        let lease = until.as_micros().unsigned_abs() / 1_000_000;
        let mut deliveries = Vec::with_capacity(taken.len());
        let nothing = taken.is_empty();
        for (row, judged) in taken {
            let receipt = Receipt { key: u128::from(row.unsigned_abs()), lease };
            match judged {
                None => self.pass(row),
                Some(Judged { id, body, attempts, refused }) => {
                    deliveries.push(Delivery { id, body, attempts, receipt, refused });
                }
            }
        }
        Ok((nothing || !deliveries.is_empty()).then_some(deliveries))
    }

    fn passed(&self) -> Vec<i64> {
        let passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        passed.iter().copied().collect()
    }

    fn pass(&self, row: i64) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        passed.insert(row);
        if passed.len() > MAX_PASSED {
            passed.pop_first();
        }
    }

    /// The rows of receipts.
    fn held(&self, receipts: impl Iterator<Item = Receipt>) -> Vec<Held> {
        receipts
            .map(|receipt| {
                let micros = i64::try_from(receipt.lease).unwrap_or(0).saturating_mul(1_000_000);
                let time = Timestamp::from_micros(micros).unwrap_or(Timestamp::MIN);
                let id = i64::try_from(receipt.key).unwrap_or(i64::MAX);
                Held { id, delivered_at: Some(self.settings.text(time)) }
            })
            .collect()
    }

    /// The failed messages of these classes, a page of them.
    async fn page(&self, after: i64, limit: usize) -> Result<Vec<(Listed, Failed)>> {
        let settings = &self.settings;
        let queues = vec![settings.failure_queue.clone(), settings.undecodable_queue()];
        let rows = self.table.list(queues, after, limit).await?;
        let told = |listed: Listed| {
            let failed = Failed::of(settings, &listed);
            if !failed.ours {
                self.pass(listed.row.id);
            }
            (listed, failed)
        };
        Ok(rows.into_iter().map(told).collect())
    }

    /// Does something to each page of the chosen among the failed.
    async fn each_page<'s, F, D>(&'s self, which: Which<'_>, work: F) -> Result<usize>
    where
        F: Fn(&'s dyn Table, Vec<Held>) -> D,
        D: Future<Output = Result<usize>>,
    {
        let (mut after, mut done) = (0, 0);
        loop {
            let page = self.page(after, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(done) };
            after = last.row.id;
            // What somebody has in hand is left to them.
            let expired = self.settings.text(Timestamp::now().before(self.settings.redeliver));
            let free =
                |listed: &Listed| listed.delivered_at.as_ref().is_none_or(|at| *at < expired);
            let chosen = page.into_iter().filter(|(listed, failed)| match which {
                Which::All => failed.ours && free(listed),
                Which::Ids(ids) => failed.ours && free(listed) && ids.contains(&failed.id),
            });
            let held = chosen
                .map(|(listed, _)| Held { id: listed.row.id, delivered_at: listed.delivered_at });
            let held: Vec<Held> = held.collect();
            if !held.is_empty() {
                done += work(&*self.table, held).await?;
            }
        }
    }
}

/// What a row among the failed is.
struct Failed {
    id: EventId,
    body: Vec<u8>,
    reason: String,
    attempts: u32,
    ours: bool,
}

impl Failed {
    fn of(settings: &Settings, listed: &Listed) -> Self {
        let row = &listed.row;
        if listed.queue == settings.undecodable_queue() {
            let kept = settings::Kept::of(&row.headers);
            let body = row.body.clone().into_bytes();
            let id = settings.id_of(kept.row.unwrap_or(row.id), &row.created_at);
            return Self { id, body, reason: kept.reason, attempts: 1, ours: true };
        }
        let judged = settings.judge(row);
        let ours = judged.is_some();
        let (reason, attempts, first) = settings.history(row);
        let event = judged.filter(|judged| judged.refused.is_none());
        let (id, body) = event.map(|event| (event.id, event.body)).unwrap_or_else(|| {
            (
                settings.id_of(first.unwrap_or(row.id), &row.created_at),
                row.body.clone().into_bytes(),
            )
        });
        Self { id, body, reason, attempts, ours }
    }
}

#[async_trait]
impl Transport for SymfonyTransport {
    fn url(&self) -> &str {
        &self.settings.url
    }

    async fn send(&self, batch: Arc<[Message]>) -> Result<()> {
        let doing = format!("send {} events to {}", batch.len(), self.url());
        Err(Error::new(ErrorKind::Usage, doing, "its messages are dispatched by the application")
            .hint("record with another transport; a worker can read several"))
    }

    async fn receive(&self, want: Want) -> Result<Vec<Delivery>> {
        // Messenger's notifications come for each row that anybody changes, our own
        // among them: looking again is quieter.
        const FIRST: Duration = Duration::from_millis(5);
        const LONGEST: Duration = Duration::from_millis(100);
        let until = Instant::now() + want.wait;
        let mut pause = FIRST;
        loop {
            let Some(deliveries) = self.take(want).await? else { continue };
            let now = Instant::now();
            if !deliveries.is_empty() || now >= until {
                return Ok(deliveries);
            }
            tokio::time::sleep(pause.min(until - now)).await;
            pause = LONGEST.min(pause * 2);
        }
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<usize> {
        self.table.delete(self.held(receipts.iter().copied())).await
    }

    async fn retry(&self, receipts: &[Receipt], at: Timestamp) -> Result<usize> {
        let settings = Arc::clone(&self.settings);
        let rework = move |row: &Row| settings.retried(row, at);
        self.table.replace(self.held(receipts.iter().copied()), Arc::new(rework)).await
    }

    async fn release(&self, receipts: &[Receipt]) -> Result<usize> {
        self.table.release(self.held(receipts.iter().copied())).await
    }

    async fn bury(&self, burials: &[(Receipt, String)]) -> Result<usize> {
        let held = self.held(burials.iter().map(|(receipt, _)| *receipt));
        let reasons = held.iter().zip(burials).map(|(held, (_, why))| (held.id, why.clone()));
        let reasons: HashMap<i64, String> = reasons.collect();
        let settings = Arc::clone(&self.settings);
        let rework = move |row: &Row| {
            let why = reasons.get(&row.id).map_or("", String::as_str);
            Some(settings.buried(row, why))
        };
        self.table.replace(held, Arc::new(rework)).await
    }

    async fn buried(&self, after: Option<u64>, limit: usize) -> Result<Vec<Buried>> {
        let mut after = after.map_or(0, |number| i64::try_from(number).unwrap_or(i64::MAX));
        let mut buried = Vec::new();
        while buried.len() < limit {
            let page = self.page(after, PAGE.min(limit)).await?;
            let Some((last, _)) = page.last() else { break };
            after = last.row.id;
            for (listed, failed) in page.into_iter().filter(|(_, failed)| failed.ours) {
                buried.push(Buried {
                    number: listed.row.id.unsigned_abs(),
                    id: failed.id,
                    body: failed.body,
                    reason: failed.reason,
                    attempts: failed.attempts,
                    failed_at: self.settings.time(&listed.available_at),
                });
            }
        }
        buried.truncate(limit);
        Ok(buried)
    }

    async fn revive(&self, which: Which<'_>) -> Result<usize> {
        let settings = Arc::clone(&self.settings);
        let rework: table::Rework = Arc::new(move |row: &Row| Some(settings.revived(row)));
        self.each_page(which, |table, held| table.replace(held, Arc::clone(&rework))).await
    }

    async fn remove(&self, which: Which<'_>) -> Result<usize> {
        self.each_page(which, |table, held| table.delete(held)).await
    }

    async fn stats(&self) -> Result<TransportStats> {
        let settings = &self.settings;
        let now = Timestamp::now();
        let figures = self
            .table
            .figures(table::Ask {
                queue: settings.queue.clone(),
                failure_queues: vec![settings.failure_queue.clone(), settings.undecodable_queue()],
                now: settings.text(now),
                expired: settings.text(now.before(settings.redeliver)),
                passed: self.passed(),
            })
            .await?;
        Ok(TransportStats {
            ready: figures.ready,
            leased: figures.leased,
            failed: figures.failed,
            oldest: figures.oldest.map(|time| settings.time(&time)),
            bytes: figures.bytes,
        })
    }
}

impl Settings {
    /// What a row that may be ours is; `None` if it is not.
    fn judge(&self, row: &Row) -> Option<Judged> {
        let refused = |why: String| {
            let id = self.id_of(row.id, &row.created_at);
            Some(Judged { id, body: row.body.clone().into(), attempts: 1, refused: Some(why) })
        };
        let body = match self.body(row) {
            Ok(body) => body,
            Err(why) => return refused(why.to_string()),
        };
        let envelope = match body.envelope(&row.headers) {
            Ok(envelope) if self.shape.has(&envelope.class) => envelope,
            Ok(_) => return None,
            Err(why) => {
                let ours = self.shape.messages.iter().any(|class| body.seems_to_hold(class));
                return if ours { refused(why.to_string()) } else { None };
            }
        };
        if let Err(why) = envelope.check() {
            return refused(why.to_string());
        }
        let event = self.shape.event_of(&envelope, row.id, &row.created_at);
        match event.and_then(|event| Symfony::encoded(&event)) {
            Ok((id, body)) => {
                Some(Judged { id, body, attempts: envelope.retries() + 1, refused: None })
            }
            Err(why) => refused(why),
        }
    }

    /// The row of a message that is tried again.
    fn retried(&self, row: &Row, at: Timestamp) -> Option<NewRow> {
        let now = Timestamp::now();
        let body = self.body(row).ok()?;
        let envelope = body.envelope(&row.headers).ok()?;
        let count = envelope.retries() + 1;
        let wait = at.since(now);
        let delay = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        let (body, headers) = retried(&envelope, row.id, count, delay, now).ok()?;
        // Whole seconds, and none too early.
        let available = self.text(at.after(Duration::from_micros(999_999)));
        Some(self.moved(row, &self.queue, body, headers, available))
    }

    /// The row of a message that is given up.
    fn buried(&self, row: &Row, why: &str) -> NewRow {
        let now = Timestamp::now();
        let failure = Failure { reason: why.to_owned(), receiver: self.receiver.clone() };
        let stamped = self.body(row).ok().and_then(|body| {
            let envelope = body.envelope(&row.headers).ok()?;
            envelope.check().ok()?;
            failed(&envelope, row.id, &failure, now).ok()
        });
        let text = self.text(now);
        match stamped {
            Some((body, headers)) => self.moved(row, &self.failure_queue, body, headers, text),
            None => {
                let headers = settings::Kept::headers(row, why);
                self.moved(row, &self.undecodable_queue(), row.body.clone(), headers, text)
            }
        }
    }

    /// The row of a failed message that is tried anew.
    fn revived(&self, row: &Row) -> NewRow {
        let now = self.text(Timestamp::now());
        let kept = settings::Kept::of(&row.headers);
        if let Some(headers) = kept.headers {
            return self.moved(row, &self.queue, row.body.clone(), headers, now);
        }
        let body = self.body(row).ok();
        let envelope = body.as_ref().and_then(|body| body.envelope(&row.headers).ok());
        let written = envelope.and_then(|envelope| revived(&envelope, row.id).ok());
        let (body, headers) = written.unwrap_or_else(|| (row.body.clone(), row.headers.clone()));
        self.moved(row, &self.queue, body, headers, now)
    }

    /// A message that leaves its row. It was created when it was, which is the time of
    /// a message that says none.
    fn moved(
        &self,
        row: &Row,
        queue: &str,
        body: String,
        headers: String,
        available_at: String,
    ) -> NewRow {
        let (queue, created_at) = (queue.to_owned(), row.created_at.clone());
        NewRow { queue, body, headers, created_at, available_at }
    }
}
