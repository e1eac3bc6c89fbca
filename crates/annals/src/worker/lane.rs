//! One lane of a worker: one batch after the other, from one transport.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::{Batch, Settled, Ticket};
use super::figures::Distribution;
use super::outcome::{self, Outcome};
use super::waiting::Backend;
use super::{Ended, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Timestamp;
use crate::store::Record;
use crate::transport::{Receipt, Transport, Want};

/// How long a lane waits for events before it looks whether it should leave. A
/// receive is never cancelled: what it leased would be lost until the lease ends.
const LOOK_UP: Duration = Duration::from_millis(100);

/// Between two attempts on a backend that is away.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A draining lane that has waited so long for what others have in hand says so.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Lane {
    pub(super) shared: Arc<Shared>,
    pub(super) transport: Arc<dyn Transport>,
    last_batch: Option<Instant>,
    pause: Duration,
    /// What was away at the last attempt.
    waits_for: Option<Backend>,
    /// Since when the store is away.
    pub(super) store_away: Option<Instant>,
    /// Events that were moved to the spool since then.
    pub(super) rescued: u64,
    /// Since when a draining lane waits for what others have in hand.
    others_since: Option<Instant>,
    /// Whether it said so.
    others_told: bool,
}

impl Lane {
    pub(super) fn new(shared: Arc<Shared>, transport: Arc<dyn Transport>) -> Self {
        Self {
            shared,
            transport,
            last_batch: None,
            pause: FIRST_PAUSE,
            waits_for: None,
            store_away: None,
            rescued: 0,
            others_since: None,
            others_told: false,
        }
    }

    /// Works through three batches at a time: while one is stored, the one before
    /// it is acknowledged and the next is leased.
    pub(super) async fn run(mut self) -> Result<Ended> {
        let mut next = Batch::default();
        let mut stored = Settled::default();
        loop {
            // A full batch goes on at once, and what is stored is settled meanwhile.
            let ended = self.shared.ended();
            if (ended.is_some() || !self.is_full(&next))
                && let Err(error) = self.settle(&mut stored).await
            {
                self.give_back(&next).await;
                next = Batch::default();
                if let Some(ended) = ended {
                    tracing::warn!(target: "annals::worker", %error, "left stored events unacknowledged; they are received again, and are duplicates then");
                    return Ok(ended);
                }
                self.wait_for(Backend::Transport, error).await?;
                continue;
            }
            match ended {
                // The number of events is that of the batch in hand.
                Some(Ended::MaxEvents) if !next.is_empty() => {}
                Some(ended) => {
                    self.give_back(&next).await;
                    return Ok(ended);
                }
                None => {
                    if let Err(error) = self.fill(&mut next).await {
                        self.give_back(&next).await;
                        next = Batch::default();
                        self.wait_for(Backend::Transport, error).await?;
                    } else if self.waits_for == Some(Backend::Transport) {
                        self.recovered();
                    }
                    if next.is_empty() {
                        if self.drained().await {
                            self.recovered();
                            return Ok(Ended::Drained);
                        }
                        continue;
                    }
                    self.others_since = None;
                }
            }
            self.last_batch = Some(Instant::now());
            let batch = std::mem::take(&mut next);
            let (appended, ahead) = tokio::join!(self.store(batch), async {
                self.settle(&mut stored).await?;
                self.look_ahead().await
            });
            let trouble = match (appended, ahead) {
                (Ok(settled), Ok(ahead)) => {
                    (stored, next) = (settled, ahead);
                    self.store_is_back();
                    self.recovered();
                    continue;
                }
                (Ok(settled), Err(error)) => {
                    self.store_is_back();
                    stored.add(settled);
                    (Backend::Transport, error)
                }
                (Err(error), Ok(ahead)) => {
                    self.give_back(&ahead).await;
                    (Backend::Store, error)
                }
                (Err(error), Err(_)) => (Backend::Store, error),
            };
            self.wait_for(trouble.0, trouble.1).await?;
        }
    }

    /// Leases what is ready for a batch, full or as far as it goes, and seals it.
    async fn look_ahead(&self) -> Result<Batch> {
        let mut ahead = Batch::default();
        if self.shared.ended().is_none() {
            self.receive(&mut ahead, Duration::ZERO).await?;
            // While the store has the batch before it. If keys cannot be had, that is told
            // when it is stored.
            let _ = self.seal(&mut ahead).await;
        }
        Ok(ahead)
    }

