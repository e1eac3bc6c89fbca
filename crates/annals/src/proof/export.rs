//! The log as files that any web server can serve (C2SP tlog-tiles).
//!
//! ```text
//! checkpoint                    the signed head
//! tile/<level>/<index>          256 hashes, which never change again
//! tile/<level>/<index>.p/<n>    the n hashes of a tile at the right border
//! ```
//!
//! An index is written in groups of three digits, all but the last behind an x: 1234067
//! is `x001/x234/067`. What is there of an earlier export is kept: only what is new is
//! written, and the checkpoint last, so that it never names a tile that is not there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::log::{Place, SignedCheckpoint, TILE_WIDTH};
use crate::store::Store;

/// Tiles that are read in one go: 2 MiB.
const TILES: usize = 256;

/// What an export wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Leaves of the log.
    pub size: u64,
    /// Tiles that were new.
    pub tiles: u64,
}

/// Writes the log of the last checkpoint into a directory, which is made if need be.
///
/// # Errors
/// [`ErrorKind::Usage`] if the log was never signed; [`ErrorKind::Damaged`] if a tile is
/// not whole; otherwise when the store cannot be read or the directory not be written.
pub async fn export(store: &Arc<dyn Store>, directory: &Path) -> Result<Exported> {
    let doing = || format!("export the log of {} to {}", store.url(), directory.display());
    let ledger = store.ledger()?;
    let Some(kept) = ledger.standing().await?.latest else {
        return Err(Error::new(ErrorKind::Usage, doing(), "the log was never signed")
            .hint("`annals work` signs it; `annals checkpoint` does so once"));
    };
    let checkpoint: SignedCheckpoint =
        kept.note.parse().map_err(|fault| Error::new(ErrorKind::Damaged, doing(), fault))?;
    let size = checkpoint.head().size;
    let mut exported = Exported { size, tiles: 0 };
    let wanted: Vec<(Place, usize)> = tiles_of(size)
        .filter(|(place, width)| !directory.join(path(*place, *width)).exists())
        .collect();
    for part in wanted.chunks(TILES) {
        let tiles = ledger.tiles(part.iter().map(|(place, _)| *place).collect()).await?;
        for (place, width) in part {
            let Some(hashes) = tiles.get(*place).get(..*width) else {
                let found = format!("tile {} of level {} is not whole", place.1, place.0);
                return Err(Error::new(ErrorKind::Damaged, doing(), found)
                    .hint("`annals verify` says what is wrong"));
            };
            write(&directory.join(path(*place, *width)), hashes.as_flattened())
                .map_err(|error| Error::new(ErrorKind::Away, doing(), error))?;
            exported.tiles += 1;
        }
    }
    write(&directory.join("checkpoint"), kept.note.as_bytes())
        .map_err(|error| Error::new(ErrorKind::Away, doing(), error))?;
    Ok(exported)
}

/// The tiles of a log of `size` leaves, each with its width.
fn tiles_of(size: u64) -> impl Iterator<Item = (Place, usize)> {
    let width = TILE_WIDTH as u64;
    (0..8_u8).flat_map(move |level| {
        let hashes = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
        let of =
            move |index: u64| usize::try_from((hashes - index * width).min(width)).unwrap_or(0);
        (0..hashes.div_ceil(width)).map(move |index| ((level, index), of(index)))
    })
}

/// Where a tile of that width lies.
fn path((level, index): Place, width: usize) -> PathBuf {
    let mut path = PathBuf::from(format!("tile/{level}"));
    let mut groups = vec![index % 1_000];
    let mut rest = index / 1_000;
    while rest > 0 {
        groups.push(rest % 1_000);
        rest /= 1_000;
    }
    for group in groups.iter().skip(1).rev() {
        path.push(format!("x{group:03}"));
    }
    match width {
        TILE_WIDTH => path.push(format!("{:03}", groups[0])),
        _ => {
            path.push(format!("{:03}.p", groups[0]));
            path.push(width.to_string());
        }
    }
    path
}

/// Writes a file whole: whoever reads it meanwhile finds the old one or the new one.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let beside = path.with_extension(format!("new.{}", std::process::id()));
    fs::write(&beside, bytes)?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_lie_where_the_specification_says() {
        // Both examples are those of C2SP tlog-tiles.
        assert_eq!(path((0, 1_234_067), 256), PathBuf::from("tile/0/x001/x234/067"));
        assert_eq!(path((2, 0), 17), PathBuf::from("tile/2/000.p/17"));
        let tiles: Vec<(Place, usize)> = tiles_of(70_000).collect();
        let of = |level: u8, full: bool| {
            tiles.iter().filter(|((at, _), width)| *at == level && (*width == 256) == full).count()
        };
        assert_eq!((of(0, true), of(0, false), of(1, true), of(1, false)), (273, 1, 1, 1));
        assert!(tiles.contains(&((0, 273), 112)) && tiles.contains(&((1, 1), 17)));
        assert_eq!(tiles.last(), Some(&((2, 0), 1)));
        assert_eq!(tiles_of(256).collect::<Vec<_>>(), [((0, 0), 256), ((1, 0), 1)]);
    }
}
