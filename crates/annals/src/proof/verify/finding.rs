//! What is wrong with a store, by kind and place.

use std::fmt;

use crate::event::EventId;

/// Findings that are listed, at most; the others are counted.
const LISTED: usize = 1_000;

/// What was done to a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FindingKind {
    /// An event, or a column beside it, is not what was appended.
    Changed,
    /// An event is missing, and nothing in the log tells of its removal.
    Removed,
    /// An event stands there that was never appended.
    Inserted,
    /// An event stands at another place than it was appended to.
    Reordered,
    /// The end of the log is missing.
    CutOff,
    /// The whole store is an older state of itself.
    RolledBack,
    /// A hash, a checkpoint or a signature is not what the log's own would be.
    Forged,
    /// Fewer witnesses than were asked for have cosigned it, or not for too long.
    Unwitnessed,
}

impl FindingKind {
    /// Its name: `changed`, `removed`, `inserted`, `reordered`, `cut_off`, `rolled_back`,
    /// `forged` or `unwitnessed`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Inserted => "inserted",
            Self::Reordered => "reordered",
            Self::CutOff => "cut_off",
            Self::RolledBack => "rolled_back",
            Self::Forged => "forged",
            Self::Unwitnessed => "unwitnessed",
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was done.
    pub kind: FindingKind,
    /// Where in the log, if that can be said.
    pub position: Option<u64>,
    /// To which event, if that can be said.
    pub event: Option<EventId>,
    /// What was found, as a sentence without its end.
    pub what: String,
}

/// Findings, up to a number.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) listed: Vec<Finding>,
    pub(super) further: u64,
}

impl Findings {
    pub(super) fn add(&mut self, finding: Finding) {
        match self.listed.len() < LISTED {
            true => self.listed.push(finding),
            false => self.further += 1,
        }
    }
}