    /// Adds to a batch what is ready, and while it is not full, what comes until
    /// the flush interval since the last batch is over.
    async fn fill(&self, batch: &mut Batch) -> Result<()> {
        let options = &self.shared.worker.options;
        let now = Instant::now();
        let until = match self.last_batch {
            Some(last) if !options.drain => last + options.flush_interval,
            _ => now,
        };
        loop {
            let now = Instant::now();
            let enough = self.is_full(batch) || (!batch.is_empty() && now >= until);
            if enough || self.shared.ended().is_some() {
                return Ok(());
            }
            let wait = match batch.is_empty() {
                true if options.drain => Duration::ZERO,
                true => LOOK_UP,
                false => LOOK_UP.min(until - now),
            };
            self.receive(batch, wait).await?;
            if batch.is_empty() {
                return Ok(());
            }
        }
    }

    fn is_full(&self, batch: &Batch) -> bool {
        let options = &self.shared.worker.options;
        batch.len() >= options.batch_size.max(1) || batch.bytes >= options.batch_bytes
    }

    /// Leases what still fits into a batch.
    async fn receive(&self, batch: &mut Batch, wait: Duration) -> Result<()> {
        let options = &self.shared.worker.options;
        let want = Want {
            events: self.shared.room().min(options.batch_size.max(1).saturating_sub(batch.len())),
            bytes: options.batch_bytes.saturating_sub(batch.bytes),
            lease: self.shared.lease(),
            wait,
        };
        if want.events > 0 {
            let got = self.transport.receive(want).await?;
            self.shared.worker.gauge.lock().received += got.len() as u64;
            batch.extend(got);
        }
        Ok(())
    }

    /// Whether a draining lane has nothing left, not even with another worker.
    async fn drained(&mut self) -> bool {
        if !self.shared.worker.options.drain {
            return false;
        }
        match self.transport.stats().await {
            Ok(stats) if stats.ready + stats.leased == 0 => true,
            // Another worker has it, or will find it.
            Ok(stats) => {
                let since = *self.others_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= PATIENCE && !std::mem::replace(&mut self.others_told, true) {
                    let transport = self.transport.url();
                    tracing::info!(target: "annals::worker", transport, leased = stats.leased, due_later = stats.ready,
                        "waiting for events that another process has in hand (a dead one's are free when its lease ends), or that are tried again later");
                }
                tokio::time::sleep(LOOK_UP).await;
                false
            }
            Err(_) => false,
        }
    }

    /// Appends a batch; answers what is to become of its deliveries. On an error
    /// it has given them back.
    async fn store(&self, mut batch: Batch) -> Result<Settled> {
        let began = Instant::now();
        let sealed = self.seal(&mut batch).await;
        let Batch { tickets, records, unreadable, .. } = batch;
        let events = tickets.len() + unreadable.len();
        let mut settled = Settled { burials: unreadable, batches: 1, ..Settled::default() };
        let appended = match sealed {
            Ok(()) => self.append(&tickets, &records.into(), &mut settled).await,
            Err(error) => Err(error),
        };
        if let Err(error) = appended {
            let receipts: Vec<Receipt> = tickets.iter().map(|ticket| ticket.receipt).collect();
            self.put_back(&receipts).await;
            // What could not even be read is not put back with the others.
            self.transport.bury(&settled.burials).await?;
            return Err(error);
        }
        settled.sizes.push((events, began.elapsed()));
        Ok(settled)
    }

