//! Pruning: whole partitions are dropped, single rows become tombstones; the log
//! stays as it is.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::super::{PrunePlan, Removed};
use super::hold;
use crate::event::Timestamp;
use crate::log::Positions;
use crate::postgres::{Failure, Pool, Time, number};

/// How often a step is tried that met someone else's lock.
pub(super) const TRIES: usize = 5;

pub(super) async fn plan(pool: Pool, before: Timestamp) -> Result<PrunePlan, Failure> {
    let mut connection = pool.connect().await?;
    let plan =
        connection.query("SELECT events, bytes, below, oldest, newest FROM annals_prune_plan($1)");
    let row = plan.bind(Time(before)).fetch_one(&mut *connection).await?;
    let below = row.try_get::<i64, _>(2)?.unsigned_abs();
    let held = hold::held(&mut connection, before, below).await?;
    connection.commit().await?;
    let figure = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    let time = |column| row.try_get::<Option<Time>, _>(column);
    Ok(PrunePlan {
        events: figure(0)?,
        bytes: figure(1)?,
        below,
        held: held.count(),
        oldest: time(3)?.map(|time| time.0),
        newest: time(4)?.map(|time| time.0),
    })
}

/// The positions of what pruning would remove, save those of the events that tell of
/// removals, which stay.
pub(super) async fn list(pool: Pool, before: Timestamp, below: u64) -> Result<Positions, Failure> {
    const RUNS: &str = "SELECT first, last FROM annals_prune_list($1, $2)";
    const TELLING: &str = "SELECT a.first + e.rank FROM annals_events e JOIN annals_appends a ON a.number = e.append \
         WHERE e.entity_type = 'store' AND e.entity_id IS NULL AND e.action = 'annals.pruned'";
    let mut snapshot = super::read::snapshot(&pool).await?;
    let runs = snapshot.row::<(i64, i64)>(RUNS).bind(Time(before)).bind(number(below));
    let mut positions = Positions::default();
    for (first, last) in runs.fetch_all(&mut *snapshot).await? {
        positions.add(first.unsigned_abs(), last.unsigned_abs());
    }
    for position in snapshot.scalar::<i64>(TELLING).fetch_all(&mut *snapshot).await? {
        positions.take_out(position.unsigned_abs());
    }
    positions.take_out_all(&hold::held(&mut snapshot, before, below).await?);
    snapshot.commit().await?;
    Ok(positions)
}

/// Drops a partition, or removes up to `limit` events, in one transaction.
pub(super) async fn step(
    pool: Pool,
    before: Timestamp,
    below: u64,
    limit: usize,
) -> Result<Removed, Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        match step_once(&pool, before, below, limit).await {
            Err(error) if tries < TRIES && met_a_lock(&error) => {}
            done => return Ok(done?),
        }
    }
}

async fn step_once(
    pool: &Pool,
    before: Timestamp,
    below: u64,
    limit: usize,
) -> sqlx::Result<Removed> {
    const PARTITION: &str = "SELECT events, bytes FROM annals_prune_partition($1, $2)";
    const ROWS: &str = "SELECT events, bytes FROM annals_prune($1, $2, $3)";
    let mut connection = pool.connect().await?;
    // Events of a month that is not over are still to come.
    let over = before.min(Timestamp::now());
    let prune = connection.query(PARTITION).bind(Time(over)).bind(number(below));
    let mut row = prune.fetch_one(&mut *connection).await?;
    if removed(&row)?.is_none() {
        let prune = connection.query(ROWS).bind(Time(before)).bind(number(below));
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        row = prune.bind(limit).fetch_one(&mut *connection).await?;
    }
    connection.commit().await?;
    Ok(removed(&row)?.unwrap_or_default())
}

pub(super) fn removed(row: &PgRow) -> sqlx::Result<Option<Removed>> {
    let (events, bytes): (Option<i64>, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
    Ok(events.zip(bytes).map(|(events, bytes)| Removed {
        events: events.unsigned_abs(),
        bytes: bytes.unsigned_abs(),
    }))
}

/// Someone held what the step needed, or both waited for each other.
pub(super) fn met_a_lock(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .is_some_and(|code| matches!(&*code, "40P01" | "55P03"))
}
