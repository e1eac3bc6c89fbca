//! One lane of a worker: one batch after the other, from one transport.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::outcome::{self, Outcome};
use super::{Ended, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Timestamp;
use crate::store::Record;
use crate::transport::{Delivery, Receipt, Transport, Want};

/// How long a lane waits for events before it looks whether it should leave. A
/// receive is never cancelled: what it leased would be lost until the lease ends.
const LOOK_UP: Duration = Duration::from_millis(100);

/// Between two attempts on a backend that is away.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Deliveries of one event without any outcome, after which it goes to failed:
/// whoever touches it seems to die of it.
const MAX_DELIVERIES: u32 = 20;

pub(super) struct Lane {
    shared: Arc<Shared>,
    transport: Arc<dyn Transport>,
    last_batch: Option<Instant>,
    pause: Duration,
    /// How often in a row a backend was found away.
    misses: u64,
}

impl Lane {
    pub(super) fn new(shared: Arc<Shared>, transport: Arc<dyn Transport>) -> Self {
        Self { shared, transport, last_batch: None, pause: FIRST_PAUSE, misses: 0 }
    }

    pub(super) async fn run(mut self) -> Result<Ended> {
        let mut batch = Vec::new();
        loop {
            match self.shared.ended() {
                // The number of events is that of the batch in hand.
                Some(Ended::MaxEvents) if !batch.is_empty() => {}
                Some(ended) => {
                    self.give_back(&batch).await;
                    return Ok(ended);
                }
                None => {
                    if let Err(error) = self.fill(&mut batch).await {
                        self.give_back(&batch).await;
                        batch.clear();
                        self.wait_for(error).await?;
                    }
                    if batch.is_empty() {
                        if self.drained().await {
                            return Ok(Ended::Drained);
                        }
                        continue;
                    }
                }
            }
            self.last_batch = Some(Instant::now());
            // What is ready for the next batch is leased while this one is appended.
            let (done, ahead) =
                tokio::join!(self.process(std::mem::take(&mut batch)), self.look_ahead());
            let trouble = match (done, ahead) {
                (Ok(()), Ok(ahead)) => {
                    batch = ahead;
                    self.recovered();
                    continue;
                }
                (Err(error), Ok(ahead)) => {
                    self.give_back(&ahead).await;
                    error
                }
                (Ok(()), Err(error)) | (Err(error), Err(_)) => error,
            };
            self.wait_for(trouble).await?;
        }
    }

    /// Leases what is ready for a batch: full, or as far as it goes.
    async fn look_ahead(&self) -> Result<Vec<Delivery>> {
        if self.shared.ended().is_some() {
            return Ok(Vec::new());
        }
        self.receive(&[], Duration::ZERO).await
    }

    /// Adds to a batch what is ready, and while it is not full, what comes until
    /// the flush interval since the last batch is over.
    async fn fill(&self, batch: &mut Vec<Delivery>) -> Result<()> {
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
            let got = self.receive(batch, wait).await?;
            if got.is_empty() && batch.is_empty() {
                return Ok(());
            }
            batch.extend(got);
        }
    }

    fn is_full(&self, batch: &[Delivery]) -> bool {
        let options = &self.shared.worker.options;
        batch.len() >= options.batch_size || bytes_of(batch) >= options.batch_bytes
    }

    /// Leases what still fits into a batch.
    async fn receive(&self, batch: &[Delivery], wait: Duration) -> Result<Vec<Delivery>> {
        let options = &self.shared.worker.options;
        let want = Want {
            events: self.shared.room().min(options.batch_size.max(1).saturating_sub(batch.len())),
            bytes: options.batch_bytes.saturating_sub(bytes_of(batch)),
            lease: self.shared.lease(),
            wait,
        };
        if want.events == 0 {
            return Ok(Vec::new());
        }
        let got = self.transport.receive(want).await?;
        self.shared.worker.gauge.lock().received += got.len() as u64;
        Ok(got)
    }

    /// Whether a draining lane has nothing left, not even with another worker.
    async fn drained(&self) -> bool {
        if !self.shared.worker.options.drain {
            return false;
        }
        match self.transport.stats().await {
            Ok(stats) if stats.ready + stats.leased == 0 => true,
            Ok(stats) if stats.ready == 0 => {
                tokio::time::sleep(LOOK_UP).await;
                false
            }
            _ => false,
        }
    }

    /// Appends a batch and settles every delivery of it.
    async fn process(&self, batch: Vec<Delivery>) -> Result<()> {
        let started = Instant::now();
        let mut settled = Settled::default();
        let mut records = Vec::with_capacity(batch.len());
        let mut deliveries = Vec::with_capacity(batch.len());
        for delivery in batch {
            match self.read(delivery) {
                Ok((ticket, record)) => {
                    deliveries.push(ticket);
                    records.push(record);
                }
                Err(burial) => settled.burials.push(burial),
            }
        }
        if let Err(error) = self.store(&deliveries, &records.into(), &mut settled).await {
            let receipts: Vec<Receipt> = deliveries.iter().map(|one| one.receipt).collect();
            self.put_back(&receipts).await;
            // What could not even be read is not put back with the others.
            self.transport.bury(&settled.burials).await?;
            return Err(error);
        }
        self.settle(&settled).await?;
        self.count(&settled, started);
        Ok(())
    }

    /// Reads a delivery's columns; one that is no event is to be buried.
    fn read(&self, delivery: Delivery) -> Result<(Ticket, Record), (Receipt, String)> {
        let ticket = Ticket { receipt: delivery.receipt, attempts: delivery.attempts };
        if delivery.attempts > MAX_DELIVERIES {
            let why = format!("delivered {} times without an outcome", delivery.attempts - 1);
            return Err((delivery.receipt, why));
        }
        let id = delivery.id;
        match Record::decode(delivery.body) {
            Ok(record) if record.id == id => Ok((ticket, record)),
            Ok(record) => {
                let why = format!("it was sent as {id} and says that it is {}", record.id);
                Err((delivery.receipt, why))
            }
            Err(error) => Err((delivery.receipt, error.to_string())),
        }
    }

    /// Appends to the store, then to the mirrors, and notes what is to be done.
    async fn store(
        &self,
        deliveries: &[Ticket],
        records: &Arc<[Record]>,
        settled: &mut Settled,
    ) -> Result<()> {
        let worker = &self.shared.worker;
        let retries = worker.options.retries;
        let suspect: Vec<bool> = deliveries.iter().map(|one| one.attempts > retries).collect();
        if tracing::enabled!(target: "annals::worker", tracing::Level::TRACE) {
            for record in records.iter() {
                tracing::trace!(target: "annals::worker", id = %record.id, action = record.action(),
                    entity_type = record.entity_type(), entity_id = record.entity_id(), "event");
            }
        }
        let outcomes = outcome::append(&*worker.store, records, &suspect).await?;
        let mut stored = Vec::with_capacity(deliveries.len());
        for (index, (delivery, outcome)) in deliveries.iter().zip(outcomes).enumerate() {
            match outcome {
                Outcome::Stored { new } => {
                    stored.push(index);
                    settled.new += u64::from(new);
                    settled.duplicates += u64::from(!new);
                    settled.bytes += if new { records[index].body().len() as u64 } else { 0 };
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
        if !worker.mirrors.is_empty() {
            let copies = match stored.len() == records.len() {
                true => Arc::clone(records),
                false => stored.iter().map(|index| records[*index].clone()).collect(),
            };
            settled.mirror_refused = self.mirror(&copies).await?;
        }
        settled.acks.extend(stored.iter().map(|index| deliveries[*index].receipt));
        Ok(())
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

    /// Tells the transport what became of a batch.
    async fn settle(&self, settled: &Settled) -> Result<()> {
        if !settled.acks.is_empty() {
            self.transport.ack(&settled.acks).await?;
        }
        if !settled.burials.is_empty() {
            for (receipt, why) in &settled.burials {
                tracing::error!(target: "annals::worker", why, number = %receipt.key, "an event goes to failed");
            }
            self.transport.bury(&settled.burials).await?;
        }
        for delivery in &settled.retries {
            let wait = self.retry_delay(delivery.attempts);
            self.transport.retry(&[delivery.receipt], Timestamp::now().after(wait)).await?;
        }
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

    fn count(&self, settled: &Settled, started: Instant) {
        let mut figures = self.shared.worker.gauge.lock();
        figures.stored += settled.new;
        figures.duplicates += settled.duplicates;
        figures.failed += settled.burials.len() as u64;
        figures.conflicts += settled.refused;
        figures.retried += settled.retries.len() as u64;
        figures.mirror_refused += settled.mirror_refused;
        figures.batches += 1;
        figures.bytes += settled.bytes;
        drop(figures);
        tracing::debug!(
            target: "annals::worker",
            stored = settled.new,
            duplicates = settled.duplicates,
            failed = settled.burials.len(),
            retried = settled.retries.len(),
            bytes = settled.bytes,
            took = ?started.elapsed(),
            "batch"
        );
    }

    /// Gives leased events back untouched.
    async fn give_back(&self, deliveries: &[Delivery]) {
        let receipts: Vec<Receipt> = deliveries.iter().map(|one| one.receipt).collect();
        self.put_back(&receipts).await;
    }

    async fn put_back(&self, receipts: &[Receipt]) {
        if receipts.is_empty() {
            return;
        }
        self.shared.worker.gauge.lock().retried += receipts.len() as u64;
        if let Err(error) = self.transport.release(receipts).await {
            // They come back by themselves when the lease ends.
            tracing::warn!(target: "annals::worker", %error, events = receipts.len(), "could not give events back");
        }
    }

    /// Waits a while for a backend that is away, longer each time. What waiting
    /// does not mend is the worker's end.
    async fn wait_for(&mut self, error: Error) -> Result<()> {
        if matches!(error.kind(), ErrorKind::Closed | ErrorKind::Damaged | ErrorKind::Usage) {
            return Err(error);
        }
        self.misses += 1;
        let told = error.to_string();
        let known = self.shared.worker.gauge.lock().waiting_for.replace(told.clone());
        if known.as_ref() == Some(&told) {
            tracing::debug!(target: "annals::worker", misses = self.misses, "still waiting");
        } else {
            tracing::warn!(target: "annals::worker", %error, "waiting");
        }
        let until = Instant::now() + jitter(self.pause);
        while Instant::now() < until && self.shared.ended().is_none() {
            tokio::time::sleep(LOOK_UP.min(until - Instant::now())).await;
        }
        self.pause = LONGEST_PAUSE.min(self.pause * 2);
        Ok(())
    }

    fn recovered(&mut self) {
        if self.misses > 0 {
            self.shared.worker.gauge.lock().waiting_for = None;
            tracing::info!(target: "annals::worker", misses = self.misses, "going on");
            self.misses = 0;
            self.pause = FIRST_PAUSE;
        }
    }
}

/// A delivery without its body.
#[derive(Clone, Copy)]
struct Ticket {
    receipt: Receipt,
    attempts: u32,
}

/// What is to become of the deliveries of a batch.
#[derive(Default)]
struct Settled {
    acks: Vec<Receipt>,
    burials: Vec<(Receipt, String)>,
    retries: Vec<Ticket>,
    new: u64,
    duplicates: u64,
    refused: u64,
    bytes: u64,
    mirror_refused: u64,
}

fn bytes_of(batch: &[Delivery]) -> usize {
    batch.iter().map(|delivery| delivery.body.len()).sum()
}

/// A duration, give or take a fifth, so that many workers do not come at once.
fn jitter(duration: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    duration.mul_f64(0.8 + 0.4 * f64::from(random) / f64::from(u32::MAX))
}
