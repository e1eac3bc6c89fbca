//! Checking the whole log against the rows.

use std::collections::HashMap;

use sqlx::Row;

use super::super::verify::{LogCheck, compare, leaf, wrong};
use super::tiles;
use crate::log::{Edge, Hash, TILE_WIDTH, Tile, Tiles};
use crate::postgres::{Connection, Failure, Pool, number};

/// Positions that are looked at in one go.
const STRETCH: u64 = 16 * TILE_WIDTH as u64;

/// Recomputes every leaf and compares with the tiles.
pub(super) async fn verify(pool: Pool) -> Result<LogCheck, Failure> {
    let mut snapshot = super::read::snapshot(&pool).await?;
    let size = tiles::size(&mut snapshot).await?;
    let counted =
        snapshot.row("SELECT sum(events)::int8, sum(dropped)::int8 FROM annals_partitions");
    let (listed, dropped): (i64, i64) = counted.fetch_one(&mut *snapshot).await?;
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
                // It went with its partition: the tile is what is left.
                None => {
                    absent += 1;
                    hash_at(&lowest, position)?
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
    snapshot.commit().await?;
    if (number(events), number(absent)) != (listed, dropped) {
        return Err(wrong(format!(
            "the partitions name {listed} events and {dropped} dropped ones, but {events} are there and \
             {absent} are missing"
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
    let read = snapshot.query(
        "SELECT a.first + e.rank, e.id, e.salt, convert_to(e.body, 'UTF8') FROM annals_appends a \
             JOIN annals_events e ON e.append = a.number \
         WHERE a.first + a.events > $1 AND a.first < $2 AND a.first + e.rank >= $1 AND a.first + e.rank < $2 \
         UNION ALL SELECT position, id, NULL, commitment FROM annals_tombstones \
         WHERE position >= $1 AND position < $2",
    );
    let rows = read.bind(number(from)).bind(number(until)).fetch_all(&mut **snapshot).await?;
    let mut leaves = HashMap::with_capacity(rows.len());
    for row in rows {
        let position = row.try_get::<i64, _>(0)?.unsigned_abs();
        let id: uuid::Uuid = row.try_get(1)?;
        let salt: Option<&[u8]> = row.try_get(2)?;
        let hash = leaf(position, id.into_bytes(), salt, row.try_get(3)?)?;
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
