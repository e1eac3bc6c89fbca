//! The Merkle log: published vectors, and a naive tree to compare with.

use std::collections::{BTreeSet, HashMap};

use annals::Result;
use annals::log::{
    Edge, Hash, Positions, TILE_WIDTH, Tile, TileReader, commitment, consistency_proof, empty_root,
    entry, inclusion_proof, leaf_hash, node_hash, root_at, verify_consistency, verify_inclusion,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

/// The leaves of the reference tree of certificate-transparency, published in
/// google/certificate-transparency (`merkletree/merkle_tree_test.cc`) and kept in
/// transparency-dev/merkle (`testonly/constants.go`).
const LEAVES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];

/// Its roots, by size.
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/// Inclusion proofs: index, size, hashes.
const INCLUSION: [(u64, u64, &[&str]); 5] = [
    (0, 1, &[]),
    (
        0,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        &[
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        &[
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];

/// Consistency proofs: old size, new size, hashes.
const CONSISTENCY: [(u64, u64, &[&str]); 5] = [
    (1, 1, &[]),
    (
        1,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        &[
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
    (
        6,
        7,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn hash(hex: &str) -> Hash {
    bytes(hex).try_into().unwrap()
}

fn hashes(hex: &[&str]) -> Vec<Hash> {
    hex.iter().map(|hex| hash(hex)).collect()
}

/// Tiles in memory, which checks what an edge writes and a proof reads.
#[derive(Default)]
struct Memory {
    tiles: HashMap<(u8, u64), Vec<Hash>>,
    reads: usize,
}

impl Memory {
    fn write(&mut self, tile: Tile<'_>) {
        assert!((1..=TILE_WIDTH).contains(&tile.hashes.len()));
        let known = self.tiles.entry((tile.level, tile.index)).or_default();
        assert!(tile.hashes.len() > known.len(), "written though nothing changed");
        assert!(tile.hashes.starts_with(known), "a tile is only ever extended");
        *known = tile.hashes.to_vec();
    }

    fn append(&mut self, edge: &mut Edge, leaves: &[Hash]) {
        edge.append(leaves, |tile| {
            self.write(tile);
            Ok::<_, ()>(())
        })
        .unwrap();
    }
}

impl TileReader for Memory {
    fn read_tile(&mut self, level: u8, index: u64, width: usize) -> Result<Vec<Hash>> {
        self.reads += 1;
        let tile = self.tiles.get(&(level, index)).expect("only tiles that were written are read");
        assert!(tile.len() >= width);
        Ok(tile.clone())
    }
}

/// A tree of leaves, appended in batches of `batch`.
fn grow(leaves: &[Hash], batch: usize) -> (Edge, Memory) {
    let (mut edge, mut tiles) = (Edge::new(), Memory::default());
    for part in leaves.chunks(batch.max(1)) {
        tiles.append(&mut edge, part);
    }
    (edge, tiles)
}

/// The definitions of RFC 6962, section 2.1, to the letter.
mod naive {
    use super::{Hash, empty_root, node_hash};

    fn split(leaves: usize) -> usize {
        leaves.next_power_of_two() / 2
    }

    pub(super) fn root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len()));
                node_hash(&root(left), &root(right))
            }
        }
    }

    pub(super) fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let (left, right) = leaves.split_at(split(leaves.len()));
        let (mut path, sibling) = if index < left.len() {
            (path(index, left), root(right))
        } else {
            (path(index - left.len(), right), root(left))
        };
        path.push(sibling);
        path
    }

    pub(super) fn proof(old: usize, leaves: &[Hash]) -> Vec<Hash> {
        if old == 0 { Vec::new() } else { subproof(old, leaves, true) }
    }

    fn subproof(old: usize, leaves: &[Hash], known: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if known { Vec::new() } else { vec![root(leaves)] };
        }
        let (left, right) = leaves.split_at(split(leaves.len()));
        let (mut proof, sibling) = if old <= left.len() {
            (subproof(old, left, known), root(right))
        } else {
            (subproof(old - left.len(), right, false), root(left))
        };
        proof.push(sibling);
        proof
    }
}

fn numbered(count: usize) -> Vec<Hash> {
    (0..count).map(|number| leaf_hash(&number.to_be_bytes())).collect()
}

#[test]
fn published_vectors_of_single_hashes_hold() {
    assert_eq!(
        leaf_hash(b"L123456"),
        hash("395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56")
    );
    let (left, right) = (leaf_hash(&bytes(LEAVES[0])), leaf_hash(&bytes(LEAVES[1])));
    assert_eq!(node_hash(&left, &right), hash(ROOTS[2]));
}

#[test]
fn published_roots_hold_at_every_size() {
    let leaves: Vec<Hash> = LEAVES.iter().map(|leaf| leaf_hash(&bytes(leaf))).collect();
    let (_, mut all) = grow(&leaves, 3);
    for size in 0..=8_usize {
        let (edge, _) = grow(&leaves[..size], 1);
        assert_eq!(edge.root(), hash(ROOTS[size]), "the edge at size {size}");
        let root = root_at(size as u64, &mut all).unwrap();
        assert_eq!(root, hash(ROOTS[size]), "the tiles at size {size}");
    }
}

