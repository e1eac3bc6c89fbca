//! The proof that an event is in the log, as one file (C2SP tlog-proof).
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64 of the salt's 32 bytes and the event's bytes>
//! index <the event's position>
//! <base64 of the inclusion proof's hashes, a line each>
//!
//! <the signed checkpoint>
//! ```
//!
//! The entry that was logged is made from the extra part, as [`super`] says: the event's
//! id stands in the event.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::checkpoint::{hash, number};
use super::note::{NoteFault, fault};
use super::{Hash, SALT_BYTES, SignedCheckpoint, commitment, entry, leaf_hash, verify_inclusion};
use crate::event::Event;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// Hashes of an inclusion proof, at most: a tree of 2^63 leaves has as many levels.
const MAX_HASHES: usize = 63;

/// An event, and the proof that it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventProof {
    /// Where it stands in the log.
    pub position: u64,
    /// What its leaf is salted with.
    pub salt: [u8; SALT_BYTES],
    /// Its bytes, as they were stored.
    pub body: Vec<u8>,
    /// The siblings on the way from its leaf to the root.
    pub siblings: Vec<Hash>,
    /// The log's signed head.
    pub checkpoint: SignedCheckpoint,
}

impl EventProof {
    /// Whether the event is in the log whose head the checkpoint is. Who signed that is
    /// for [`SignedCheckpoint::verify`]. Answers the event.
    ///
    /// # Errors
    /// If the event's bytes are none, or do not lead to the checkpoint's root.
    pub fn verify_inclusion(&self) -> Result<Event, NoteFault> {
        let event = match Event::decode(&self.body) {
            Ok(event) => event,
            Err(error) => return fault(format!("its bytes are no event: {error}")),
        };
        let leaf = leaf_hash(&entry(event.id, &commitment(&self.salt, &self.body)));
        let head = self.checkpoint.head();
        match verify_inclusion(self.position, head.size, &leaf, &self.siblings, &head.root) {
            true => Ok(event),
            false => fault(format!(
                "the event does not lead to the root of the log of size {} from position {}",
                head.size, self.position
            )),
        }
    }
}

impl fmt::Display for EventProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extra = [&self.salt[..], &self.body].concat();
        writeln!(f, "{FIRST_LINE}\nextra {}\nindex {}", BASE64.encode(extra), self.position)?;
        self.siblings.iter().try_for_each(|sibling| writeln!(f, "{}", BASE64.encode(sibling)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for EventProof {
    type Err = NoteFault;

    fn from_str(text: &str) -> Result<Self, NoteFault> {
        let Some((proof, checkpoint)) = text.split_once("\n\n") else {
            return fault("a proof has an empty line before its checkpoint");
        };
        let mut lines = proof.split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return fault(format!("a proof's first line is {FIRST_LINE}"));
        }
        let mut line = |word: &str| {
            let rest = lines.next().and_then(|line| line.strip_prefix(word)?.strip_prefix(' '));
            rest.map_or_else(|| fault(format!("the line {word} is missing")), Ok)
        };
        let (extra, index) = (line("extra")?, line("index")?);
        let Ok(extra) = BASE64.decode(extra) else { return fault("the line extra is not base64") };
        let Some((salt, body)) = extra.split_first_chunk() else {
            return fault("the line extra is shorter than a salt");
        };
        let siblings: Vec<Hash> = lines.map(hash).collect::<Result<_, _>>()?;
        if siblings.len() > MAX_HASHES {
            return fault(format!("the proof has {} hashes", siblings.len()));
        }
        Ok(Self {
            position: number(index)?,
            salt: *salt,
            body: body.to_vec(),
            siblings,
            checkpoint: checkpoint.parse()?,
        })
    }
}
