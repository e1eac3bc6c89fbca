//! Chance that can be had again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Sets the seed; without it the clock does.
const SEED: &str = "ANNALS_TEST_SEED";

/// A xorshift64* generator. The same seed throws the same dice; what the kernel's
/// scheduler makes of them is its own affair.
#[derive(Clone)]
pub(super) struct Dice(u64);

impl Dice {
    /// Says its seed, which is shown when the test fails.
    pub(super) fn new() -> Self {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(clock) | 1;
        println!("{SEED}={seed}");
        Self(seed)
    }

    fn throw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below this.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.throw() >> 33) as usize % bound.max(1)
    }

    /// True in so many of a hundred cases.
    pub(super) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Sleeps for up to this long.
    pub(super) fn pause(&mut self, longest: Duration) {
        std::thread::sleep(longest.mul_f64(self.below(1000) as f64 / 1000.0));
    }

    /// Dice for another thread.
    pub(super) fn another(&mut self) -> Self {
        Self(self.throw() | 1)
    }
}
