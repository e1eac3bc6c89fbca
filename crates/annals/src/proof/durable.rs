//! Files of their owner's alone that no crash leaves half written.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::private::make_private_directory_of;

/// The file that is locked for another: opened, and not locked yet.
pub(crate) fn lock_file(path: &Path) -> io::Result<fs::File> {
    make_private_directory_of(path)?;
    fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.with_extension("lock"))
}

/// Puts a file of its owner's alone in the place of another, durably: whoever reads it
/// finds the one or the other.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = write_beside(path, bytes)?;
    fs::rename(&beside, path)?;
    sync_directory_of(path)
}

/// As [`replace`], unless the file is there already.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] then.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
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
