//! The keys of the people whom sealed values are about.

use std::fmt;

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Result};
use crate::event::Timestamp;

/// The keys of subjects, wrapped, beside the events that are sealed under them.
///
/// A subject has one live key, made when the first of its values is sealed. Destroying
/// it leaves its row without the key; what is sealed later gets another.
#[async_trait]
pub trait Vault: Send + Sync {
    /// The live keys of these subjects, in any order; a subject without one is left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn live(&self, whose: Vec<Whose>) -> Result<Vec<SubjectKey>>;

    /// The keys with these ids, destroyed ones too.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn with_ids(&self, ids: Vec<[u8; 16]>) -> Result<Vec<SubjectKey>>;

    /// Keeps new keys, durably. Where a subject has a live key already, that one stays:
    /// of several workers the first one wins, and [`Vault::live`] says who it was.
    ///
    /// # Errors
    /// When the store cannot be written.
    async fn keep(&self, keys: Vec<SubjectKey>) -> Result<()>;

    /// Destroys the subject's live key; answers how many there were, one or none. What
    /// the database keeps of overwritten rows, docs/erasure.md says.
    ///
    /// # Errors
    /// When the store cannot be written.
    async fn destroy(&self, whose: Whose) -> Result<u64>;
}

/// A person, or whatever else values are about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Whose {
    /// The tenant, empty without one.
    pub tenant: String,
    /// Such as `user:7`.
    pub subject: String,
}

/// A key of a subject, wrapped by a master key.
#[derive(Clone, PartialEq, Eq)]
pub struct SubjectKey {
    /// What sealed values name it by: 16 random bytes.
    pub id: [u8; 16],
    /// Whose it is.
    pub whose: Whose,
    /// The wrapped key; `None` once it is destroyed.
    pub wrapped: Option<Vec<u8>>,
    /// When it was made, by the store's clock.
    pub made_at: Timestamp,
    /// When it was destroyed.
    pub erased_at: Option<Timestamp>,
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectKey")
            .field("whose", &self.whose)
            .field("made_at", &self.made_at)
            .field("erased_at", &self.erased_at)
            .finish_non_exhaustive()
    }
}

/// Why a store has no keys.
pub(super) fn without_vault(url: &str) -> Error {
    let doing = format!("read the keys of subjects in {url}");
    Error::new(ErrorKind::Usage, doing, "this kind of store keeps none")
        .hint("use sqlite:PATH, postgres://… or mysql://…")
}
