//! The directory of an archive, while files are written to it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::file::is_leftover;
use super::verify::check;
use super::{blocking, file, files};
use crate::error::{Error, ErrorKind, Result};
use crate::hex::hex;
use crate::log::{Positions, VerifierKey};
use crate::private::try_lock;
use crate::proof::durable::{create, lock_file};
use crate::store::Archived;

/// A directory that is this process's alone until it is dropped.
pub(super) struct Shelf {
    directory: PathBuf,
    _lock: fs::File,
}

/// What is archived already.
#[derive(Default)]
pub(super) struct There {
    pub(super) positions: Positions,
    /// The files that have any of it.
    pub(super) files: Vec<Archived>,
}

impl Shelf {
    /// Makes the directory, if it is not there, and clears away what was being written when
    /// a process was killed.
    pub(super) async fn open(directory: PathBuf) -> Result<Self> {
        blocking(move || {
            let doing = || format!("archive into {}", directory.display());
            let away = |error: io::Error| Error::new(ErrorKind::Away, doing(), error);
            let lock = lock_file(&directory.join("archive")).map_err(away)?;
            match try_lock(&lock) {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => {
                    let found = "another process archives there";
                    return Err(Error::new(ErrorKind::Transient, doing(), found)
                        .hint("run it again when that is done; nothing was removed"));
                }
                Err(fs::TryLockError::Error(error)) => return Err(away(error)),
            }
            for entry in fs::read_dir(&directory).map_err(away)? {
                let path = entry.map_err(away)?.path();
                if path.file_name().and_then(|name| name.to_str()).is_some_and(is_leftover) {
                    fs::remove_file(&path).map_err(away)?;
                }
            }
            Ok(Self { directory, _lock: lock })
        })
        .await
    }

    /// What is there of what is wanted, in files of the log `origin` that check out: a
    /// removal that was cut short has archived more than it removed.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if the archive is another log's.
    pub(super) async fn there(
        &self,
        wanted: &Arc<Positions>,
        origin: &str,
        keys: &[VerifierKey],
    ) -> Result<There> {
        let mut there = There::default();
        for path in files(&self.directory)? {
            let (wanted, keys, origin) = (Arc::clone(wanted), keys.to_vec(), origin.to_owned());
            let found = blocking(move || whole(&path, &wanted, &origin, &keys)).await?;
            if let Some((positions, file)) = found {
                there.positions.add_all(&positions);
                there.files.push(file);
            }
        }
        Ok(there)
    }

    /// Puts a file there, in the place of no other, and checks it back from the disk.
    pub(super) fn put(&self, name: &str, bytes: &[u8], keys: &[VerifierKey]) -> Result<Archived> {
        let path = self.directory.join(name);
        let doing = format!("archive into {}", path.display());
        create(&path, bytes).map_err(|error| match error.kind() {
            // Its events may be in no other place any more.
            io::ErrorKind::AlreadyExists => {
                let found = "there is a file of that name, and it does not check";
                Error::new(ErrorKind::Damaged, &doing, found).hint(
                    "nothing was removed; `annals verify --archive` says what is wrong with it: \
                     mend it or move it elsewhere",
                )
            }
            _ => Error::new(ErrorKind::Away, &doing, error)
                .hint("nothing was removed; make room on the disk, or mend it"),
        })?;
        if let Some(finding) = check(&path, keys).findings.first() {
            let found = format!("what was written does not check: {}", finding.what);
            return Err(Error::new(ErrorKind::Damaged, &doing, found)
                .hint("nothing was removed; mend the disk, and remove the file"));
        }
        archived(&path)
    }
}

/// The positions in a file and its hash, if it is whole and has any of what is wanted.
fn whole(
    path: &Path,
    wanted: &Positions,
    origin: &str,
    keys: &[VerifierKey],
) -> Result<Option<(Positions, Archived)>> {
    let Ok(header) = file::header(path) else { return Ok(None) };
    if header.origin != origin {
        let doing = format!("archive the log {origin} beside {}", path.display());
        let found = format!("that is of another log, {}", header.origin);
        return Err(Error::new(ErrorKind::Usage, doing, found)
            .hint("nothing was removed; give each log an archive directory of its own"));
    }
    if wanted.within(header.first, header.last.saturating_add(1)) == 0 {
        return Ok(None);
    }
    let checked = check(path, keys);
    let has_any = checked.positions.runs().any(|(from, until)| wanted.within(from, until) > 0);
    if !checked.findings.is_empty() || !has_any {
        return Ok(None);
    }
    Ok(Some((checked.positions, archived(path)?)))
}

/// A file as the trail names it.
fn archived(path: &Path) -> Result<Archived> {
    let doing = || format!("read {}", path.display());
    let bytes = fs::read(path).map_err(|error| Error::new(ErrorKind::Away, doing(), error))?;
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(Archived { file: file.unwrap_or_default(), sha256: hex(&Sha256::digest(bytes)) })
}
