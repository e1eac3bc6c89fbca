//! The log's tiles, as rows.

use std::fmt::Write;

use sqlx::{AssertSqlSafe, Row};

use crate::error::Result;
use crate::hex::hex;
use crate::log::{self, Edge, Hash, Place, Tile, Tiles, border, tiles_read};
use crate::mysql::{Connection, Failure};

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

/// The edge of the log at its present size.
pub(super) async fn edge(connection: &mut Connection, size: u64) -> Result<Edge, Failure> {
    Ok(Edge::load(size, &mut read(connection, &border(size)).await?)?)
}

/// Reads tiles by their places.
pub(super) async fn read(connection: &mut Connection, places: &[Place]) -> sqlx::Result<Tiles> {
    if places.is_empty() {
        return Ok(Tiles::default());
    }
    let place = |(level, index): &(u8, u64)| format!("({level}, {index})");
    let places: Vec<String> = places.iter().map(place).collect();
    let read = format!(
        "SELECT level, idx, hashes FROM annals_log_tiles WHERE (level, idx) IN ({})",
        places.join(", ")
    );
    let mut held = Tiles::default();
    for row in sqlx::raw_sql(AssertSqlSafe(read)).fetch_all(&mut **connection).await? {
        let level = u8::try_from(row.try_get::<i8, _>(0)?).unwrap_or(u8::MAX);
        let index = row.try_get::<i64, _>(1)?.unsigned_abs();
        let hashes = row.try_get::<&[u8], _>(2)?.as_chunks::<32>().0.to_vec();
        held.insert((level, index), hashes);
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
