//! What a handle remembers from one append to the next.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::log::Edge;
use crate::mysql::Pool;

/// Numbers of appends that a handle draws at a time.
const BLOCK: i64 = 1_000;

/// Shared by the appends of a handle.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// The log's edge after the last append.
    edge: Option<Edge>,
    /// Numbers of appends that are drawn and not used.
    numbers: Range<i64>,
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
}
