//! Archives: events that left their store, with all that proves them.
//!
//! An archive is a directory of files, each proved by itself: who has the log's public key
//! needs neither the store nor this software. [`Writer`] writes what is about to be removed
//! and checks it back from the disk, [`Archive`] reads a directory as a store that never
//! changes, [`verify`] says what is wrong with one.
//!
//! # Format
//!
//! A file is named `annals-FIRST-LAST.ndjson.zst` by the positions of its first and last
//! event, each of 20 digits, and is one stream of Zstandard (RFC 8878, with its checksum)
//! over lines of JSON, each with a newline at its end. At most 65,536 events and some 32 MiB
//! of them are in a file. The first line says what is in it:
//!
//! ```text
//! {"annals":"archive v1","origin":ORIGIN,"first":N,"last":N,"events":N,"oldest":TIME,"newest":TIME,"written_at":TIME,"written_by":TEXT}
//! ```
//!
//! Then each event has a line, in order of position, with its bytes as they were appended:
//!
//! ```text
//! {"position":N,"appended_at":TIME,"salt":BASE64,"leaf":BASE64,"event":EVENT}
//! ```
//!
//! An event that itself has line breaks between its tokens stands as `"bytes":BASE64` in the
//! place of `"event"`. The leaf is that of the log ([`crate::log`]), made of the event's id,
//! the salt and the bytes. The last line proves all of them:
//!
//! ```text
//! {"sha256":HEX,"checkpoint":NOTE,"proof":[BASE64,…]}
//! ```
//!
//! `sha256` is over all lines before it. `checkpoint` is a signed checkpoint of the log (C2SP
//! tlog-checkpoint), with the cosignatures that it has; `proof` the hashes that together with
//! the leaves give its root: the tree is walked as RFC 6962 splits it, from the root down and
//! from left to right; a part without any of the leaves is the next hash, a single leaf is the
//! event's, all else is split.
//!
//! A line has these fields and no others, and behind the stream's end the file has nothing:
//! what `zstd -dc` shows is what was proved, save `written_at`, `written_by` and
//! `appended_at`, which nothing proves. A directory holds the archive of one log, and no file
//! in it is ever written over.
//!
//! What it is not: a backup, nor a proof that nothing else was removed: of that the log tells.

mod file;
mod read;
mod shelf;
mod verify;
mod write;

pub use read::Archive;
pub use verify::{ArchiveFinding, ArchiveReport, verify};
pub use write::Writer;

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// The files of an archive, of which there must be some.
fn some_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let files = files(directory)?;
    if files.is_empty() {
        let doing = format!("read the archive in {}", directory.display());
        return Err(Error::new(ErrorKind::Usage, doing, "there are no files of one")
            .hint("check the path: it is the directory that was given to --archive"));
    }
    Ok(files)
}

/// The files of an archive, in order of their first positions.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let doing = || format!("read the archive in {}", directory.display());
    let failed = |error: io::Error| {
        let hint = "check the path: it is the directory that was given to --archive";
        let kind = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorKind::Usage,
            _ => ErrorKind::Away,
        };
        Error::new(kind, doing(), error).hint(hint)
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(file::is_one) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Does what waits for the disk where that holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Closed, "read an archive", format!("a thread stopped: {error}")))
    })
}
