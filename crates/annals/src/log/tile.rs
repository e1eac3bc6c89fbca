//! Tiles: the tree, cut into pieces that are read and written whole.

use std::collections::HashMap;

use super::{Hash, node_hash};
use crate::error::{Error, ErrorKind, Result};

/// Hashes of a full tile.
pub const TILE_WIDTH: usize = 256;

/// The binary levels that one tile spans.
pub(super) const TILE_HEIGHT: u32 = 8;

/// A tile's coordinates, and hashes of it from its left border on: all 256 of a
/// full one, fewer at the log's right edge.
///
/// A tile is only ever extended: the hashes of a narrower version are the first
/// of every wider one, so a store keeps the widest alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile<'a> {
    /// 0 for tiles of leaves; a hash of level L stands for 256^L leaves.
    pub level: u8,
    /// Its place among the tiles of its level, from 0.
    pub index: u64,
    /// From 1 to [`TILE_WIDTH`] hashes.
    pub hashes: &'a [Hash],
}

/// Which tile: its level, and its index among the tiles of that level.
pub type Place = (u8, u64);

/// Tiles in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tiles(HashMap<Place, Vec<Hash>>);

impl Tiles {
    /// Adds one, or a wider version of it.
    pub fn insert(&mut self, place: Place, hashes: Vec<Hash>) {
        self.0.insert(place, hashes);
    }

    /// The hashes of one; none if it is not there.
    #[must_use]
    pub fn get(&self, place: Place) -> &[Hash] {
        self.0.get(&place).map_or(&[], Vec::as_slice)
    }
}

impl TileReader for Tiles {
    fn read_tile(&mut self, level: u8, index: u64, _width: usize) -> Result<Vec<Hash>> {
        match self.0.get(&(level, index)) {
            Some(hashes) => Ok(hashes.clone()),
            None => Err(damaged(level, index, "it is missing".to_owned())),
        }
    }
}

/// The tiles at the right border of a log of `size` leaves: its root is made of them
/// alone.
#[must_use]
pub fn border(size: u64) -> Vec<Place> {
    let index = |level: u8| size.checked_shr(TILE_HEIGHT * (u32::from(level) + 1)).unwrap_or(0);
    (0..8).map(|level| (level, index(level))).collect()
}

/// The tiles that a computation reads. Which these are depends on sizes and positions
/// alone, so that it can be run without them first, and they be fetched at once.
///
/// # Errors
/// What the computation says, such as of a position that is not there.
pub fn tiles_read<T>(compute: impl FnOnce(&mut dyn TileReader) -> Result<T>) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    compute(&mut |level: u8, index: u64, width: usize| {
        places.push((level, index));
        Ok(vec![[0; 32]; width])
    })?;
    Ok(places)
}

/// Where tiles are kept.
pub trait TileReader {
    /// The first `width` hashes of a tile, or more.
    ///
    /// # Errors
    /// If the tile cannot be read, or is not there.
    fn read_tile(&mut self, level: u8, index: u64, width: usize) -> Result<Vec<Hash>>;
}

impl<F> TileReader for F
where
    F: FnMut(u8, u64, usize) -> Result<Vec<Hash>>,
{
    fn read_tile(&mut self, level: u8, index: u64, width: usize) -> Result<Vec<Hash>> {
        self(level, index, width)
    }
}

/// The complete subtrees of one tree, read through a few tiles, each once.
pub(super) struct Subtrees<'a> {
    reader: &'a mut dyn TileReader,
    size: u64,
    // A proof needs no more than two tiles of each of the eight levels.
    read: HashMap<(u8, u64), Vec<Hash>>,
}

impl<'a> Subtrees<'a> {
    /// Those of the tree of the first `size` leaves.
    pub(super) fn of(size: u64, reader: &'a mut dyn TileReader) -> Self {
        Self { reader, size, read: HashMap::new() }
    }

    /// The root over the leaves from `start` to before `end`, of which there is
    /// at least one, as MTH in RFC 6962.
    pub(super) fn root(&mut self, start: u64, end: u64) -> Result<Hash> {
        let leaves = end - start;
        if leaves.is_power_of_two() {
            return self.complete(start, leaves.trailing_zeros());
        }
        let middle = start + split(leaves);
        Ok(node_hash(&self.root(start, middle)?, &self.root(middle, end)?))
    }

    /// The root of 2^height leaves from `start` on, a multiple of that number.
    fn complete(&mut self, start: u64, height: u32) -> Result<Hash> {
        let level = height / TILE_HEIGHT;
        let first = start >> (level * TILE_HEIGHT);
        let count = 1_usize << (height % TILE_HEIGHT);
        let width = TILE_WIDTH as u64;
        let (index, offset) = (first / width, usize::try_from(first % width).unwrap_or(0));
        let at_level = self.size >> (level * TILE_HEIGHT);
        let hashes = self.tile(u8::try_from(level).unwrap_or(u8::MAX), index, at_level)?;
        Ok(fold(&hashes[offset..offset + count]))
    }

    fn tile(&mut self, level: u8, index: u64, at_level: u64) -> Result<&[Hash]> {
        let left = at_level.saturating_sub(index * TILE_WIDTH as u64);
        let width = usize::try_from(left).unwrap_or(TILE_WIDTH).min(TILE_WIDTH);
        if !self.read.contains_key(&(level, index)) {
            let mut hashes = self.reader.read_tile(level, index, width)?;
            check_width(level, index, width, hashes.len())?;
            hashes.truncate(width);
            self.read.insert((level, index), hashes);
        }
        Ok(self.read.get(&(level, index)).map_or(&[], Vec::as_slice))
    }
}

/// # Errors
/// If a tile holds fewer hashes than the log's size needs.
pub(super) fn check_width(level: u8, index: u64, width: usize, found: usize) -> Result<()> {
    if found >= width {
        return Ok(());
    }
    Err(damaged(level, index, format!("{found} hashes where the log's size needs {width}")))
}

fn damaged(level: u8, index: u64, found: String) -> Error {
    let doing = format!("read tile {index} of level {level} of the log");
    Error::new(ErrorKind::Damaged, doing, found)
        .hint("the store was altered or damaged: restore a backup")
}

/// The number of leaves left of the root: the largest power of two below `leaves`,
/// which is at least 2.
pub(super) fn split(leaves: u64) -> u64 {
    1 << (63 - (leaves - 1).leading_zeros())
}

/// The root over the 256 hashes of a full tile: its hash in the tile above.
#[must_use]
pub fn tile_root(hashes: &[Hash]) -> Hash {
    fold(hashes)
}

/// The root over a power of two of hashes.
pub(super) fn fold(hashes: &[Hash]) -> Hash {
    // Half a tile's pairs, halved in place until one is left.
    let mut row = [[0; 32]; TILE_WIDTH / 2];
    let [left, right, ..] = hashes else { return hashes.first().copied().unwrap_or_default() };
    row[0] = node_hash(left, right);
    for (parent, pair) in row.iter_mut().zip(hashes.chunks_exact(2)).skip(1) {
        *parent = node_hash(&pair[0], &pair[1]);
    }
    let mut count = hashes.len() / 2;
    while count > 1 {
        count /= 2;
        for parent in 0..count {
            row[parent] = node_hash(&row[2 * parent], &row[2 * parent + 1]);
        }
    }
    row[0]
}
