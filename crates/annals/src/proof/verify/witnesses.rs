//! Who has cosigned, and whether that is enough.

use std::time::Duration;

use super::finding::{Finding, FindingKind, Findings};
use crate::event::Timestamp;
use crate::log::{NoteFault, SignedCheckpoint, VerifierKey};

/// How many of which witnesses are to have cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witnesses {
    /// The keys of those that are believed.
    pub keys: Vec<VerifierKey>,
    /// How many of them are to have cosigned.
    pub required: usize,
    /// How long they may not have done so while the log grew. It takes a moment; whoever
    /// holds the log's key could make anew what came since.
    pub within: Duration,
}

impl Witnesses {
    /// When as many as are required had cosigned a checkpoint, by their own clocks; `None`
    /// if too few have.
    ///
    /// # Errors
    /// If a cosignature bears the name of one of them, and is not its own.
    pub fn seen(&self, checkpoint: &SignedCheckpoint) -> Result<Option<Timestamp>, NoteFault> {
        let mut times = Vec::new();
        for key in &self.keys {
            times.extend(checkpoint.note.seen_by(key)?);
        }
        times.sort();
        Ok(self.required.checked_sub(1).and_then(|last| times.get(last).copied()))
    }
}

/// What witnesses have cosigned, as far as was looked.
#[derive(Debug)]
pub(super) struct Witnessing {
    asked: Option<Witnesses>,
    last: Option<(u64, Timestamp)>,
}

impl Witnessing {
    pub(super) fn new(asked: Option<Witnesses>) -> Self {
        Self { asked, last: None }
    }

    /// Looks at a checkpoint that a key of the log has signed.
    pub(super) fn look(&mut self, signed: &SignedCheckpoint, findings: &mut Findings) {
        let Some(asked) = &self.asked else { return };
        let size = signed.head().size;
        match asked.seen(signed) {
            Ok(Some(at)) => self.last = self.last.max(Some((size, at))),
            Ok(None) => {}
            Err(fault) => findings.add(Finding {
                kind: FindingKind::Forged,
                position: None,
                event: None,
                what: format!("a cosignature of the checkpoint of size {size}: {fault}"),
            }),
        }
    }

    /// Whether that is enough for a log of this size.
    pub(super) fn judge(&self, size: u64, now: Timestamp, findings: &mut Findings) {
        let Some(asked) = &self.asked else { return };
        let what = match self.last {
            Some((seen, at)) if seen >= size || at >= now.before(asked.within) => return,
            Some((seen, at)) => format!(
                "the events from here on: the last checkpoint that {} of the witnesses cosigned has \
                 {seen} events, and is of {at}",
                asked.required
            ),
            None if size == 0 => return,
            None => format!("no checkpoint is cosigned by {} of the witnesses", asked.required),
        };
        findings.add(Finding {
            kind: FindingKind::Unwitnessed,
            position: self.last.map(|(seen, _)| seen),
            event: None,
            what,
        });
    }

    pub(super) fn last(&self) -> Option<(u64, Timestamp)> {
        self.last
    }
}
