//! Comparing a store's log with its events, whatever the database.

use crate::error::{Error, ErrorKind, Result};
use crate::event::EventId;
use crate::log::{self, Hash, SALT_BYTES, TILE_WIDTH, Tile};

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

/// The leaf of an event, or of a tombstone, which has no salt and whose bytes are
/// the commitment.
pub(super) fn leaf(position: u64, id: [u8; 16], salt: Option<&[u8]>, bytes: &[u8]) -> Result<Hash> {
    let no = |what: &str| wrong(format!("the {what} at position {position}"));
    let id = EventId::from_bytes(id).ok_or_else(|| no("id is no UUIDv7"))?;
    let commitment = match salt {
        Some(salt) => {
            let salt: &[u8; SALT_BYTES] =
                salt.try_into().map_err(|_| no("salt has not 32 bytes"))?;
            log::commitment(salt, bytes)
        }
        None => bytes.try_into().map_err(|_| no("commitment has not 32 bytes"))?,
    };
    Ok(log::leaf_hash(&log::entry(id, &commitment)))
}

/// Whether a stored tile begins with what the rows say. The one at the edge grows
/// while the rows are walked, and is compared in its final width last.
pub(super) fn compare(tile: Tile<'_>, stored: &[Hash]) -> Result<()> {
    let differs = tile.hashes.iter().zip(stored).position(|(ours, theirs)| ours != theirs);
    if differs.is_none() && stored.len() >= tile.hashes.len() {
        return Ok(());
    }
    let at = differs.unwrap_or(stored.len()) as u64 + tile.index * TILE_WIDTH as u64;
    Err(wrong(match tile.level {
        0 => format!("the event at position {at} is not the one that was appended"),
        level => format!("hash {at} of level {level} is not that of the leaves below it"),
    }))
}

/// What was found is not as it was appended.
pub(super) fn wrong(found: String) -> Error {
    Error::new(ErrorKind::Damaged, "verify the log", found)
        .hint("the store was altered or damaged: keep it for inspection and restore a backup")
}
