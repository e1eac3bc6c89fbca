//! A store's log, for who signs, proves and verifies it.

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Result};
use crate::event::{EventId, Timestamp};
use crate::log::{Hash, Place, Tiles};

/// The Merkle log of a store, beneath its events.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Where the log stands.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn standing(&self) -> Result<Standing>;

    /// The tiles at these places, each as wide as it is now. One that is not there is
    /// left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn tiles(&self, places: Vec<Place>) -> Result<Tiles>;

    /// What the rows have at the positions from `from` to before `until`, in order of
    /// position. A position without a row is left out, and one with two is there twice.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn rows(&self, from: u64, until: u64) -> Result<Vec<LedgerRow>>;

    /// Rows that have no place in the log, such as beyond its end: up to `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn strays(&self, limit: usize) -> Result<Vec<LedgerRow>>;

    /// Signs: hands the log as it stands to `sign`, together with the roots at the sizes
    /// `at` and at that of the last checkpoint, as far as the log has them, and keeps the checkpoint that it makes, all in one transaction that no other
    /// signer is in. Nothing is kept if it makes none. Answers what `sign` answered once
    /// that is durable.
    ///
    /// # Errors
    /// What `sign` says; [`ErrorKind::Damaged`] if the log's tiles are not whole;
    /// otherwise when the store cannot be written.
    async fn sign(&self, at: Vec<u64>, sign: Sign) -> Result<Option<Signing>>;

    /// Puts a checkpoint with more signatures in the place of the one that was kept for
    /// its size, if that is still there.
    ///
    /// # Errors
    /// When the store cannot be written.
    async fn cosign(&self, size: u64, note: String) -> Result<()>;

    /// Keeps what a removal is about to remove, before the event that tells of it is
    /// appended; durable when it returns.
    ///
    /// # Errors
    /// When the store cannot be written.
    async fn keep_removal(&self, event: EventId, removal: KeptRemoval) -> Result<()>;

    /// What was kept of a removal; `None` if there is nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn removal(&self, event: EventId) -> Result<Option<KeptRemoval>>;

    /// Puts a note in the place of the one that was kept with a removal.
    ///
    /// # Errors
    /// When the store cannot be written.
    async fn sign_removal(&self, event: EventId, note: String) -> Result<()>;

    /// The checkpoints that were kept, of sizes from `from` on, smallest first, up to
    /// `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn checkpoints(&self, from: u64, limit: usize) -> Result<Vec<Kept>>;

    /// The checkpoints that were kept last, greatest first, up to `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn last_checkpoints(&self, limit: usize) -> Result<Vec<Kept>>;
}

/// Makes a checkpoint of a log as it stands, or none. It may be called again when the
/// transaction is tried again.
pub type Sign = Box<dyn Fn(&Standing, &[(u64, Hash)]) -> Result<Option<Signing>> + Send + Sync>;

/// Where a log stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The store's own, made with it.
    pub uuid: String,
    /// What tells the database from a copy of it.
    pub copy: String,
    /// The same when it was signed last; `None` before that.
    pub signed_copy: Option<String>,
    /// Its leaves.
    pub size: u64,
    /// The root over them, as the tiles have it.
    pub root: Hash,
    /// The verifier keys of those who may sign, as text: none before it is first signed.
    pub keys: Vec<String>,
    /// The last checkpoint that was kept.
    pub latest: Option<Kept>,
}

impl Standing {
    /// The sizes of which a signer wants to know the roots, and which the log has.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub(crate) fn sizes(&self, at: &[u64]) -> Vec<u64> {
        let latest = self.latest.as_ref().map(|latest| latest.size);
        at.iter().copied().chain(latest).filter(|size| *size <= self.size).collect()
    }
}

/// A checkpoint that a store keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The log's size.
    pub size: u64,
    /// When it was signed, by the store's clock.
    pub signed_at: Timestamp,
    /// The signed note.
    pub note: String,
}

/// What a store keeps of a removal, beside the event that tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptRemoval {
    /// Which places: an encoded list ([`crate::log::Positions`]).
    pub positions: Vec<u8>,
    /// What the log's key signed of it ([`crate::log::Removal`]); none in a log that
    /// nobody signs.
    pub note: Option<String>,
}

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
impl KeptRemoval {
    /// Bytes of a part of a list, at most.
    const PART: usize = 1 << 20;

    /// The list in parts; an empty list has an empty one.
    pub(crate) fn parts(&self) -> Vec<&[u8]> {
        match self.positions.is_empty() {
            true => vec![&[]],
            false => self.positions.chunks(Self::PART).collect(),
        }
    }
}

/// What a signer wants kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signing {
    /// The log's size.
    pub size: u64,
    /// The signed note; none if only what is beside it is to be kept.
    pub note: Option<String>,
    /// The verifier keys of those who may sign from now on.
    pub keys: Vec<String>,
    /// What tells the database from a copy of it.
    pub copy: String,
    /// Begins another log: the store's new uuid. Keys and checkpoints of the old one are
    /// forgotten.
    pub uuid: Option<String>,
}

/// What the rows have at a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    /// Its place in the log.
    pub position: u64,
    /// The event's id.
    pub id: [u8; 16],
    /// The event, or what is left of it.
    pub held: Held,
}

/// An event, or what is left of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is there.
    Event {
        /// What its leaf is salted with.
        salt: Vec<u8>,
        /// Its bytes.
        body: Vec<u8>,
        /// The columns beside them.
        columns: Box<Columns>,
    },
    /// It was removed alone: what its leaf commits to.
    Tombstone(Vec<u8>),
}

/// The columns beside an event's bytes, which are an index over them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// `occurred_at`, in microseconds since 1970.
    pub occurred_at: i64,
    /// The texts, in the order of [`Columns::NAMES`] behind the first.
    pub texts: [Option<String>; 8],
}

impl Columns {
    /// Their names.
    pub const NAMES: [&'static str; 9] = [
        "occurred_at",
        "action",
        "outcome",
        "entity_type",
        "entity_id",
        "actor_type",
        "actor_id",
        "tenant",
        "request_id",
    ];
}

/// What a store without a log answers to who wants to sign, prove or verify it.
pub(crate) fn without_log(url: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("read the log of {url}"), "it has none")
        .hint("use sqlite:PATH, postgres://… or mysql://… as the store")
}