#[test]
fn published_proofs_are_made_and_verified() {
    let leaves: Vec<Hash> = LEAVES.iter().map(|leaf| leaf_hash(&bytes(leaf))).collect();
    let (_, mut tiles) = grow(&leaves, 8);
    let root = |size: u64| hash(ROOTS[usize::try_from(size).unwrap()]);
    for (index, size, proof) in INCLUSION {
        let proof = hashes(proof);
        assert_eq!(inclusion_proof(index, size, &mut tiles).unwrap(), proof, "{index} in {size}");
        let leaf = &leaves[usize::try_from(index).unwrap()];
        assert!(verify_inclusion(index, size, leaf, &proof, &root(size)));
    }
    for (old, new, proof) in CONSISTENCY {
        let proof = hashes(proof);
        assert_eq!(consistency_proof(old, new, &mut tiles).unwrap(), proof, "{old} to {new}");
        assert!(verify_consistency(old, new, &root(old), &root(new), &proof));
    }
}

/// The ways in which a proof of certificate-transparency's test data is spoilt.
fn spoilt(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    for at in 0..proof.len() {
        let mut wrong = proof.to_vec();
        wrong[at][4] ^= 0x10;
        all.push(wrong);
        let mut shorter = proof.to_vec();
        shorter.remove(at);
        all.push(shorter);
    }
    for at in [0, proof.len()] {
        let mut longer = proof.to_vec();
        longer.insert(at, Hash::default());
        all.push(longer);
    }
    all
}

#[test]
fn every_proof_of_small_trees_is_the_definitions_and_no_other_verifies() {
    let leaves = numbered(40);
    let (_, mut tiles) = grow(&leaves, 40);
    for size in 1..=leaves.len() {
        let tree = &leaves[..size];
        let root = naive::root(tree);
        for (index, leaf) in tree.iter().enumerate() {
            let (at, n) = (index as u64, size as u64);
            let proof = inclusion_proof(at, n, &mut tiles).unwrap();
            assert_eq!(proof, naive::path(index, tree));
            assert!(verify_inclusion(at, n, leaf, &proof, &root));
            assert!(!verify_inclusion(at, n, &Hash::default(), &proof, &root));
            assert!(!verify_inclusion(at, n, leaf, &proof, &Hash::default()));
            assert!(!verify_inclusion(n, n, leaf, &proof, &root));
            for wrong in spoilt(&proof) {
                assert!(!verify_inclusion(at, n, leaf, &wrong, &root));
            }
        }
        for old in 0..=size {
            let (m, n) = (old as u64, size as u64);
            let old_root = naive::root(&leaves[..old]);
            let proof = consistency_proof(m, n, &mut tiles).unwrap();
            assert_eq!(proof, naive::proof(old, tree));
            assert!(verify_consistency(m, n, &old_root, &root, &proof));
            assert!(!verify_consistency(m, n, &Hash::default(), &root, &proof));
            assert!(!verify_consistency(n + 1, n, &old_root, &root, &proof));
            if old > 0 {
                assert!(!verify_consistency(m, n, &old_root, &Hash::default(), &proof));
            }
            for wrong in spoilt(&proof) {
                assert!(!verify_consistency(m, n, &old_root, &root, &wrong));
            }
        }
    }
}

#[test]
fn impossible_proofs_are_refused() {
    let (_, mut tiles) = grow(&numbered(3), 3);
    let error = inclusion_proof(3, 3, &mut tiles).unwrap_err();
    assert!(error.to_string().contains("no leaf 3 in a log of size 3"), "{error}");
    let error = consistency_proof(3, 2, &mut tiles).unwrap_err();
    assert!(error.to_string().contains("size 3 is not before size 2"), "{error}");
}

#[test]
fn a_tile_that_lost_hashes_is_damage() {
    let leaves = numbered(300);
    let (_, mut tiles) = grow(&leaves, 300);
    let mut short = |level, index, width: usize| {
        let mut hashes = tiles.read_tile(level, index, width)?;
        hashes.truncate(width - 1);
        Ok(hashes)
    };
    for error in [root_at(300, &mut short).unwrap_err(), Edge::load(300, &mut short).unwrap_err()] {
        assert_eq!(error.kind(), annals::ErrorKind::Damaged);
        assert!(error.to_string().contains("of the log"), "{error}");
    }
}

#[test]
fn a_proof_reads_each_tile_once() {
    let leaves = numbered(70_000);
    let (_, mut tiles) = grow(&leaves, 70_000);
    tiles.reads = 0;
    inclusion_proof(12_345, 70_000, &mut tiles).unwrap();
    // Its own tile of each level, and the right edge's.
    assert!(tiles.reads <= 5, "{} tiles read", tiles.reads);
}

