//! Checking the whole log against the rows.

use rusqlite::{Connection, Row, Transaction};

use super::tiles::{Head, Tiles};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventId;
use crate::log::{self, Edge, Hash, SALT_BYTES, TILE_WIDTH, Tile, TileReader, root_at};
use crate::sqlite::Failure;

/// A log that was found whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogCheck {
    /// Its leaves.
    pub size: u64,
    /// Events that are there; the others were pruned.
    pub events: u64,
    /// Its root, recomputed from every row and tombstone.
    pub root: Hash,
}

/// The root as the tiles have it.
pub(super) fn root(connection: &mut Connection) -> Result<(u64, Hash), Failure> {
    let transaction = connection.transaction()?;
    let size = Head::read(&transaction)?.size;
    Ok((size, root_at(size, &mut Tiles(&transaction))?))
}

/// Recomputes every leaf and compares with the tiles.
pub(super) fn verify(connection: &mut Connection) -> Result<LogCheck, Failure> {
    // One snapshot, so that appends may go on meanwhile.
    let transaction = connection.transaction()?;
    let head = Head::read(&transaction)?;
    let mut select = transaction.prepare(
        "SELECT position, id, salt, body FROM annals_events UNION ALL \
         SELECT position, id, NULL, commitment FROM annals_tombstones ORDER BY position",
    )?;
    let mut rows = select.query([])?;
    let mut edge = Edge::new();
    let (mut leaves, mut events) = (Vec::with_capacity(TILE_WIDTH), 0);
    while let Some(row) = rows.next()? {
        let expected = edge.size() + leaves.len() as u64;
        let position: u64 = row.get(0)?;
        if position != expected {
            return Err(
                wrong(format!("position {position} follows {expected}, which is missing")).into()
            );
        }
        events += u64::from(row.get_ref(2)? != rusqlite::types::ValueRef::Null);
        leaves.push(leaf(row)?);
        if leaves.len() == TILE_WIDTH {
            edge.append(&leaves, |tile| compare(&transaction, tile))?;
            leaves.clear();
        }
    }
    edge.append(&leaves, |tile| compare(&transaction, tile))?;
    if (edge.size(), events) != (head.size, head.events) {
        let found = format!(
            "the head names {} leaves and {} events, but {} and {events} are there",
            head.size,
            head.events,
            edge.size()
        );
        return Err(wrong(found).into());
    }
    Ok(LogCheck { size: head.size, events, root: edge.root() })
}

/// The leaf of a row or a tombstone, which has no salt.
fn leaf(row: &Row<'_>) -> Result<Hash, Failure> {
    let bytes = row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
    let commitment = match row.get::<_, Option<[u8; SALT_BYTES]>>(2)? {
        Some(salt) => log::commitment(&salt, bytes),
        None => row.get(3)?,
    };
    let id = EventId::from_bytes(row.get(1)?).ok_or_else(|| {
        let position = row.get::<_, u64>(0).unwrap_or_default();
        wrong(format!("the id at position {position} is no UUIDv7"))
    })?;
    Ok(log::leaf_hash(&log::entry(id, &commitment)))
}

/// Whether a stored tile begins with what the rows say. The one at the edge
/// grows while the rows are walked, and is compared in its final width last.
fn compare(transaction: &Transaction<'_>, tile: Tile<'_>) -> Result<(), Failure> {
    let stored = Tiles(transaction).read_tile(tile.level, tile.index, tile.hashes.len())?;
    let differs = tile.hashes.iter().zip(&stored).position(|(ours, theirs)| ours != theirs);
    if differs.is_none() && stored.len() >= tile.hashes.len() {
        return Ok(());
    }
    let at = differs.unwrap_or(stored.len()) as u64 + tile.index * TILE_WIDTH as u64;
    Err(wrong(match tile.level {
        0 => format!("the event at position {at} is not the one that was appended"),
        level => format!("hash {at} of level {level} is not that of the leaves below it"),
    })
    .into())
}

fn wrong(found: String) -> Error {
    Error::new(ErrorKind::Damaged, "verify the log", found)
        .hint("the store was altered or damaged: keep it for inspection and restore a backup")
}
