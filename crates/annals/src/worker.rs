//! The worker: leases batches, appends them to a store, acknowledges.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::store::Appender;
use crate::transport::Transport;

/// How a worker works.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerOptions {
    /// Events of a batch, at most.
    pub batch_size: usize,
    /// Bytes of a batch, at most.
    pub batch_bytes: usize,
    /// How long a batch that is not full may wait for more, unless the worker was idle.
    pub flush_interval: Duration,
    /// Batches at a time, for each transport.
    pub concurrency: usize,
    /// How often an event is tried again before it is buried.
    pub retries: u32,
    /// For how long a received event is this worker's.
    pub lease: Duration,
    /// Leave when there is nothing left.
    pub drain: bool,
    /// Leave after this time.
    pub time_limit: Option<Duration>,
    /// Leave after this many events.
    pub max_events: Option<u64>,
    /// Leave when the process occupies more than these bytes.
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
            lease: Duration::from_secs(60),
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

/// What a worker has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Events received, retries included.
    pub received: u64,
    /// Events newly stored.
    pub stored: u64,
    /// Events that were stored already.
    pub duplicates: u64,
    /// Events buried.
    pub failed: u64,
    /// Events put back for another try.
    pub retried: u64,
    /// Batches appended.
    pub batches: u64,
    /// Bytes of the events stored.
    pub bytes: u64,
    /// What it waits for, if it waits for a backend.
    pub waiting_for: Option<String>,
}

/// Tells a worker to finish the batch in hand and leave. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stop;

impl Stop {
    /// Tells it.
    pub fn stop(&self) {
        todo!()
    }
}

/// Shows what a worker has done so far, from anywhere. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gauge;

impl Gauge {
    /// What it has done so far.
    pub fn read(&self) -> Figures {
        todo!()
    }
}

/// Moves events from transports to a store and its mirrors.
#[derive(Debug)]
pub struct Worker;

impl Worker {
    /// A worker that appends to `store`.
    pub fn new(_store: Arc<dyn Appender>, _options: WorkerOptions) -> Self {
        todo!()
    }
    /// Reads from this transport too.
    #[must_use]
    pub fn transport(self, _transport: Arc<dyn Transport>) -> Self {
        todo!()
    }
    /// Writes a plain copy there, after the store.
    #[must_use]
    pub fn mirror(self, _mirror: Arc<dyn Appender>) -> Self {
        todo!()
    }
    /// What tells it to leave.
    pub fn stop_handle(&self) -> Stop {
        todo!()
    }
    /// What shows its figures.
    pub fn gauge(&self) -> Gauge {
        todo!()
    }
    /// Works until it is told to leave, or a limit of the options is reached.
    ///
    /// # Errors
    /// When a transport's or the store's handle is of no more use.
    pub async fn run(self) -> Result<Ended> {
        todo!()
    }
}
