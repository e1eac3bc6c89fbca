//! The log's head and tiles, as rows.

use rusqlite::{Connection, OptionalExtension, Row};

use crate::error::{Error, ErrorKind, Result};
use crate::log::{Hash, Tile, TileReader};
use crate::sqlite::{Failure, explain};

/// The log's size, and what of it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Leaves: events that were ever there.
    pub(super) size: u64,
    /// Events that are there.
    pub(super) events: u64,
    /// Bytes of those events as encoded.
    pub(super) bytes: u64,
}

impl Head {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        connection
            .prepare_cached("SELECT size, events, bytes FROM annals_log_head")?
            .query_row([], |row| {
                Ok(Self { size: row.get(0)?, events: row.get(1)?, bytes: row.get(2)? })
            })
    }
}

/// Reads tiles.
pub(super) struct Tiles<'a>(pub(super) &'a Connection);

impl TileReader for Tiles<'_> {
    fn read_tile(&mut self, level: u8, index: u64, _width: usize) -> Result<Vec<Hash>> {
        let doing = || format!("read tile {index} of level {level} of the log");
        let hashes = |row: &Row<'_>| {
            let bytes = row.get_ref(0)?.as_blob()?;
            Ok(bytes.as_chunks::<32>().0.to_vec())
        };
        self.0
            .prepare_cached("SELECT hashes FROM annals_log_tiles WHERE level = ?1 AND idx = ?2")
            .and_then(|mut read| read.query_row((level, index), hashes).optional())
            .map_err(|error| explain(doing(), error))?
            .ok_or_else(|| {
                Error::new(ErrorKind::Damaged, doing(), "it is missing")
                    .hint("the store was altered or damaged: restore a backup")
            })
    }
}

/// Writes a tile in its new width.
pub(super) fn write_tile(connection: &Connection, tile: Tile<'_>) -> Result<(), Failure> {
    let mut write = connection.prepare_cached(
        "INSERT INTO annals_log_tiles (level, idx, hashes) VALUES (?1, ?2, ?3) \
         ON CONFLICT (level, idx) DO UPDATE SET hashes = excluded.hashes",
    )?;
    write.execute((tile.level, tile.index, tile.hashes.as_flattened()))?;
    Ok(())
}
