//! What a handle remembers from one append to the next.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::log::Edge;
use crate::mysql::Pool;

/// Numbers of appends that a handle draws at a time.
const BLOCK: i64 = 1_000;

/// How many milliseconds before a month begins its partition is made: a week.
const NEAR: i64 = 7 * 86_400_000;

/// How long a handle waits before it tries again to make partitions.
const PAUSE: Duration = Duration::from_secs(60);

/// Shared by the appends of a handle.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// The log's edge after the last append.
    edge: Option<Edge>,
    /// Numbers of appends that are drawn and not used.
    numbers: Range<i64>,
    /// The millisecond up to which partitions are made.
    made_until: i64,
    /// When they were last tried to be made.
    tried: Option<Instant>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that no other append has.
    pub(super) async fn number(&self, pool: &Pool) -> sqlx::Result<i64> {
        if let Some(number) = self.lock().numbers.next() {
            return Ok(number);
        }
        let mut connection = pool.connect().await?;
        let draw =
            connection.query("UPDATE annals_append_blocks SET next = LAST_INSERT_ID(next) + 1");
        let drawn = draw.execute(&mut *connection).await?.last_insert_id();
        connection.commit().await?;
        let block = i64::try_from(drawn).unwrap_or(i64::MAX / BLOCK);
        self.lock().numbers = block * BLOCK + 1..(block + 1) * BLOCK;
        Ok(block * BLOCK)
    }

    /// The log's edge after the last append, for the one append that goes on from it.
    pub(super) fn take_edge(&self) -> Option<Edge> {
        self.lock().edge.take()
    }

    pub(super) fn keep_edge(&self, edge: Edge) {
        self.lock().edge = Some(edge);
    }

    /// Whether it is time to see to it that there is a partition for what comes after this millisecond.
    pub(super) fn wants_partitions(&self, millis: i64) -> bool {
        let mut remembered = self.lock();
        let wants = millis >= remembered.made_until - NEAR
            && remembered.tried.is_none_or(|tried| tried.elapsed() >= PAUSE);
        if wants {
            remembered.tried = Some(Instant::now());
        }
        wants
    }

    pub(super) fn keep_made_until(&self, millis: i64) {
        self.lock().made_until = millis;
    }
}
