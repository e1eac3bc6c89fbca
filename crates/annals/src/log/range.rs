//! Proofs of any number of leaves at once.
//!
//! The tree is walked as RFC 6962 splits it, from the root down and from left to right. A
//! part without any of the leaves is one hash; a single leaf is left out, since whoever
//! checks has it; all else is split. So the hashes in their order, with the leaves, give
//! the root, and need no places beside them: for runs of neighbours a few hashes a run.

use super::tile::{Subtrees, split};
use super::{Hash, Positions, TileReader, node_hash};
use crate::error::Result;

/// The hashes that, with the leaves at these positions, give the root of the tree of `size`
/// leaves.
///
/// # Errors
/// If a tile cannot be read.
pub fn range_proof(
    leaves: &Positions,
    size: u64,
    reader: &mut dyn TileReader,
) -> Result<Vec<Hash>> {
    let mut hashes = Vec::new();
    let mut subtrees = Subtrees::of(size, reader);
    let mut parts = vec![(0, size)];
    while let Some((start, end)) = parts.pop() {
        if start == end {
            continue;
        }
        match leaves.within(start, end) {
            0 => hashes.push(subtrees.root(start, end)?),
            // All of it is there.
            all if all == end - start => {}
            _ => {
                let middle = start + split(end - start);
                parts.extend([(middle, end), (start, middle)]);
            }
        }
    }
    Ok(hashes)
}

/// The root of the tree of `size` leaves, from some of its leaves, in order of position, and
/// the hashes of [`range_proof`]. `None` if they do not fit together.
#[must_use]
pub fn root_of_range(leaves: &[(u64, Hash)], size: u64, proof: &[Hash]) -> Option<Hash> {
    let mut walk = Walk { leaves, proof };
    let root = walk.root(0, size)?;
    (walk.leaves.is_empty() && walk.proof.is_empty()).then_some(root)
}

struct Walk<'a> {
    leaves: &'a [(u64, Hash)],
    proof: &'a [Hash],
}

impl Walk<'_> {
    /// At most as deep as the tree: 63 levels.
    fn root(&mut self, start: u64, end: u64) -> Option<Hash> {
        let next = self.leaves.first();
        if next.is_none_or(|(position, _)| *position >= end) {
            let (hash, rest) = self.proof.split_first()?;
            self.proof = rest;
            return Some(*hash);
        }
        if end - start == 1 {
            let ((position, hash), rest) = self.leaves.split_first()?;
            self.leaves = rest;
            return (*position == start).then_some(*hash);
        }
        let middle = start + split(end - start);
        let left = self.root(start, middle)?;
        Some(node_hash(&left, &self.root(middle, end)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Tiles, leaf_hash, root_at};
    use super::*;

    /// Each set of leaves of small trees, and no other root than the tree's.
    #[test]
    fn any_leaves_and_their_proof_give_the_root() {
        for size in 1..=11_u64 {
            let leaf = |position: u64| leaf_hash(&position.to_be_bytes());
            let mut tiles = Tiles::default();
            tiles.insert((0, 0), (0..size).map(leaf).collect());
            let root = root_at(size, &mut tiles).unwrap();
            for set in 1..1_u64 << size {
                let listed: Vec<u64> = (0..size).filter(|bit| set >> bit & 1 == 1).collect();
                let mut positions = Positions::default();
                listed.iter().for_each(|one| positions.add(*one, one + 1));
                let proof = range_proof(&positions, size, &mut tiles).unwrap();
                let mut leaves: Vec<(u64, Hash)> =
                    listed.iter().map(|one| (*one, leaf(*one))).collect();
                assert_eq!(root_of_range(&leaves, size, &proof), Some(root), "{size} {set:b}");
                assert_ne!(root_of_range(&leaves[1..], size, &proof), Some(root));
                leaves[0].1[0] ^= 1;
                assert_ne!(root_of_range(&leaves, size, &proof), Some(root));
            }
        }
    }
}
