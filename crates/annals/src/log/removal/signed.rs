//! The note under which a removal is signed.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::Removal;
use crate::event::Timestamp;
use crate::log::checkpoint::{hash, number};
use crate::log::note::{Note, NoteFault, SigningKey, VerifierKey, fault};

/// The first line of its text, which is no log's origin: it cannot be taken for a
/// checkpoint.
const TITLE: &str = "annals removal v1";

impl Removal {
    fn text(&self, origin: &str) -> String {
        let Self { event, size, count, positions } = self;
        let mut text = String::new();
        let hash = BASE64.encode(positions);
        let _ = write!(text, "{TITLE}\n{origin}\n{event}\n{size}\n{count}\n{hash}\n");
        text
    }

    /// Signs it with keys of the log, whose name is its origin: a signed note.
    #[must_use]
    pub fn sign(&self, origin: &str, keys: &[SigningKey], now: Timestamp) -> String {
        let mut note = Note::new(self.text(origin));
        for key in keys {
            note.add(key.sign(note.text(), now));
        }
        note.to_string()
    }

    /// Whether a note says this, and one of these keys signed it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(&self, note: &str, keys: &[VerifierKey]) -> Result<(), NoteFault> {
        let note: Note = note.parse()?;
        let lines: Vec<&str> = note.text().lines().collect();
        let [TITLE, origin, event, size, count, positions] = lines.as_slice() else {
            return fault("it is no note of a removal");
        };
        let said = Self {
            event: event.parse().or_else(|_| fault(format!("{event:?} is no event's id")))?,
            size: number(size)?,
            count: number(count)?,
            positions: hash(positions)?,
        };
        if said != *self {
            return fault("it is the note of another removal");
        }
        let mut signed = false;
        for key in keys.iter().filter(|key| key.name() == *origin) {
            signed |= note.seen_by(key)?.is_some();
        }
        if signed {
            Ok(())
        } else {
            fault(format!("no key of the log {origin} that was given has signed it"))
        }
    }
}
