//! The worker: leases batches, appends them to a store, acknowledges.
//!
//! At-least-once delivery and idempotent appends are the whole story: an
//! acknowledgement follows the store's commit, so a worker that dies anywhere
//! loses nothing, and what is delivered again is recognised by its id.
//!
//! Each lane (see [`WorkerOptions::concurrency`]) leases the next batch while the
//! last one is appended, and holds nothing that its transport does not hold too.
//! What goes wrong is told apart by whose fault it is: an event that can never
//! be stored goes to failed alone, whoever came with it; a store that is away is
//! waited for, and no event's attempts are counted.

mod batch;
mod figures;
mod lane;
mod outcome;
mod redacting;
mod rescue;
mod sealing;
mod waiting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::error::{Error, ErrorKind, Result};
use crate::store::Appender;
use crate::transport::Transport;

pub use figures::{Distribution, Figures, Gauge};
use lane::Lane;
pub use redacting::Redact;
pub use sealing::Seal;
use waiting::Waiting;

/// How a worker works.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerOptions {
    /// Events of a batch, at most.
    pub batch_size: usize,
    /// Bytes of a batch, at most; a larger event is a batch of its own.
    pub batch_bytes: usize,
    /// The least time between two batches that are not full; an event that
    /// arrives after a longer pause is picked up at once.
    pub flush_interval: Duration,
    /// Lanes for each transport: batches appended at the same time.
    pub concurrency: usize,
    /// How often an event is tried again, after a failure that may be its fault,
    /// before it goes to failed.
    pub retries: u32,
    /// Before the first retry; each further one waits twice as long, give or
    /// take a fifth.
    pub first_retry: Duration,
    /// For how long a received event is this worker's. What a dead worker held
    /// is delivered again after that.
    pub lease: Duration,
    /// How long the store must be away before events are moved from a source that could
    /// run full to the spool (see [`Worker::spool`]); sooner if that is nearly full.
    pub rescue_after: Duration,
    /// Leave when there is nothing left.
    pub drain: bool,
    /// Leave after this time.
    pub time_limit: Option<Duration>,
    /// Leave after this many events.
    pub max_events: Option<u64>,
    /// Leave when the process occupies more than these bytes, so that whoever
    /// supervises it starts another. On Linux.
    pub memory_limit: Option<u64>,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            batch_size: 100,
            batch_bytes: 8 * 1024 * 1024,
            flush_interval: Duration::from_secs(5),
            concurrency: 1,
            retries: 3,
            first_retry: Duration::from_secs(1),
            lease: Duration::from_secs(60),
            rescue_after: Duration::from_secs(60),
            drain: false,
            time_limit: None,
            max_events: None,
            memory_limit: None,
        }
    }
}

/// Why a worker left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// Nothing was left.
    Drained,
    /// Its time was up.
    TimeLimit,
    /// It had its number of events.
    MaxEvents,
    /// The process had grown too large.
    MemoryLimit,
}

/// Tells a worker to finish the batch in hand and leave. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    /// Tells it. It leaves within a quarter of a second and a batch.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    fn is_told(&self) -> bool {
        *self.0.borrow()
    }
}

/// Moves events from transports to a store and its mirrors.
#[derive(Debug)]
pub struct Worker {
    store: Arc<dyn Appender>,
    mirrors: Vec<Arc<dyn Appender>>,
    transports: Vec<Arc<dyn Transport>>,
    spool: Option<Arc<dyn Transport>>,
    sealer: Option<Arc<dyn Seal>>,
    redactor: Option<Arc<dyn Redact>>,
    options: WorkerOptions,
    stop: Stop,
    gauge: Gauge,
}

