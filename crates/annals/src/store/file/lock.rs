//! One appender a file.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::{explain, url};
use crate::error::{Error, ErrorKind, Result};
use crate::private::try_lock;

/// The lock on `PATH.lock`, held until it is dropped or the process ends. The
/// lock file itself stays: whoever removed it could remove the next one's.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock for the file at `path`, and writes this process's id down.
    ///
    /// # Errors
    /// [`ErrorKind::Away`] names the process that has it.
    pub(super) fn take(path: &Path) -> Result<Self> {
        let doing = || format!("open {}", url(path));
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let name = PathBuf::from(name);
        let mut file = super::current::private(&name).map_err(|error| explain(doing(), error))?;
        match try_lock(&file) {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(explain(doing(), error)),
            Err(TryLockError::WouldBlock) => return Err(held(doing(), &mut file)),
        }
        // Who holds it is a courtesy to whoever finds it held.
        let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(error) = noted {
            tracing::warn!("cannot note the process id in {}: {error}", name.display());
        }
        Ok(Self { _file: file })
    }
}

fn held(doing: String, file: &mut File) -> Error {
    let mut holder = String::new();
    let read = file.rewind().and_then(|()| file.take(32).read_to_string(&mut holder));
    let found = match (read, holder.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!("process {pid} appends to it already"),
        _ => "another process appends to it already".to_owned(),
    };
    Error::new(ErrorKind::Away, doing, found)
        .hint("stop that process, or give each worker a file of its own")
}
