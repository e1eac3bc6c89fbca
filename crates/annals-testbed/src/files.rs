//! Files of servers, as a backup has them.

use std::io;
use std::path::Path;
use std::process::Command;

/// Copies a directory with owners and modes; what stood at `to` is gone.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    let status = Command::new("cp").arg("-a").args([from, to]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("cp: {status}"))) }
}
