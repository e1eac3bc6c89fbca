//! Visits the shop as its people would: a plausible mix of requests at a fixed
//! rate, the same for the same seed.

mod client;
mod dice;
mod visitor;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use visitor::{VISITORS, Visitor};

/// Sends requests to a shop.
#[derive(Clone, Copy, Debug)]
pub struct Driver {
    address: SocketAddr,
    seed: u64,
}

/// What the visits came to.
#[derive(Clone, Debug, Default)]
pub struct Visits {
    /// Requests that the shop did.
    pub done: u64,
    /// Requests that it refused (status 4xx), as some should be.
    pub refused: u64,
    /// Requests that failed (status 5xx, or no answer).
    pub failed: u64,
    /// How long each answer took, shortest first.
    pub times: Vec<Duration>,
}

impl Visits {
    /// The time within which this share (0 to 1) of the answers came.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let last = self.times.len().saturating_sub(1);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place in a list, far below 2^53"
        )]
        let at = (last as f64 * share.clamp(0.0, 1.0)).round() as usize;
        self.times.get(at).copied().unwrap_or_default()
    }

    fn add(&mut self, other: Self) {
        self.done += other.done;
        self.refused += other.refused;
        self.failed += other.failed;
        self.times.extend(other.times);
    }
}

impl Driver {
    /// A driver for the shop at `address`.
    #[must_use]
    pub fn new(address: SocketAddr, seed: u64) -> Self {
        Self { address, seed }
    }

    /// Sends `rate` requests a second in all, for `duration`; a shop that does
    /// not keep up gets fewer. Each visitor has a connection of their own.
    pub async fn run(&self, duration: Duration, rate: f64) -> Visits {
        let end = Instant::now() + duration;
        let visitors = VISITORS.len();
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let pause = Duration::from_secs_f64(visitors as f64 / rate.max(0.01));
        let mut all = JoinSet::new();
        for index in 0..visitors {
            let visitor = Visitor::new(index, self.address, self.seed);
            // They do not all come at once.
            let share = u32::try_from(index).unwrap_or(0);
            let first = pause * share / u32::try_from(visitors).unwrap_or(1);
            all.spawn(visit(visitor, first, pause, end));
        }
        let mut visits = Visits::default();
        while let Some(visited) = all.join_next().await {
            visits.add(visited.unwrap_or_default());
        }
        visits.times.sort_unstable();
        visits
    }
}

async fn visit(mut visitor: Visitor, first: Duration, pause: Duration, end: Instant) -> Visits {
    let mut visits = Visits::default();
    tokio::time::sleep(first).await;
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let began = Instant::now();
        if began >= end {
            return visits;
        }
        match visitor.visit().await {
            Some(200..400) => visits.done += 1,
            Some(400..500) => visits.refused += 1,
            _ => visits.failed += 1,
        }
        visits.times.push(began.elapsed());
    }
}
