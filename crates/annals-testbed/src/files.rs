//! Files of servers, as a backup has them.

use std::io;
use std::path::Path;
use std::process::Command;

/// Copies files of a server while it is stopped.
///
/// # Panics
/// If that fails.
pub(crate) fn copy_while_stopped(
    directory: &Path,
    [from, to]: [&str; 2],
    stop: impl FnOnce(),
    resume: impl FnOnce() -> Result<(), String>,
) {
    stop();
    let [from, to] = [directory.join(from), directory.join(to)];
    copy_tree(&from, &to).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
    resume().unwrap_or_else(|error| panic!("{error}"));
}

/// Copies a directory with owners and modes; what stood at `to` is gone.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    let status = Command::new("cp").arg("-a").args([from, to]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("cp: {status}"))) }
}
