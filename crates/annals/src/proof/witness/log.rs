//! What a witness knows of one log.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::evidence_path;
use super::refusal::Refusal;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Timestamp;
use crate::log::{
    AddCheckpoint, Checkpoint, Note, SignedCheckpoint, SigningKey, VerifierKey, empty_root,
    verify_consistency,
};
use crate::proof::durable::replace;

/// Notes that are kept as evidence, at most, of one log: the first ones say it all.
const MAX_EVIDENCE: usize = 100;

/// One log, and the last checkpoint of it that was cosigned.
#[derive(Debug)]
pub(super) struct Log {
    origin: String,
    keys: Vec<VerifierKey>,
    path: PathBuf,
    refused: PathBuf,
    last: Option<SignedCheckpoint>,
}

impl Log {
    /// Reads what was cosigned last.
    pub(super) fn open(
        origin: String,
        keys: Vec<VerifierKey>,
        path: PathBuf,
        refused: PathBuf,
    ) -> Result<Self> {
        let doing = || format!("read what was cosigned last of {origin} in {}", path.display());
        let hint = "bring the file back from a copy that is as new: an older one would let the \
                    log go back, and so would none";
        let damaged = |found: String| Error::new(ErrorKind::Damaged, doing(), found).hint(hint);
        let last: Option<SignedCheckpoint> = match fs::read_to_string(&path) {
            Ok(text) => Some(text.parse().map_err(|fault| damaged(format!("{fault}")))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::new(ErrorKind::Away, doing(), error)),
        };
        if let Some(last) = last.as_ref().filter(|last| last.head().origin != origin) {
            return Err(damaged(format!("it is of the log {}", last.head().origin)));
        }
        Ok(Self { origin, keys, path, refused, last })
    }

    pub(super) fn last(&self) -> Option<&SignedCheckpoint> {
        self.last.as_ref()
    }

    /// Remembers a checkpoint and cosigns it, if it extends the last one.
    pub(super) fn add(
        &mut self,
        request: &AddCheckpoint,
        key: &SigningKey,
        now: Timestamp,
    ) -> std::result::Result<String, Refusal> {
        let (checkpoint, head) = (&request.checkpoint, request.checkpoint.head());
        checkpoint.verify(&self.keys).map_err(Refusal::Unsigned)?;
        if request.old > head.size {
            return Err(Refusal::Backwards { old: request.old, size: head.size });
        }
        self.check(request).inspect_err(|refusal| self.shout(&checkpoint.note, head, refusal))?;
        // Only the log's own signatures, and this one: strangers add what they like.
        let mut note = checkpoint.note.only(&self.keys);
        let cosignature = key.sign(note.text(), now);
        let line = format!("{cosignature}\n");
        note.add(cosignature);
        self.remember(&note).map_err(Refusal::Failed)?;
        Ok(line)
    }

    /// Whether what is asked extends what was cosigned last.
    fn check(&self, request: &AddCheckpoint) -> std::result::Result<(), Refusal> {
        let head = request.checkpoint.head();
        let (size, root) = match &self.last {
            Some(last) => (last.head().size, last.head().root),
            None => (0, empty_root()),
        };
        if request.old != size {
            return Err(Refusal::Conflict { size });
        }
        let inconsistent = |found: String| Err(Refusal::Inconsistent(found));
        if head.size == 0 && head.root != empty_root() {
            return inconsistent("the root of a log without leaves is not that of none".into());
        }
        if head.size == size && head.root != root {
            return inconsistent(format!(
                "this witness has cosigned size {size} with another root"
            ));
        }
        if !verify_consistency(size, head.size, &root, &head.root, &request.proof) {
            return inconsistent(format!(
                "the proof does not show that size {} extends size {size}, which this witness has cosigned",
                head.size
            ));
        }
        Ok(())
    }

    /// Once this returns, no crash forgets it. A new file is written each time, so that
    /// nothing rests on one whose write has failed before.
    fn remember(&mut self, note: &Note) -> Result<()> {
        let text = note.to_string();
        let doing =
            || format!("remember the checkpoint of {} in {}", self.origin, self.path.display());
        let signed =
            text.parse().map_err(|fault| Error::new(ErrorKind::Damaged, doing(), fault))?;
        replace(&self.path, text.as_bytes()).map_err(|error| {
            let error = Error::new(ErrorKind::Away, doing(), error)
                .hint("nothing was cosigned; make room on the disk, or mend it");
            tracing::error!(target: "annals::proof", %error, "cannot cosign");
            error
        })?;
        self.last = Some(signed);
        Ok(())
    }

    /// Says aloud what the log's own key signed and what cannot be, and keeps the note. A
    /// size other than the proof began at is no more than a question, unless the
    /// checkpoint itself goes back.
    fn shout(&self, note: &Note, head: &Checkpoint, refusal: &Refusal) {
        let last = self.last.as_ref().map(SignedCheckpoint::head);
        let what = match (last, refusal) {
            (Some(last), _) if last.size == head.size && last.root != head.root => {
                "another root for a size that was cosigned: the log was made anew"
            }
            (Some(last), Refusal::Conflict { .. }) if head.size < last.size => {
                "a smaller checkpoint than was cosigned: the log went back, or two of its workers \
                 asked at once"
            }
            (_, Refusal::Inconsistent(_)) => "not shown to extend what was cosigned",
            _ => return,
        };
        let kept = match self.keep(note) {
            Ok(Some(path)) => path.display().to_string(),
            Ok(None) => format!("no more than the first {MAX_EVIDENCE} of this log"),
            Err(error) => format!("not: {error}"),
        };
        tracing::error!(
            target: "annals::proof",
            origin = %self.origin, cosigned = last.map_or(0, |last| last.size), refused = head.size,
            kept, "refused a checkpoint: {what}"
        );
    }

    /// Keeps what was refused, once, up to a bound.
    fn keep(&self, note: &Note) -> io::Result<Option<PathBuf>> {
        let text = note.only(&self.keys).to_string();
        let path = evidence_path(&self.refused, &text);
        if path.exists() {
            return Ok(Some(path));
        }
        let kept = fs::read_dir(&self.refused).map_or(0, Iterator::count);
        if kept >= MAX_EVIDENCE {
            return Ok(None);
        }
        replace(&path, text.as_bytes())?;
        Ok(Some(path))
    }
}