#[test]
fn a_leaf_commits_to_id_salt_and_bytes() {
    let id: annals::EventId = "01a202b2-c57b-71f3-8a2b-5c0d9e4f1a67".parse().unwrap();
    let salt = [7; 32];
    let by_hand: Hash =
        Sha256::digest([b"annals/leaf/v1\n".as_slice(), &salt, b"{}"].concat()).into();
    assert_eq!(commitment(&salt, b"{}"), by_hand);
    let entry = entry(id, &by_hand);
    assert_eq!(entry.to_vec(), [&[1], id.as_bytes().as_slice(), &by_hand].concat());
    let leaf: Hash = Sha256::digest([&[0], entry.as_slice()].concat()).into();
    assert_eq!(leaf_hash(&entry), leaf);
}

/// Sizes of trees, more of them near the borders of tiles.
fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![10 => 0..600_usize, 1 => 65_530..65_800_usize, 1 => 1..70_000_usize]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn any_tree_is_the_naive_one(
        size in sizes(),
        batch in 1..3000_usize,
        earlier in any::<prop::sample::Index>(),
        leaf in any::<prop::sample::Index>(),
    ) {
        let leaves = numbered(size);
        let (edge, mut tiles) = grow(&leaves, batch);
        let n = size as u64;
        let root = naive::root(&leaves);
        prop_assert_eq!(edge.size(), n);
        prop_assert_eq!(edge.root(), root);
        prop_assert_eq!(&Edge::load(n, &mut tiles).unwrap(), &edge);
        prop_assert_eq!(root_at(n, &mut tiles).unwrap(), root);

        let old = earlier.index(size + 1);
        let old_root = naive::root(&leaves[..old]);
        prop_assert_eq!(root_at(old as u64, &mut tiles).unwrap(), old_root);
        let proof = consistency_proof(old as u64, n, &mut tiles).unwrap();
        prop_assert_eq!(&proof, &naive::proof(old, &leaves));
        prop_assert!(verify_consistency(old as u64, n, &old_root, &root, &proof));

        // A log goes on from its tiles as if it had never stopped.
        let mut reopened = Edge::load(old as u64, &mut tiles).unwrap();
        reopened.append(&leaves[old..], |_| Ok::<_, ()>(())).unwrap();
        prop_assert_eq!(reopened, edge);

        if size > 0 {
            let index = leaf.index(size);
            let proof = inclusion_proof(index as u64, n, &mut tiles).unwrap();
            prop_assert_eq!(&proof, &naive::path(index, &leaves));
            prop_assert!(verify_inclusion(index as u64, n, &leaves[index], &proof, &root));
        }
    }
}

/// What is done to a list of positions.
#[derive(Clone, Debug)]
enum Change {
    Add(u64, u64),
    TakeOut(u64),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        (0..300_u64, 0..20_u64).prop_map(|(from, count)| Change::Add(from, from + count)),
        (0..320_u64).prop_map(Change::TakeOut),
    ];
    prop::collection::vec(change, 0..80)
}

proptest! {
    #[test]
    fn a_list_of_positions_is_the_naive_set(changes in changes()) {
        let (mut list, mut naive) = (Positions::default(), BTreeSet::new());
        for change in changes {
            match change {
                Change::Add(from, until) => {
                    list.add(from, until);
                    naive.extend(from..until);
                }
                Change::TakeOut(position) => {
                    list.take_out(position);
                    naive.remove(&position);
                }
            }
        }
        let listed: Vec<u64> = list.runs().flat_map(|(from, until)| from..until).collect();
        prop_assert_eq!(&listed, &naive.iter().copied().collect::<Vec<_>>());
        prop_assert_eq!(list.count(), naive.len() as u64);
        prop_assert_eq!(list.end(), naive.last().map_or(0, |last| last + 1));
        for position in 0..330 {
            prop_assert_eq!(list.contains(position), naive.contains(&position));
        }
        prop_assert_eq!(Positions::decode(&list.encode()), Some(list));
    }

    #[test]
    fn a_list_of_positions_has_one_encoding(bytes in prop::collection::vec(0..4_u8, 0..12)) {
        if let Some(list) = Positions::decode(&bytes) {
            prop_assert_eq!(list.encode(), bytes);
        }
    }
}

#[test]
fn the_encoding_of_positions_is_as_written_down() {
    let mut list = Positions::default();
    list.add(3, 4);
    list.add(200, 500);
    // 3 places, then one; 196 places, then 300.
    assert_eq!(list.encode(), [0x03, 0x00, 0xc4, 0x01, 0xab, 0x02]);
    let hashed = [b"annals/positions/v1\n".as_slice(), &list.encode()].concat();
    assert_eq!(list.hash(), <[u8; 32]>::from(Sha256::digest(hashed)));
    let wrong: [&[u8]; 7] = [
        &[0x03],
        // Runs that touch, a number that is longer than it needs to be, and too large ones.
        &[0x03, 0x00, 0x00, 0x00],
        &[0x83, 0x00, 0x00],
        &[0xff; 12],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x00],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x00],
        &[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    ];
    for bytes in wrong {
        assert_eq!(Positions::decode(bytes), None, "{bytes:x?}");
    }
}
