//! The Merkle log over a store's events.
//!
//! Pure: no I/O and no clock. A store appends leaves to an [`Edge`], writes the
//! tiles that it names, and answers proofs by giving tiles back through a
//! [`TileReader`].
//!
//! Formats, so that software nobody here wrote can check them:
//!
//! - hashing as in RFC 6962, section 2.1: a leaf is SHA-256(0x00 || entry), a
//!   node SHA-256(0x01 || left || right), the empty tree SHA-256();
//! - tiles as in C2SP tlog-tiles: height 8, so up to 256 hashes; a hash of level
//!   L is the root of 256^L leaves;
//! - proofs in the order of RFC 9162, sections 2.1.3 and 2.1.4, which is also
//!   that of Go's `golang.org/x/mod/sumdb/tlog`.
//!
//! A leaf commits to an event without containing it, so that the event can be
//! removed and the log stay whole:
//!
//! ```text
//! entry = 0x01 || event_id[16] || C[32]
//! C     = SHA-256("annals/leaf/v1\n" || salt[32] || event bytes)
//! ```
//!
//! A log's head is signed as a checkpoint ([`SignedCheckpoint`]), and an event's place
//! in it is proved by a file of its own ([`EventProof`]).
//!
//! It is not a store: it keeps nothing.

#[cfg(feature = "proof")]
mod add_checkpoint;
#[cfg(feature = "proof")]
mod checkpoint;
mod edge;
#[cfg(feature = "proof")]
mod event_proof;
#[cfg(feature = "proof")]
mod note;
mod positions;
mod proof;
mod range;
mod removal;
mod tile;

use sha2::{Digest, Sha256};

use crate::event::EventId;

#[cfg(feature = "proof")]
pub use add_checkpoint::AddCheckpoint;
#[cfg(feature = "proof")]
pub use checkpoint::{Checkpoint, SignedCheckpoint};
pub use edge::Edge;
#[cfg(feature = "proof")]
pub use event_proof::EventProof;
#[cfg(feature = "proof")]
pub use note::{KeyType, Note, NoteFault, Signature, SigningKey, VerifierKey, check_name};
pub use positions::Positions;
pub use proof::{
    consistency_proof, inclusion_proof, root_at, verify_consistency, verify_inclusion,
};
pub use range::{range_proof, root_of_range};
pub use removal::Removal;
pub use tile::{Place, TILE_WIDTH, Tile, TileReader, Tiles, border, tile_root, tiles_read};

/// A SHA-256 hash: of a leaf, a node or a whole tree.
pub type Hash = [u8; 32];

/// Bytes of an event's salt.
pub const SALT_BYTES: usize = 32;

/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 49;

/// The first byte of an entry: its format.
const ENTRY_VERSION: u8 = 0x01;

/// What an event's leaf commits to: nobody can tell the event from it without
/// the salt, and nobody can find another event for it.
#[must_use]
pub fn commitment(salt: &[u8; SALT_BYTES], body: &[u8]) -> Hash {
    Sha256::new()
        .chain_update(b"annals/leaf/v1\n")
        .chain_update(salt)
        .chain_update(body)
        .finalize()
        .into()
}

/// The entry of an event in the log.
#[must_use]
pub fn entry(id: EventId, commitment: &Hash) -> [u8; ENTRY_BYTES] {
    let mut entry = [ENTRY_VERSION; ENTRY_BYTES];
    entry[1..17].copy_from_slice(id.as_bytes());
    entry[17..].copy_from_slice(commitment);
    entry
}

/// The hash of a leaf with this entry.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0x00]).chain_update(entry).finalize().into()
}

/// The hash of a node with these children.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([0x01]).chain_update(left).chain_update(right).finalize().into()
}

/// The root of the tree without leaves.
#[must_use]
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}