    /// Appends to the store, then to the mirrors, and notes what is to be done.
    async fn append(
        &self,
        deliveries: &[Ticket],
        records: &Arc<[Record]>,
        settled: &mut Settled,
    ) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let worker = &self.shared.worker;
        let retries = worker.options.retries;
        let suspect: Vec<bool> = deliveries.iter().map(|one| one.attempts > retries).collect();
        if tracing::enabled!(target: "annals::worker", tracing::Level::TRACE) {
            for record in records.iter() {
                tracing::trace!(target: "annals::worker", id = %record.id, action = record.action(),
                    entity_type = record.entity_type(), entity_id = record.entity_id(), "event");
            }
        }
        let moved = match suspect.contains(&true) || !worker.mirrors.is_empty() {
            true => None,
            false => self.move_over(deliveries, records).await?,
        };
        let acknowledged = moved.is_some();
        let outcomes = match moved {
            Some(outcomes) => outcomes,
            None => outcome::append(&*worker.store, records, &suspect).await?,
        };
        let mut stored = Vec::with_capacity(deliveries.len());
        let (now, mut lags) = (Timestamp::now(), Distribution::of_times());
        for (index, (delivery, outcome)) in deliveries.iter().zip(outcomes).enumerate() {
            match outcome {
                Outcome::Stored { new } => {
                    stored.push(index);
                    settled.new += u64::from(new);
                    settled.duplicates += u64::from(!new);
                    if new {
                        settled.bytes += records[index].body().len() as u64;
                        lags.add(micros(now.since(records[index].occurred_at)));
                    }
                }
                Outcome::Refused(_) if self.was_stored(&records[index]).await? => {
                    settled.duplicates += 1;
                    settled.acks.push(delivery.receipt);
                }
                Outcome::Refused(why) => {
                    settled.refused += 1;
                    settled.burials.push((delivery.receipt, why));
                }
                Outcome::Failed(why) if delivery.attempts > retries => {
                    let why = format!("given up after {} attempts: {why}", delivery.attempts);
                    settled.burials.push((delivery.receipt, why));
                }
                Outcome::Failed(why) => {
                    tracing::warn!(target: "annals::worker", why, attempt = delivery.attempts, "will retry an event");
                    settled.retries.push(*delivery);
                }
            }
        }
        settled.lags = Some(lags);
        if !worker.mirrors.is_empty() {
            let copies = match stored.len() == records.len() {
                true => Arc::clone(records),
                false => stored.iter().map(|index| records[*index].clone()).collect(),
            };
            settled.mirror_refused = self.mirror(&copies).await?;
        }
        if !acknowledged {
            settled.acks.extend(stored.iter().map(|index| deliveries[*index].receipt));
        }
        Ok(())
    }

    /// Stores and acknowledges in one transaction, where queue and store are in one
    /// database. `None` if they are not, or if an event of the batch spoils it.
    async fn move_over(
        &self,
        deliveries: &[Ticket],
        records: &Arc<[Record]>,
    ) -> Result<Option<Vec<Outcome>>> {
        let receipts: Vec<Receipt> = deliveries.iter().map(|delivery| delivery.receipt).collect();
        let Some(along) = self.transport.acknowledgement(&receipts) else { return Ok(None) };
        match self.shared.worker.store.append_along(records, along).await {
            Ok(appended) => Ok(appended.map(|all| all.into_iter().map(Outcome::from).collect())),
            Err(error) if matches!(error.kind(), ErrorKind::Event | ErrorKind::Transient) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Copies to the mirrors what the store has; answers how many they refused.
    async fn mirror(&self, records: &Arc<[Record]>) -> Result<u64> {
        let mut refused = 0;
        let nobody = vec![false; records.len()];
        for mirror in &self.shared.worker.mirrors {
            let outcomes = outcome::append(&**mirror, records, &nobody).await?;
            for (record, outcome) in records.iter().zip(outcomes) {
                if let Outcome::Refused(why) | Outcome::Failed(why) = outcome {
                    refused += 1;
                    tracing::warn!(target: "annals::worker", id = %record.id, mirror = mirror.url(), why,
                        "the mirror refused an event; the store has it");
                }
            }
        }
        Ok(refused)
    }

    /// Tells the transport what became of the events that were stored. After an
    /// error it is told again: a receipt works once.
    async fn settle(&self, stored: &mut Settled) -> Result<()> {
        if stored.batches == 0 {
            return Ok(());
        }
        if !stored.acks.is_empty() {
            self.transport.ack(&stored.acks).await?;
        }
        if !stored.burials.is_empty() {
            self.transport.bury(&stored.burials).await?;
        }
        for delivery in &stored.retries {
            let wait = self.retry_delay(delivery.attempts);
            self.transport.retry(&[delivery.receipt], Timestamp::now().after(wait)).await?;
        }
        self.count(&std::mem::take(stored));
        Ok(())
    }

    fn retry_delay(&self, attempts: u32) -> Duration {
        let doubled = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        jitter(
            self.shared
                .worker
                .options
                .first_retry
                .saturating_mul(doubled)
                .min(Duration::from_secs(3600)),
        )
    }

    pub(super) fn count(&self, settled: &Settled) {
        for (receipt, why) in &settled.burials {
            tracing::error!(target: "annals::worker", why, number = %receipt.key, "an event goes to failed");
        }
        let mut figures = self.shared.worker.gauge.lock();
        figures.stored += settled.new;
        figures.duplicates += settled.duplicates;
        figures.failed += settled.burials.len() as u64;
        figures.conflicts += settled.refused;
        figures.retried += settled.retries.len() as u64;
        figures.mirror_refused += settled.mirror_refused;
        figures.batches += settled.batches;
        figures.bytes += settled.bytes;
        let mut took = Duration::ZERO;
        for (events, time) in &settled.sizes {
            figures.batch_events.add(*events as u64);
            figures.store_micros.add(micros(*time));
            took += *time;
        }
        if let Some(lags) = &settled.lags {
            figures.lag_micros.merge(lags);
        }
        drop(figures);
        tracing::debug!(
            target: "annals::worker",
            stored = settled.new,
            duplicates = settled.duplicates,
            failed = settled.burials.len(),
            retried = settled.retries.len(),
            bytes = settled.bytes,
            ?took,
            "batch"
        );
    }

    /// Gives leased events back untouched.
    async fn give_back(&self, batch: &Batch) {
        self.put_back(&batch.receipts()).await;
    }

    async fn put_back(&self, receipts: &[Receipt]) {
        if receipts.is_empty() {
            return;
        }
        self.shared.worker.gauge.lock().retried += receipts.len() as u64;
        if let Err(error) = self.transport.release(receipts).await {
            // They come back by themselves when the lease ends.
            if self.shared.waiting.is_news(self.transport.url(), &error) {
                tracing::warn!(target: "annals::worker", %error, events = receipts.len(), "could not give events back");
            } else {
                tracing::debug!(target: "annals::worker", events = receipts.len(), "could not give events back");
            }
        }
    }

    /// Waits a while for a backend that is away, longer each time. What waiting
    /// does not mend is the worker's end.
    async fn wait_for(&mut self, backend: Backend, error: Error) -> Result<()> {
        if matches!(error.kind(), ErrorKind::Closed | ErrorKind::Damaged | ErrorKind::Usage) {
            return Err(error);
        }
        let (waiting, worker) = (&self.shared.waiting, &self.shared.worker);
        if self.waits_for.replace(backend).is_none() {
            waiting.begin();
        }
        let misses = waiting.miss();
        worker.gauge.lock().waiting_for = Some(error.to_string());
        let url = match backend {
            Backend::Transport => self.transport.url(),
            Backend::Store => worker.store.url(),
        };
        if waiting.is_news(url, &error) {
            tracing::warn!(target: "annals::worker", %error, "waiting");
        } else {
            tracing::debug!(target: "annals::worker", misses, "still waiting");
        }
        if backend == Backend::Store {
            self.store_away.get_or_insert_with(Instant::now);
        }
        let until = Instant::now() + jitter(self.pause);
        while Instant::now() < until && self.shared.ended().is_none() {
            if backend == Backend::Transport || !self.rescue().await {
                tokio::time::sleep(LOOK_UP.min(until.saturating_duration_since(Instant::now())))
                    .await;
            }
        }
        self.pause = LONGEST_PAUSE.min(self.pause * 2);
        Ok(())
    }

    fn store_is_back(&mut self) {
        self.store_away = None;
        if std::mem::take(&mut self.rescued) > 0 {
            tracing::info!(target: "annals::worker", "the store is back: what was moved to the spool follows");
        }
    }

    fn recovered(&mut self) {
        if self.waits_for.take().is_none() {
            return;
        }
        self.pause = FIRST_PAUSE;
        if let Some(misses) = self.shared.waiting.end() {
            self.shared.worker.gauge.lock().waiting_for = None;
            tracing::info!(target: "annals::worker", misses, "going on");
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A duration, give or take a fifth, so that many workers do not come at once.
fn jitter(duration: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    duration.mul_f64(0.8 + 0.4 * f64::from(random) / f64::from(u32::MAX))
}
