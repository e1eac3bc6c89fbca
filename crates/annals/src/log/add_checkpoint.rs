//! What a witness is asked (C2SP tlog-witness, `add-checkpoint`).
//!
//! ```text
//! old <size of the checkpoint that the witness cosigned last>
//! <base64 of the consistency proof's hashes, a line each>
//!
//! <the signed checkpoint>
//! ```

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::checkpoint::{hash, number};
use super::note::{NoteFault, fault};
use super::{Hash, SignedCheckpoint};

/// Hashes of a consistency proof, at most, as the format says.
const MAX_HASHES: usize = 63;

/// A checkpoint to be cosigned, and the proof that it extends the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size of the checkpoint that the proof begins at: 0 before the first one.
    pub old: u64,
    /// The consistency proof from there; none from size 0.
    pub proof: Vec<Hash>,
    /// The checkpoint. Nothing of it is believed yet, nor that a log without leaves has
    /// the root of none.
    pub checkpoint: SignedCheckpoint,
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{}", BASE64.encode(hash)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for AddCheckpoint {
    type Err = NoteFault;

    fn from_str(text: &str) -> Result<Self, NoteFault> {
        let Some((head, checkpoint)) = text.split_once("\n\n") else {
            return fault("a request has an empty line before its checkpoint");
        };
        let mut lines = head.split('\n');
        let Some(old) = lines.next().and_then(|line| line.strip_prefix("old ")) else {
            return fault("a request's first line is old and a size");
        };
        let old = number(old)?;
        let proof: Vec<Hash> = lines.map(hash).collect::<Result<_, _>>()?;
        if proof.len() > MAX_HASHES {
            return fault(format!(
                "the proof has {} hashes, and {MAX_HASHES} are read",
                proof.len()
            ));
        }
        Ok(Self { old, proof, checkpoint: SignedCheckpoint::with_any_root(checkpoint)? })
    }
}
