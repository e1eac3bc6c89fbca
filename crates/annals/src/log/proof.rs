//! Proofs: made from tiles, checked from nothing but themselves.

use super::tile::{Subtrees, split};
use super::{Hash, TileReader, empty_root, node_hash};
use crate::error::{Error, ErrorKind, Result};

/// The root over the first `size` leaves of a log that has at least as many.
///
/// # Errors
/// If a tile cannot be read.
pub fn root_at(size: u64, reader: &mut dyn TileReader) -> Result<Hash> {
    if size == 0 {
        return Ok(empty_root());
    }
    Subtrees::of(size, reader).root(0, size)
}

/// Proves that the leaf at `index` is in the tree of the first `size` leaves:
/// the siblings on its way to the root, lowest first (RFC 9162, 2.1.3.1).
///
/// # Errors
/// If there is no such leaf, or a tile cannot be read.
pub fn inclusion_proof(index: u64, size: u64, reader: &mut dyn TileReader) -> Result<Vec<Hash>> {
    if index >= size {
        let found = format!("no leaf {index} in a log of size {size}");
        return Err(Error::new(ErrorKind::Usage, "prove that an event is in the log", found));
    }
    let mut trees = Subtrees::of(size, reader);
    let (mut start, mut end) = (0, size);
    let mut proof = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            proof.push(trees.root(middle, end)?);
            end = middle;
        } else {
            proof.push(trees.root(start, middle)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Proves that the tree of the first `old` leaves is the beginning of the tree
/// of the first `new` ones (RFC 9162, 2.1.4.1). Empty if the two are the same,
/// or the old one has no leaves.
///
/// # Errors
/// If `old` is larger than `new`, or a tile cannot be read.
pub fn consistency_proof(old: u64, new: u64, reader: &mut dyn TileReader) -> Result<Vec<Hash>> {
    if old > new {
        let found = format!("size {old} is not before size {new}");
        return Err(Error::new(ErrorKind::Usage, "prove that the log only grew", found));
    }
    let mut proof = Vec::new();
    if old == 0 {
        return Ok(proof);
    }
    let mut trees = Subtrees::of(new, reader);
    let (mut start, mut end) = (0, new);
    while old < end {
        let middle = start + split(end - start);
        if old <= middle {
            proof.push(trees.root(middle, end)?);
            end = middle;
        } else {
            proof.push(trees.root(start, middle)?);
            start = middle;
        }
    }
    // Whoever checks knows the old root; any other subtree must be shown.
    if start > 0 {
        proof.push(trees.root(start, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` shows that `leaf` is at `index` in the tree of `size` leaves
/// with that `root` (RFC 9162, 2.1.3.2).
#[must_use]
pub fn verify_inclusion(index: u64, size: u64, leaf: &Hash, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `proof` shows that the tree of `old` leaves with `old_root` is the
/// beginning of the tree of `new` leaves with `new_root` (RFC 9162, 2.1.4.2). A
/// tree without leaves is the beginning of every tree.
#[must_use]
pub fn verify_consistency(
    old: u64,
    new: u64,
    old_root: &Hash,
    new_root: &Hash,
    proof: &[Hash],
) -> bool {
    if old > new {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    // A complete old tree is a subtree of the new one, and left out of the proof.
    let (first, rest) = match proof {
        _ if old.is_power_of_two() => (old_root, proof),
        [first, rest @ ..] => (first, rest),
        [] => return false,
    };
    let shift = (old - 1).trailing_ones();
    let (mut node, mut last) =
        ((old - 1).checked_shr(shift).unwrap_or(0), (new - 1).checked_shr(shift).unwrap_or(0));
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}
