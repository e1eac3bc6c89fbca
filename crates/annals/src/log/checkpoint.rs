//! Checkpoints (C2SP tlog-checkpoint): the signed head of a log.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::note::{Note, NoteFault, SigningKey, VerifierKey, check_name, fault};
use super::{Hash, empty_root};
use crate::event::Timestamp;

/// How large a log is, and its root then.
///
/// Its text has three lines: the origin, the size in decimal digits and the root in
/// base64. Lines that follow are kept, and mean nothing here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: its name, a slash and the uuid of the store.
    pub origin: String,
    /// Its leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    further: String,
}

impl Checkpoint {
    /// A log's head.
    ///
    /// # Errors
    /// If no key could have the origin as its name.
    pub fn new(origin: &str, size: u64, root: Hash) -> Result<Self, NoteFault> {
        check_name(origin)?;
        Ok(Self { origin: origin.to_owned(), size, root, further: String::new() })
    }

    /// Signs it with keys of the log.
    #[must_use]
    pub fn sign(self, keys: &[SigningKey], now: Timestamp) -> SignedCheckpoint {
        let mut note = Note::new(self.to_string());
        for key in keys {
            note.add(key.sign(note.text(), now));
        }
        SignedCheckpoint { head: self, note }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, size, root, further } = self;
        write!(f, "{origin}\n{size}\n{}\n{further}", BASE64.encode(root))
    }
}

impl FromStr for Checkpoint {
    type Err = NoteFault;

    fn from_str(text: &str) -> Result<Self, NoteFault> {
        let head = Self::with_any_root(text)?;
        if head.size == 0 && head.root != empty_root() {
            return fault("the root of a log without leaves is not that of none");
        }
        Ok(head)
    }
}

impl Checkpoint {
    /// Reads one whose root may be wrong for a log without leaves: a witness has an
    /// answer of its own to that.
    fn with_any_root(text: &str) -> Result<Self, NoteFault> {
        let mut parts = text.splitn(4, '\n');
        let (Some(origin), Some(size), Some(root), Some(further)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return fault("a checkpoint has three lines: origin, size and root");
        };
        if origin.is_empty() || further.split_terminator('\n').any(str::is_empty) {
            return fault("the checkpoint has an empty line");
        }
        if !further.is_empty() && !further.ends_with('\n') {
            return fault("the checkpoint's last line has no newline");
        }
        let (size, root) = (number(size)?, hash(root)?);
        Ok(Self { origin: origin.to_owned(), size, root, further: further.to_owned() })
    }
}

/// A checkpoint, and who signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    head: Checkpoint,
    /// Its text, with the signatures of the log and of witnesses.
    pub note: Note,
}

impl SignedCheckpoint {
    /// What was signed; believe it after [`SignedCheckpoint::verify`].
    #[must_use]
    pub fn head(&self) -> &Checkpoint {
        &self.head
    }

    /// Reads one whose root may be wrong for a log without leaves.
    pub(super) fn with_any_root(text: &str) -> Result<Self, NoteFault> {
        let note: Note = text.parse()?;
        Ok(Self { head: Checkpoint::with_any_root(note.text())?, note })
    }

    /// Whether a key of the log signed it: one of these, with the origin as its name.
    ///
    /// # Errors
    /// If none did, or a signature that bears the name of one is not its own.
    pub fn verify(&self, keys: &[VerifierKey]) -> Result<(), NoteFault> {
        let mut signed = false;
        let mut of_this_log = keys.iter().filter(|key| key.name() == self.head.origin).peekable();
        if of_this_log.peek().is_none() {
            let names: Vec<&str> = keys.iter().map(VerifierKey::name).collect();
            let origin = &self.head.origin;
            return fault(format!(
                "it is of the log {origin}, and the keys are of {}",
                names.join(", ")
            ));
        }
        for key in of_this_log {
            signed |= self.note.seen_by(key)?.is_some();
        }
        if signed { Ok(()) } else { fault("no key that was given has signed it") }
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}

impl FromStr for SignedCheckpoint {
    type Err = NoteFault;

    fn from_str(text: &str) -> Result<Self, NoteFault> {
        let note: Note = text.parse()?;
        Ok(Self { head: note.text().parse()?, note })
    }
}

/// A number without leading zeros.
pub(super) fn number(text: &str) -> Result<u64, NoteFault> {
    let plain =
        text == "0" || !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if plain => Ok(number),
        _ => fault(format!("{text:?} is no number, or one with a leading zero")),
    }
}

/// A hash in base64.
pub(super) fn hash(text: &str) -> Result<Hash, NoteFault> {
    let bytes = BASE64.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map_or_else(|| fault(format!("{text:?} is no base64 of 32 bytes")), Ok)
}
