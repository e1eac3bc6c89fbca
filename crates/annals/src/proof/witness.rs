//! A witness: remembers the last checkpoint of each log that it knows, and cosigns only
//! what extends it (C2SP tlog-witness and tlog-cosignature).
//!
//! Whoever holds a log's database and key can make both anew. A witness on another
//! machine, in other hands, cannot be made to forget: what it has cosigned it never
//! contradicts, and what contradicts it is kept as evidence.
//!
//! Everything lies in one directory, which belongs to one process at a time:
//!
//! | file | what |
//! |---|---|
//! | `witness.key` | its private key |
//! | `logs/<SHA-256 of the origin>.checkpoint` | the last checkpoint that it cosigned |
//! | `refused/<the same>/<SHA-256 of the note>.note` | what a log's key signed and it refused |
//!
//! It speaks no HTTP itself, and knows the events of no log.

mod log;
mod refusal;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::durable::lock_file;
use super::signer::Keys;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Timestamp;
use crate::hex::hex;
use crate::log::{AddCheckpoint, KeyType, SigningKey, VerifierKey};
use crate::private::try_lock;

use log::Log;
pub use refusal::Refusal;

/// Cosigns the checkpoints of the logs that it knows.
#[derive(Debug)]
pub struct Witness {
    key: SigningKey,
    /// By the name of its files. One request for a log at a time: what was compared must
    /// be what is replaced.
    logs: BTreeMap<String, Mutex<Log>>,
    /// Held as long as it works here.
    _alone: fs::File,
}

impl Witness {
    /// The witness of that name in a directory, for the logs with these keys; a log may
    /// have several. A key is made if it has never cosigned.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if a key is no log's, if no note could bear the name, if the
    /// witness's own key is another's or lost, or if another process works there;
    /// [`ErrorKind::Damaged`] if what it remembers cannot be read.
    pub fn open(directory: &Path, name: &str, logs: Vec<VerifierKey>) -> Result<Self> {
        let doing = || format!("open the witness {name} in {}", directory.display());
        let alone = alone(directory, &doing)?;
        let remembered = directory.join("logs");
        let keys = Keys::File(directory.join("witness.key"));
        let never_cosigned = !remembered.exists();
        let mut own = keys.of_type(KeyType::Witness, name, never_cosigned)?;
        let key = own.remove(0);
        if !own.is_empty() {
            return Err(Error::new(ErrorKind::Usage, doing(), "its file holds several keys")
                .hint("a witness has one: keep the one that those who check it have"));
        }
        let mut by_log: BTreeMap<String, (String, Vec<VerifierKey>)> = BTreeMap::new();
        for log in logs {
            if log.key_type() != KeyType::Log {
                let found = format!("the key {log} is a witness's");
                return Err(Error::new(ErrorKind::Usage, doing(), found)
                    .hint("`annals checkpoint --key` prints that of a log"));
            }
            let origin = log.name().to_owned();
            by_log.entry(file_name(&origin)).or_insert((origin, Vec::new())).1.push(log);
        }
        let open = |(name, (origin, keys)): (String, (String, Vec<VerifierKey>))| {
            let path = remembered.join(format!("{name}.checkpoint"));
            let refused = directory.join("refused").join(&name);
            Ok((name, Mutex::new(Log::open(origin, keys, path, refused)?)))
        };
        let logs = by_log.into_iter().map(open).collect::<Result<_>>()?;
        Ok(Self { key, logs, _alone: alone })
    }

    /// The public half of its key.
    #[must_use]
    pub fn verifier(&self) -> VerifierKey {
        self.key.verifier()
    }

    /// Answers a request: checks the checkpoint against what it has cosigned of that log,
    /// remembers it, and only then cosigns it, at `now`. The answer is the signature's
    /// line, with a newline at its end. It waits for the disk.
    ///
    /// Whoever got no answer, such as in a crash, asks again from the same size: one
    /// checkpoint is cosigned as often as it is asked for.
    ///
    /// # Errors
    /// Why it does not cosign. What shows that a log contradicts itself is kept as
    /// evidence, and logged as an error.
    pub fn add_checkpoint(
        &self,
        request: &str,
        now: Timestamp,
    ) -> std::result::Result<String, Refusal> {
        let request: AddCheckpoint = request.parse().map_err(Refusal::Malformed)?;
        let origin = &request.checkpoint.head().origin;
        let Some(log) = self.logs.get(&file_name(origin)) else {
            return Err(Refusal::Unknown { origin: origin.clone() });
        };
        // One that panicked has changed nothing that is believed: files are replaced whole.
        log.lock().unwrap_or_else(PoisonError::into_inner).add(&request, &self.key, now)
    }

    /// The last checkpoint that it cosigned of the log whose origin has this SHA-256, in
    /// lower case hexadecimal: with the signatures of the log and its own. `None` before
    /// the first.
    #[must_use]
    pub fn checkpoint(&self, origin_hash: &str) -> Option<String> {
        let log = self.logs.get(origin_hash)?;
        let log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.last().map(ToString::to_string)
    }
}

/// Makes sure that no other process works in the directory.
fn alone(directory: &Path, doing: &dyn Fn() -> String) -> Result<fs::File> {
    let failed = |error| Error::new(ErrorKind::Away, doing(), error);
    let file = lock_file(&directory.join("witness")).map_err(failed)?;
    match try_lock(&file) {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(Error::new(ErrorKind::Usage, doing(), "another process works there")
                .hint("stop it, or give this one another directory"))
        }
        Err(fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// What a log's files are called: an origin may have letters that a path cannot.
fn file_name(origin: &str) -> String {
    hex(&Sha256::digest(origin))
}

/// Where the evidence of one note lies.
fn evidence_path(refused: &Path, note: &str) -> PathBuf {
    refused.join(format!("{}.note", hex(&Sha256::digest(note))))
}
