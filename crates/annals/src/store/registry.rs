//! Who may use the server: entries beside the events.

use std::fmt;

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Result};

/// Entries about who may use the server; what is in them is for [`crate::access`] to know.
///
/// Each write has a revision of its own, greater than all before it, and revisions become
/// visible in their order: who has read up to one misses nothing by asking for what comes
/// after it.
#[async_trait]
pub trait Registry: Send + Sync {
    /// The entries that were written last after a revision, in the order of theirs, up to
    /// `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn entries(&self, after: u64, limit: usize) -> Result<Vec<Entry>>;

    /// Writes an entry, durably, in the place of the one with its kind, id and revision; of
    /// revision 0, as a new one. Answers its new revision, or `None` if another stands
    /// there, and nothing was written.
    ///
    /// # Errors
    /// When the store cannot be written.
    async fn write(&self, entry: Entry) -> Result<Option<u64>>;
}

/// An entry of a [`Registry`].
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is about.
    pub kind: String,
    /// Which one of those.
    pub id: String,
    /// When it was written, among all writes.
    pub revision: u64,
    /// What it says.
    pub body: String,
    /// Who may write it knows how to make this of the rest.
    pub mac: [u8; 32],
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// Why a store has no entries.
pub(super) fn without_registry(url: &str) -> Error {
    let doing = format!("read who may use {url}");
    Error::new(ErrorKind::Usage, doing, "this kind of store does not keep that")
        .hint("use sqlite:PATH, postgres://… or mysql://…")
}