impl Worker {
    /// A worker that appends to `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Appender>, options: WorkerOptions) -> Self {
        Self {
            store,
            mirrors: Vec::new(),
            transports: Vec::new(),
            spool: None,
            sealer: None,
            redactor: None,
            options,
            stop: Stop(Arc::new(watch::Sender::new(false))),
            gauge: Gauge::default(),
        }
    }

    /// Reads from this transport too.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transports.push(transport);
        self
    }

    /// Reads from this transport too, and while the store is away moves to it what waits
    /// in those that could run full.
    #[must_use]
    pub fn spool(mut self, spool: Arc<dyn Transport>) -> Self {
        self.spool = Some(Arc::clone(&spool));
        self.transport(spool)
    }

    /// Writes a plain copy there, after the store. An event is acknowledged when
    /// the mirrors have it as well.
    #[must_use]
    pub fn mirror(mut self, mirror: Arc<dyn Appender>) -> Self {
        self.mirrors.push(mirror);
        self
    }

    /// Seals personal values before they are appended. Without it, events that have such
    /// go to failed.
    #[must_use]
    pub fn sealer(mut self, sealer: Arc<dyn Seal>) -> Self {
        self.sealer = Some(sealer);
        self
    }

    /// Redacts what comes in, before it is sealed and stored.
    #[must_use]
    pub fn redactor(mut self, redactor: Arc<dyn Redact>) -> Self {
        self.redactor = Some(redactor);
        self
    }

    /// What tells it to leave.
    #[must_use]
    pub fn stop_handle(&self) -> Stop {
        self.stop.clone()
    }

    /// What shows its figures.
    #[must_use]
    pub fn gauge(&self) -> Gauge {
        self.gauge.clone()
    }

    /// Works until it is told to leave, or a limit of the options is reached.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] without a transport; [`ErrorKind::Closed`] when a
    /// handle is of no more use; [`ErrorKind::Damaged`] when a backend's data are
    /// damaged. A backend that is away is waited for.
    pub async fn run(self) -> Result<Ended> {
        if self.transports.is_empty() {
            return Err(Error::new(ErrorKind::Usage, "start a worker", "it has no transport"));
        }
        let stop = self.stop.clone();
        let shared =
            Arc::new(Shared { began: Instant::now(), worker: self, waiting: Waiting::default() });
        let mut lanes = JoinSet::new();
        for transport in &shared.worker.transports {
            for _ in 0..shared.worker.options.concurrency.max(1) {
                lanes.spawn(Lane::new(Arc::clone(&shared), Arc::clone(transport)).run());
            }
        }
        let mut outcome = Ok(Ended::Drained);
        while let Some(ended) = lanes.join_next().await {
            let ended = ended.map_err(|error| {
                Error::new(ErrorKind::Closed, "run a worker", format!("a lane stopped: {error}"))
            });
            match ended.and_then(|ended| ended) {
                // One lane's end by a limit is the worker's; each drains its own transport.
                Ok(Ended::Drained) => {}
                Ok(other) => {
                    stop.stop();
                    outcome = match outcome {
                        Ok(Ended::Drained | Ended::Stopped) => Ok(other),
                        earlier => earlier,
                    };
                }
                Err(error) => {
                    stop.stop();
                    outcome = outcome.and(Err(error));
                }
            }
        }
        outcome
    }
}

/// What the lanes share.
#[derive(Debug)]
struct Shared {
    began: Instant,
    worker: Worker,
    waiting: Waiting,
}

impl Shared {
    /// Whether it is time to leave, and why.
    fn ended(&self) -> Option<Ended> {
        let options = &self.worker.options;
        if self.worker.stop.is_told() {
            return Some(Ended::Stopped);
        }
        if options.time_limit.is_some_and(|limit| self.began.elapsed() >= limit) {
            return Some(Ended::TimeLimit);
        }
        if options.max_events.is_some_and(|limit| self.worker.gauge.taken() >= limit) {
            return Some(Ended::MaxEvents);
        }
        let too_large = |limit| resident_bytes().is_some_and(|bytes| bytes > limit);
        options.memory_limit.is_some_and(too_large).then_some(Ended::MemoryLimit)
    }

    /// How many more events may be received now, at most a batch.
    fn room(&self) -> usize {
        let options = &self.worker.options;
        let left = options
            .max_events
            .map_or(u64::MAX, |limit| limit.saturating_sub(self.worker.gauge.taken()));
        options.batch_size.max(1).min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// A lease long enough for a batch that waits for company.
    fn lease(&self) -> Duration {
        let options = &self.worker.options;
        options.lease.max(options.flush_interval * 2 + Duration::from_secs(5))
    }
}

/// Bytes of memory that the process occupies, where the system tells.
fn resident_bytes() -> Option<u64> {
    // proc(5): the second field of statm is the resident set in pages, which are
    // of 4 KiB wherever this matters.
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}
