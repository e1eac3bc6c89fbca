//! The growing side of the log.

use super::tile::{TILE_HEIGHT, check_width, fold};
use super::{Hash, TILE_WIDTH, Tile, TileReader, empty_root, node_hash};
use crate::error::Result;

/// The right edge of the log: the tiles that are not full yet, one a level. All
/// that is needed to append, and to know the root; at most 8 levels of 8 KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    /// By level, the hashes of the tile that is not full; the last is not empty.
    partial: Vec<Vec<Hash>>,
}

impl Edge {
    /// The edge of a log without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The edge of the log of the first `size` leaves, from its tiles.
    ///
    /// # Errors
    /// If a tile cannot be read, or holds too few hashes.
    pub fn load(size: u64, reader: &mut dyn TileReader) -> Result<Self> {
        let mut partial = Vec::new();
        let mut at_level = size;
        for level in 0.. {
            if at_level == 0 {
                break;
            }
            let (index, width) = (at_level >> TILE_HEIGHT, width_of(at_level));
            let mut hashes = Vec::with_capacity(TILE_WIDTH);
            if width > 0 {
                hashes.extend(reader.read_tile(level, index, width)?);
                check_width(level, index, width, hashes.len())?;
                hashes.truncate(width);
            }
            partial.push(hashes);
            at_level = index;
        }
        Ok(Self { size, partial })
    }

    /// The number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends leaves, and shows `write` every tile that they touch in its new
    /// width: full ones as they fill up, then one that is not full for each
    /// level that changed.
    ///
    /// # Errors
    /// What `write` says; the edge is then of no more use and is loaded anew.
    pub fn append<E>(
        &mut self,
        leaves: &[Hash],
        mut write: impl FnMut(Tile<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        // Levels below this have a partial tile that changed.
        let mut touched = usize::from(!leaves.is_empty());
        for leaf in leaves {
            touched = touched.max(self.push(*leaf, &mut write)?);
        }
        for level in 0..touched.min(self.partial.len()) {
            let hashes = self.partial[level].as_slice();
            if !hashes.is_empty() {
                write(Tile { level: number(level), index: self.index(level), hashes })?;
            }
        }
        Ok(())
    }

    /// Adds one leaf; answers how many levels it changed.
    fn push<E>(
        &mut self,
        leaf: Hash,
        write: &mut impl FnMut(Tile<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut hash = leaf;
        let mut level = 0;
        loop {
            if level == self.partial.len() {
                self.partial.push(Vec::with_capacity(TILE_WIDTH));
            }
            self.partial[level].push(hash);
            if self.partial[level].len() < TILE_WIDTH {
                break;
            }
            let index = self.index(level);
            let hashes = self.partial[level].as_slice();
            write(Tile { level: number(level), index, hashes })?;
            hash = fold(hashes);
            self.partial[level].clear();
            level += 1;
        }
        self.size += 1;
        Ok(level + 1)
    }

    /// The index of the tile of `level` that is filled next.
    fn index(&self, level: usize) -> u64 {
        let shift = TILE_HEIGHT * (u32::from(number(level)) + 1);
        self.size.checked_shr(shift).unwrap_or(0)
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut root = None;
        for hashes in &self.partial {
            // The tile's complete subtrees: the smallest is the rightmost, and
            // everything of the levels below lies to the right of it.
            let mut end = hashes.len();
            while end > 0 {
                let start = end - (1 << end.trailing_zeros());
                let subtree = fold(&hashes[start..end]);
                root = Some(root.map_or(subtree, |right| node_hash(&subtree, &right)));
                end = start;
            }
        }
        root.unwrap_or_else(empty_root)
    }
}

fn width_of(at_level: u64) -> usize {
    usize::try_from(at_level % TILE_WIDTH as u64).unwrap_or(0)
}

/// A level's number; a tree of 2^64 leaves has eight.
fn number(level: usize) -> u8 {
    u8::try_from(level).unwrap_or(u8::MAX)
}
