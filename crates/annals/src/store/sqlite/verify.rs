//! Checking the whole log against the rows.

use rusqlite::{Connection, Row, Transaction};

use super::tiles::{Head, Tiles};
use crate::error::Result;
use crate::log::{Edge, Hash, TILE_WIDTH, Tile, TileReader, root_at};
use crate::sqlite::Failure;
use crate::store::verify::{self, LogCheck, wrong};

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
    let salt = row.get_ref(2)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
    Ok(verify::leaf(row.get(0)?, row.get(1)?, salt, bytes)?)
}

/// Whether a stored tile begins with what the rows say.
fn compare(transaction: &Transaction<'_>, tile: Tile<'_>) -> Result<(), Failure> {
    let stored = Tiles(transaction).read_tile(tile.level, tile.index, tile.hashes.len())?;
    Ok(verify::compare(tile, &stored)?)
}
