//! Directories and files that belong to their owner alone, for the backends that keep files.

use std::path::Path;
use std::{fs, io};

#[cfg(any(feature = "access", feature = "redact", feature = "seal"))]
use zeroize::Zeroizing;

#[cfg(any(feature = "access", feature = "redact", feature = "seal"))]
use crate::error::{Error, ErrorKind, Result};

/// Makes the directory that `path` is to lie in, unless it is there already.
pub(crate) fn make_private_directory_of(path: &Path) -> io::Result<()> {
    let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    if directory.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// Makes a file of its owner's alone, durably, unless it is there already.
#[cfg(any(feature = "access", feature = "redact", feature = "seal"))]
fn create_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    make_private_directory_of(path)?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&name)?;
    io::Write::write_all(&mut file, bytes)?;
    file.sync_all()?;
    let linked = fs::hard_link(&name, path);
    fs::remove_file(&name)?;
    linked?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// The text of a secret's file, which its owner alone may read. If it is not there and `make`
/// gives one, that is kept in it; what another process has kept meanwhile stays. The second
/// of the two answers is whether this one was kept.
///
/// # Errors
/// [`ErrorKind::Usage`] if there is none, or others may read it.
#[cfg(any(feature = "access", feature = "redact", feature = "seal"))]
pub(crate) fn read_secret(
    path: &Path,
    make: Option<&dyn Fn() -> Result<Zeroizing<String>>>,
    doing: &dyn Fn() -> String,
) -> Result<(Zeroizing<String>, bool)> {
    refuse_readable(path, doing)?;
    match (fs::read_to_string(path), make) {
        (Ok(text), _) => Ok((Zeroizing::new(text), false)),
        (Err(error), Some(make)) if error.kind() == io::ErrorKind::NotFound => {
            let made = make()?;
            match create_private(path, made.as_bytes()) {
                Ok(()) => Ok((made, true)),
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    read_secret(path, None, doing)
                }
                Err(error) => Err(Error::new(ErrorKind::Away, doing(), error)),
            }
        }
        (Err(error), _) => Err(Error::new(ErrorKind::Usage, doing(), error)),
    }
}

/// Refuses a key that others than its owner may read.
#[cfg(all(unix, any(feature = "access", feature = "redact", feature = "seal")))]
fn refuse_readable(path: &Path, doing: &dyn Fn() -> String) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let Ok(attributes) = fs::metadata(path) else { return Ok(()) };
    let mode = attributes.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Usage, doing(), format!("others may read it (mode {mode:03o})"))
        .hint(format!("chmod 600 {}", path.display())))
}

#[cfg(all(not(unix), any(feature = "access", feature = "redact", feature = "seal")))]
fn refuse_readable(_: &Path, _: &dyn Fn() -> String) -> Result<()> {
    Ok(())
}

/// Locks a file that is one process's alone. A lock that this process has let go of may be
/// held for a moment by a child that it is just starting, since a child has its parent's
/// files until it becomes another program: so it is tried for a quarter of a second.
#[cfg(any(feature = "file", feature = "proof"))]
pub(crate) fn try_lock(file: &fs::File) -> std::result::Result<(), fs::TryLockError> {
    const TRIES: u32 = 25;
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);
    for _ in 1..TRIES {
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    file.try_lock()
}
