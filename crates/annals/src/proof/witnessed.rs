//! How far witnesses have cosigned, by the checkpoints that a store keeps.

use crate::error::{Error, ErrorKind, Result};
use crate::event::Timestamp;
use crate::log::{SignedCheckpoint, VerifierKey};
use crate::store::{Kept, Ledger};

/// Checkpoints that are looked at, at most: more than a store keeps of the last hour.
const MOST: usize = 5000;

/// Checkpoints among which the best is chosen: cosignatures come a moment later.
const NEAR: usize = 32;

/// How far a witness has cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Witnessed {
    /// The witness.
    pub key: VerifierKey,
    /// The size of the last checkpoint that it cosigned, and when by its own clock; `None`
    /// if it cosigned none of those that are kept of the last hour or so.
    pub last: Option<(u64, Timestamp)>,
    /// Since when there is a checkpoint that it has not cosigned, by the store's clock;
    /// `None` if it has cosigned the last one.
    pub lacks_since: Option<Timestamp>,
}

/// How far each of these witnesses has cosigned the log.
///
/// # Errors
/// If the store cannot be read, or one of its checkpoints is none.
pub async fn witnessed(ledger: &dyn Ledger, witnesses: &[VerifierKey]) -> Result<Vec<Witnessed>> {
    let none = |key: &VerifierKey| Witnessed { key: key.clone(), last: None, lacks_since: None };
    let mut all: Vec<Witnessed> = witnesses.iter().map(none).collect();
    if all.is_empty() {
        return Ok(all);
    }
    for kept in ledger.last_checkpoints(MOST).await? {
        let checkpoint = read(&kept)?;
        for one in all.iter_mut().filter(|one| one.last.is_none()) {
            // One that is not its own is as none: `verify` tells of it.
            match checkpoint.note.seen_by(&one.key).ok().flatten() {
                Some(at) => one.last = Some((kept.size, at)),
                None => one.lacks_since = Some(kept.signed_at),
            }
        }
        if all.iter().all(|one| one.last.is_some()) {
            break;
        }
    }
    Ok(all)
}

/// Of the last checkpoints that have at least this size, the one with the most signatures;
/// of several the last.
pub(crate) async fn best(ledger: &dyn Ledger, size: u64) -> Result<Option<SignedCheckpoint>> {
    let mut best: Option<SignedCheckpoint> = None;
    for kept in ledger.last_checkpoints(NEAR).await?.iter().filter(|kept| kept.size >= size) {
        let checkpoint = read(kept)?;
        let signatures = |one: &SignedCheckpoint| one.note.signatures().len();
        if best.as_ref().is_none_or(|best| signatures(&checkpoint) > signatures(best)) {
            best = Some(checkpoint);
        }
    }
    Ok(best)
}

/// A checkpoint as a store keeps it.
pub(super) fn read(kept: &Kept) -> Result<SignedCheckpoint> {
    kept.note.parse().map_err(|fault| {
        let doing = format!("read the log's checkpoint of size {}", kept.size);
        Error::new(ErrorKind::Damaged, doing, fault)
            .hint("the store was altered: `annals verify` says where")
    })
}
