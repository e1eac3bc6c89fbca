//! What a worker has done so far.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Upper bounds of times, in microseconds: from 1 ms to an hour.
const TIMES: &[u64] = &[
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    3_600_000_000,
];

/// Upper bounds of numbers of events.
const NUMBERS: &[u64] = &[1, 10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

/// How often which value was seen, by ranges of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    bounds: &'static [u64],
    /// One for each bound, and one for what is larger than all of them.
    counts: Vec<u64>,
    sum: u64,
}

impl Distribution {
    /// Of times in microseconds.
    pub(super) fn of_times() -> Self {
        Self { bounds: TIMES, counts: vec![0; TIMES.len() + 1], sum: 0 }
    }

    fn of_numbers() -> Self {
        Self { bounds: NUMBERS, counts: vec![0; NUMBERS.len() + 1], sum: 0 }
    }

    pub(super) fn add(&mut self, value: u64) {
        let range = self.bounds.partition_point(|bound| *bound < value);
        self.counts[range] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Adds what another with the same ranges has seen.
    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// The upper bound of each range, included in it, and how many values lie in it; without
    /// a bound those that are larger than all.
    pub fn ranges(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        bounds.zip(self.counts.iter().copied())
    }

    /// How many values were seen.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What they add up to.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }
}

/// What a worker has done so far.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Events of each batch.
    pub batch_events: Distribution,
    /// How long the store and the mirrors took for each batch, in microseconds.
    pub store_micros: Distribution,
    /// How long ago each newly stored event had occurred when it could be read, in
    /// microseconds.
    pub lag_micros: Distribution,
    /// What it waits for, if it waits for a backend.
    pub waiting_for: Option<String>,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            received: 0,
            stored: 0,
            duplicates: 0,
            failed: 0,
            conflicts: 0,
            retried: 0,
            rescued: 0,
            redacted: 0,
            mirror_refused: 0,
            batches: 0,
            bytes: 0,
            batch_events: Distribution::of_numbers(),
            store_micros: Distribution::of_times(),
            lag_micros: Distribution::of_times(),
            waiting_for: None,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_in_the_range_whose_bound_it_does_not_exceed() {
        let mut seen = Distribution::of_numbers();
        for value in [0, 1, 2, 10, 10_000, 10_001, u64::MAX] {
            seen.add(value);
        }
        let some: Vec<_> = seen.ranges().filter(|(_, count)| *count > 0).collect();
        assert_eq!(some, [(Some(1), 2), (Some(10), 2), (Some(10_000), 1), (None, 2)]);
        assert_eq!((seen.count(), seen.sum()), (7, u64::MAX));
        let mut both = Distribution::of_numbers();
        both.add(3);
        both.merge(&seen);
        assert_eq!(both.count(), 8);
    }
}
