//! Directories that belong to their owner alone, for the backends that keep files.

use std::path::Path;
use std::{fs, io};

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
