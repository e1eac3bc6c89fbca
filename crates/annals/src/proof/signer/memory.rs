//! What a signer remembers, where no backup of the database takes it back.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::log::SignedCheckpoint;
use crate::private::make_private_directory_of;

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
    make_private_directory_of(path)?;
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.with_extension("lock"))?;
    file.lock()?;
    Ok(file)
}

/// Puts a file of its owner's alone in the place of another, durably: whoever reads it
/// finds the one or the other.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = write_beside(path, bytes)?;
    fs::rename(&beside, path)?;
    sync_directory_of(path)
}

/// As [`replace`], unless the file is there already.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] then.
pub(super) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = write_beside(path, bytes)?;
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside)?;
    linked?;
    sync_directory_of(path)
}

fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    make_private_directory_of(path)?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(name);
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(beside)
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
