//! What a signer remembers, where no backup of the database takes it back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::log::SignedCheckpoint;
use crate::proof::durable::{lock_file, replace};

/// The last checkpoint that was signed here, in a file of its own.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    path: PathBuf,
    last: Option<SignedCheckpoint>,
}

impl Memory {
    /// Reads the file, if it is there.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let doing = || format!("read the last checkpoint in {}", path.display());
        let last = match fs::read_to_string(&path) {
            Ok(text) => Some(text.parse().map_err(|fault| {
                Error::new(ErrorKind::Damaged, doing(), fault)
                    .hint("compare it with those of a witness; `annals log resume` writes it anew")
            })?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::new(ErrorKind::Away, doing(), error)),
        };
        Ok(Self { path, last })
    }

    pub(super) fn last(&self) -> Option<&SignedCheckpoint> {
        self.last.as_ref()
    }

    /// Remembers a checkpoint: once this returns, no crash forgets it. What another
    /// process of this directory signed later stays.
    pub(super) fn remember(&mut self, signed: &SignedCheckpoint) -> Result<()> {
        let write = || {
            let _lock = lock(&self.path)?;
            let later = |text: &str| {
                let other = text.parse::<SignedCheckpoint>();
                other.is_ok_and(|other| other.head().size > signed.head().size)
            };
            match fs::read_to_string(&self.path) {
                Ok(text) if later(&text) => Ok(()),
                _ => replace(&self.path, signed.to_string().as_bytes()),
            }
        };
        write().map_err(|error| {
            let doing = format!("remember the last checkpoint in {}", self.path.display());
            Error::new(ErrorKind::Away, doing, error)
        })?;
        self.last = Some(signed.clone());
        Ok(())
    }
}

/// Held by the one process that changes a file.
fn lock(path: &Path) -> io::Result<fs::File> {
    let file = lock_file(path)?;
    file.lock()?;
    Ok(file)
}
