//! The log's tiles, as rows.

use sqlx::Row;

use crate::error::Result;
use crate::log::{self, Edge, Hash, Place, Tile, Tiles, border, tiles_read};
use crate::postgres::{Connection, Failure, number};

/// Tiles that are about to be written: their levels, their places, their hashes.
#[derive(Default)]
pub(super) struct Written {
    pub(super) levels: Vec<i16>,
    pub(super) places: Vec<i64>,
    pub(super) tiles: Vec<Vec<u8>>,
}

impl Written {
    pub(super) fn push(&mut self, tile: Tile<'_>) {
        self.levels.push(i16::from(tile.level));
        self.places.push(number(tile.index));
        self.tiles.push(tile.hashes.as_flattened().to_vec());
    }

    /// How many bytes their hashes have.
    pub(super) fn bytes(&self) -> usize {
        self.tiles.iter().map(Vec::len).sum()
    }

    /// Writes them.
    pub(super) async fn write(self, connection: &mut Connection) -> sqlx::Result<()> {
        let extend = connection.query("SELECT annals_log_extend($1, $2, $3)");
        let extend = extend.bind(self.levels).bind(self.places).bind(self.tiles);
        extend.execute(&mut **connection).await.map(drop)
    }

    /// The statement that writes them, with all values in it.
    pub(super) fn statement(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let list =
            |numbers: &mut dyn Iterator<Item = String>| numbers.collect::<Vec<_>>().join(",");
        let levels = list(&mut self.levels.iter().map(i16::to_string));
        let places = list(&mut self.places.iter().map(i64::to_string));
        let mut tiles =
            String::with_capacity(self.tiles.iter().map(|tile| 4 + 2 * tile.len()).sum());
        for tile in &self.tiles {
            tiles.push_str(if tiles.is_empty() { "\\\\x" } else { ",\\\\x" });
            for byte in tile {
                tiles.push(char::from(DIGITS[usize::from(byte >> 4)]));
                tiles.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
        format!("SELECT annals_log_extend('{{{levels}}}', '{{{places}}}', '{{{tiles}}}'); ")
    }
}

/// The edge of a log of `size` leaves, from the tiles at it by level, as
/// annals_append answers them.
pub(super) fn edge(size: u64, tiles: Vec<Option<Vec<u8>>>) -> Result<Edge> {
    let mut at_edge = Tiles::default();
    for (place, tile) in border(size).into_iter().zip(tiles) {
        if let Some(tile) = tile {
            at_edge.insert(place, hashes(&tile));
        }
    }
    Edge::load(size, &mut at_edge)
}

pub(super) fn hashes(bytes: &[u8]) -> Vec<Hash> {
    bytes.as_chunks::<32>().0.to_vec()
}

/// Reads tiles by their places.
pub(super) async fn read(connection: &mut Connection, places: &[Place]) -> Result<Tiles, Failure> {
    let (levels, indexes): (Vec<i16>, Vec<i64>) =
        places.iter().map(|(level, index)| (i16::from(*level), number(*index))).unzip();
    let read = connection.query(
        "SELECT level, idx, hashes FROM unnest($1::int2[], $2::int8[]) AS wanted (level, idx) \
         JOIN annals_log_tiles USING (level, idx)",
    );
    let rows = read.bind(levels).bind(indexes).fetch_all(&mut **connection).await?;
    let mut held = Tiles::default();
    for row in rows {
        let level = u8::try_from(row.try_get::<i16, _>(0)?).unwrap_or(u8::MAX);
        let index = row.try_get::<i64, _>(1)?.unsigned_abs();
        held.insert((level, index), hashes(row.try_get::<&[u8], _>(2)?));
    }
    Ok(held)
}

/// The log's size.
pub(super) async fn size(connection: &mut Connection) -> sqlx::Result<u64> {
    let size: i64 =
        connection.scalar("SELECT size FROM annals_log_head").fetch_one(&mut **connection).await?;
    Ok(size.unsigned_abs())
}

/// The root over the first `size` leaves.
pub(super) async fn root_at(connection: &mut Connection, size: u64) -> Result<Hash, Failure> {
    let places = tiles_read(|reader| log::root_at(size, reader))?;
    Ok(log::root_at(size, &mut read(connection, &places).await?)?)
}
