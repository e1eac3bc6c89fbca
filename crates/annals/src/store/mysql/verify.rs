//! Checking the whole log against the rows.

use std::collections::HashMap;

use sqlx::Row;

use super::super::verify::{LogCheck, compare, leaf, wrong};
use super::tiles;
use crate::log::{Edge, Hash, TILE_WIDTH, Tile, Tiles};
use crate::mysql::{Connection, Failure, Pool, number};

/// Positions that are looked at in one go.
const STRETCH: u64 = 16 * TILE_WIDTH as u64;

/// Recomputes every leaf and compares with the tiles.
pub(super) async fn verify(pool: Pool) -> Result<LogCheck, Failure> {
    let mut snapshot = super::read::snapshot(&pool).await?;
    let head = snapshot.row("SELECT size, events FROM annals_log_head");
    let (size, listed): (i64, i64) = head.fetch_one(&mut *snapshot).await?;
    let size = size.unsigned_abs();
    // Of a month that is about to go, all is there or nothing.
    let dropped = snapshot.row(
        "SELECT CAST(COALESCE(SUM(IF(dropped_at IS NULL, 0, events)), 0) AS SIGNED), \
             CAST(COALESCE(SUM(IF(dropped_at IS NULL, events, 0)), 0) AS SIGNED) FROM annals_dropped",
    );
    let (dropped, going): (i64, i64) = dropped.fetch_one(&mut *snapshot).await?;
    let mut edge = Edge::new();
    let (mut events, mut absent) = (0, 0);
    while edge.size() < size {
        let until = size.min(edge.size() + STRETCH);
        let mut found = leaves(&mut snapshot, edge.size(), until).await?;
        let places: Vec<(u8, u64)> = (edge.size() / TILE_WIDTH as u64
            ..until.div_ceil(TILE_WIDTH as u64))
            .map(|index| (0, index))
            .collect();
        let lowest = tiles::read(&mut snapshot, &places).await?;
        let mut hashes = Vec::new();
        for position in edge.size()..until {
            let hash = match found.remove(&position) {
                Some((hash, is_event)) => {
                    events += u64::from(is_event);
                    hash
                }
                // It went with its month: the tile is what is left.
                None if absent < dropped + going => {
                    absent += 1;
                    hash_at(&lowest, position)?
                }
                None => {
                    let found = format!("the event at position {position} is missing");
                    return Err(wrong(found).into());
                }
            };
            hashes.push(hash);
        }
        let mut touched: Vec<(u8, u64, Vec<Hash>)> = Vec::new();
        edge.append(&hashes, |Tile { level, index, hashes }| {
            touched.push((level, index, hashes.to_vec()));
            Ok::<_, Failure>(())
        })?;
        let places: Vec<(u8, u64)> =
            touched.iter().map(|(level, index, _)| (*level, *index)).collect();
        let stored = tiles::read(&mut snapshot, &places).await?;
        for (level, index, hashes) in &touched {
            let stored = stored.get((*level, *index));
            compare(Tile { level: *level, index: *index, hashes }, stored)?;
        }
    }
    let beyond: i64 =
        snapshot.scalar("SELECT COUNT(*) FROM annals_events").fetch_one(&mut *snapshot).await?;
    snapshot.commit().await?;
    if absent != dropped && absent != dropped + going {
        let found = format!("{dropped} events went with their months, but {absent} are missing");
        return Err(wrong(found).into());
    }
    // Those of a month that has just gone are still in the head's figures.
    let listed = listed - (absent - dropped);
    if [number(events), beyond] != [listed; 2] {
        return Err(wrong(format!(
            "the head names {listed} events, but {events} are in the log and {beyond} in the table"
        ))
        .into());
    }
    Ok(LogCheck { size, events, root: edge.root() })
}

/// The leaves of a stretch by position, and whether each is that of an event.
async fn leaves(
    snapshot: &mut Connection,
    from: u64,
    until: u64,
) -> Result<HashMap<u64, (Hash, bool)>, Failure> {
    // The appends that reach into the stretch begin with the one in which it begins.
    const EVENTS: &str = "SELECT a.first + e.place, e.id, e.salt, e.body \
         FROM annals_appends a FORCE INDEX (annals_appends_first) \
         STRAIGHT_JOIN annals_events e FORCE INDEX (annals_events_append) ON e.append = a.number \
         WHERE a.first >= COALESCE((SELECT MAX(first) FROM annals_appends WHERE first <= ?), 0) \
             AND a.first < ? AND a.first + e.place >= ? AND a.first + e.place < ?";
    const TOMBSTONES: &str = "SELECT position, id, NULL, commitment FROM annals_tombstones \
         WHERE position >= ? AND position < ?";
    let (from, until) = (number(from), number(until));
    let read = snapshot.query(EVENTS).bind(from).bind(until).bind(from).bind(until);
    let mut rows = read.fetch_all(&mut **snapshot).await?;
    let read = snapshot.query(TOMBSTONES).bind(from).bind(until);
    rows.extend(read.fetch_all(&mut **snapshot).await?);
    let mut leaves = HashMap::with_capacity(rows.len());
    for row in rows {
        let position = row.try_get::<i64, _>(0)?.unsigned_abs();
        let id: [u8; 16] = row
            .try_get::<&[u8], _>(1)?
            .try_into()
            .map_err(|_| wrong(format!("the id at position {position} has not 16 bytes")))?;
        let salt: Option<&[u8]> = row.try_get(2)?;
        let hash = leaf(position, id, salt, row.try_get(3)?)?;
        if leaves.insert(position, (hash, salt.is_some())).is_some() {
            return Err(wrong(format!("two events have position {position}")).into());
        }
    }
    Ok(leaves)
}

fn hash_at(tiles: &Tiles, position: u64) -> Result<Hash, Failure> {
    let (index, at) = (position / TILE_WIDTH as u64, position % TILE_WIDTH as u64);
    let tile = tiles.get((0, index));
    usize::try_from(at)
        .ok()
        .and_then(|at| tile.get(at).copied())
        .ok_or_else(|| wrong(format!("position {position} has neither an event nor a hash")).into())
}
