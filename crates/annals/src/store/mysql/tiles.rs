//! The log's tiles, as rows.

use std::collections::HashMap;
use std::fmt::Write;

use sqlx::{AssertSqlSafe, Row};

use crate::error::{Error, ErrorKind, Result};
use crate::log::{Edge, Hash, Tile, TileReader};
use crate::mysql::{Connection, Failure, Pool};

/// Tiles that are about to be written, as rows of a statement.
#[derive(Default)]
pub(super) struct Written(String);

impl Written {
    pub(super) fn push(&mut self, tile: Tile<'_>) {
        let comma = if self.0.is_empty() { "" } else { ", " };
        let hashes = hex(tile.hashes.as_flattened());
        let _ = write!(self.0, "{comma}({}, {}, X'{hashes}')", tile.level, tile.index);
    }

    /// The statement that writes them, with all values in it. A tile's hashes stay: it
    /// only grows, and one that would change is no value that the column takes.
    pub(super) fn statement(&self) -> String {
        format!(
            "INSERT INTO annals_log_tiles (level, idx, hashes) VALUES {} ON DUPLICATE KEY UPDATE \
             hashes = IF(LEFT(VALUES(hashes), OCTET_LENGTH(hashes)) = hashes, VALUES(hashes), NULL); ",
            self.0
        )
    }
}

/// Bytes, as a literal of SQL has them.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: &u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    bytes.iter().flat_map(digits).map(char::from).collect()
}

/// The tiles at the edge of a log: a root is made of them alone.
fn places(size: u64) -> Vec<(u8, u64)> {
    (0..7).map(|level| (level, size >> (8 * (u32::from(level) + 1)))).collect()
}

/// The edge of the log at its present size.
pub(super) async fn edge(connection: &mut Connection, size: u64) -> Result<Edge, Failure> {
    Ok(Edge::load(size, &mut read(connection, &places(size)).await?)?)
}

/// Tiles in memory.
#[derive(Default)]
pub(super) struct Held(pub(super) HashMap<(u8, u64), Vec<Hash>>);

impl TileReader for Held {
    fn read_tile(&mut self, level: u8, index: u64, _width: usize) -> Result<Vec<Hash>> {
        self.0.get(&(level, index)).cloned().ok_or_else(|| {
            let doing = format!("read tile {index} of level {level} of the log");
            Error::new(ErrorKind::Damaged, doing, "it is missing")
                .hint("the store was altered or damaged: restore a backup")
        })
    }
}

/// Reads tiles by their places.
pub(super) async fn read(connection: &mut Connection, places: &[(u8, u64)]) -> sqlx::Result<Held> {
    let place = |(level, index): &(u8, u64)| format!("({level}, {index})");
    let places: Vec<String> = places.iter().map(place).collect();
    let read = format!(
        "SELECT level, idx, hashes FROM annals_log_tiles WHERE (level, idx) IN ({})",
        places.join(", ")
    );
    let mut held = Held::default();
    for row in sqlx::raw_sql(AssertSqlSafe(read)).fetch_all(&mut **connection).await? {
        let level = u8::try_from(row.try_get::<i8, _>(0)?).unwrap_or(u8::MAX);
        let index = row.try_get::<i64, _>(1)?.unsigned_abs();
        let hashes = row.try_get::<&[u8], _>(2)?.as_chunks::<32>().0.to_vec();
        held.0.insert((level, index), hashes);
    }
    Ok(held)
}

/// The log's size.
pub(super) async fn size(connection: &mut Connection) -> sqlx::Result<u64> {
    let size: i64 =
        connection.scalar("SELECT size FROM annals_log_head").fetch_one(&mut **connection).await?;
    Ok(size.unsigned_abs())
}

/// The log's size and root as the tiles have it.
pub(super) async fn root(pool: Pool) -> Result<(u64, Hash), Failure> {
    let mut snapshot = super::read::snapshot(&pool).await?;
    let size = size(&mut snapshot).await?;
    let edge = edge(&mut snapshot, size).await?;
    snapshot.commit().await?;
    Ok((size, edge.root()))
}
