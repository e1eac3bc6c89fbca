//! Why a witness does not cosign.

use std::fmt;

use crate::error::Error;
use crate::log::NoteFault;

/// Why a checkpoint is not cosigned.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The request is none.
    Malformed(NoteFault),
    /// The old size is beyond the checkpoint's.
    Backwards {
        /// Where the proof begins.
        old: u64,
        /// The checkpoint's size.
        size: u64,
    },
    /// No key of that log was given to the witness.
    Unknown {
        /// The log's origin.
        origin: String,
    },
    /// None of the log's keys signed it, or a signature is not what it says.
    Unsigned(NoteFault),
    /// The witness has cosigned another size than the proof begins at.
    Conflict {
        /// The size that it cosigned last; 0 if none.
        size: u64,
    },
    /// It does not extend what the witness has cosigned: what does not fit.
    Inconsistent(String),
    /// It could not be remembered, so it was not cosigned.
    Failed(Error),
}

impl Refusal {
    /// The HTTP status that C2SP tlog-witness gives to it.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::Backwards { .. } => 400,
            Self::Unsigned(_) => 403,
            Self::Unknown { .. } => 404,
            Self::Conflict { .. } => 409,
            Self::Inconsistent(_) => 422,
            Self::Failed(_) => 500,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(fault) => write!(f, "this is no request to a witness: {fault}"),
            Self::Backwards { old, size } => {
                write!(f, "the proof begins at size {old}, and the checkpoint is of size {size}")
            }
            Self::Unknown { origin } => {
                write!(f, "this witness was given no key of the log {origin}")
            }
            Self::Unsigned(fault) => write!(f, "the checkpoint is not the log's: {fault}"),
            Self::Conflict { size } => write!(f, "this witness has cosigned size {size}"),
            Self::Inconsistent(found) => f.write_str(found),
            // The operator's log has the rest.
            Self::Failed(_) => f.write_str("the witness could not remember the checkpoint"),
        }
    }
}

impl std::error::Error for Refusal {}
