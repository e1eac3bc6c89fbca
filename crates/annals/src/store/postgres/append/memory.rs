//! What a handle remembers from one append to the next.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::partitions::Partitions;
use crate::log::Edge;
use crate::postgres::Pool;

/// Numbers of appends that a handle draws at a time.
const BLOCK: i64 = 1_000;

/// Appends in a row after which a handle takes itself to be the only one that appends.
const ALONE: u32 = 4;

/// Shared by the appends of a handle.
#[derive(Debug, Default)]
pub(in super::super) struct Memory(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// The log's edge after the last append.
    edge: Option<Edge>,
    /// Appends in a row between which nobody else appended.
    alone: u32,
    partitions: Partitions,
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
        let draw = connection.scalar("SELECT nextval('annals_append_blocks')");
        let block: i64 = draw.fetch_one(&mut *connection).await?;
        connection.commit().await?;
        self.lock().numbers = block * BLOCK + 1..(block + 1) * BLOCK;
        Ok(block * BLOCK)
    }

    /// The log's edge after the last append, for the one append that goes on from it.
    pub(super) fn take_edge(&self) -> Option<Edge> {
        self.lock().edge.take()
    }

    /// The same, if this handle is likely to be the one that appends next.
    pub(super) fn take_edge_if_alone(&self) -> Option<Edge> {
        let mut remembered = self.lock();
        if remembered.alone >= ALONE { remembered.edge.take() } else { None }
    }

    pub(super) fn keep_edge(&self, edge: Edge) {
        self.lock().edge = Some(edge);
    }

    /// Whether the log was found as this handle had left it.
    pub(super) fn was_alone(&self, alone: bool) {
        let mut remembered = self.lock();
        remembered.alone = if alone { remembered.alone.saturating_add(1) } else { 0 };
    }

    /// The partitions that this handle has met.
    pub(super) fn partitions(&self) -> Partitions {
        self.lock().partitions.clone()
    }

    pub(super) fn keep_partitions(&self, partitions: Partitions) {
        self.lock().partitions = partitions;
    }
}
