//! What a worker has done so far.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a worker has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Events received, those that came back included.
    pub received: u64,
    /// Events newly stored.
    pub stored: u64,
    /// Events that were stored already.
    pub duplicates: u64,
    /// Events that went to failed.
    pub failed: u64,
    /// Of those, events that the store refused: their id is stored with other
    /// bytes, or was pruned.
    pub conflicts: u64,
    /// Events put back for another try.
    pub retried: u64,
    /// Events moved to the spool while the store was away, from where they are received
    /// again.
    pub rescued: u64,
    /// Events in which something was redacted, those that came back included.
    pub redacted: u64,
    /// Events that a mirror refused and the store has.
    pub mirror_refused: u64,
    /// Batches appended.
    pub batches: u64,
    /// Bytes of the events newly stored.
    pub bytes: u64,
    /// What it waits for, if it waits for a backend.
    pub waiting_for: Option<String>,
}

/// Shows what a worker has done so far, from anywhere. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<Mutex<Figures>>);

impl Gauge {
    /// What it has done so far.
    #[must_use]
    pub fn read(&self) -> Figures {
        self.lock().clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events received for good: what was put back, or elsewhere, is received again.
    pub(super) fn taken(&self) -> u64 {
        let figures = self.lock();
        figures.received.saturating_sub(figures.retried + figures.rescued)
    }
}
