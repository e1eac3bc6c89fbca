//! Waiting with a bound.

use std::time::{Duration, Instant};

/// Of the time between two looks so much counts, at most.
const MOST: Duration = Duration::from_secs(1);

/// How long something may take. A machine that stands still for a while, as a virtual one does
/// while it is moved, uses up none of it.
#[derive(Debug)]
pub struct Patience {
    left: Duration,
    looked: Instant,
}

impl Patience {
    /// As long as this, from now on.
    #[must_use]
    pub fn of(left: Duration) -> Self {
        Self { left, looked: Instant::now() }
    }

    /// Whether it is at its end; to be asked again and again.
    pub fn is_over(&mut self) -> bool {
        let now = Instant::now();
        self.left = self.left.saturating_sub(now.duration_since(self.looked).min(MOST));
        self.looked = now;
        self.left.is_zero()
    }
}
