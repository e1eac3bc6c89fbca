//! Verification: reads a whole store and its log, and says what is true.
//!
//! Every row gives a leaf, from the event's bytes and salt or from what is left of it.
//! The leaves are compared with the log's tiles, the tiles with those above them, and the
//! roots with the checkpoints that were signed. What differs is told by where it differs:
//!
//! - a row whose leaf stands at another place of the log was reordered;
//! - a row that gives no leaf of the log was changed, or inserted if its place has another;
//! - a leaf without a row was removed, unless an event in the log tells of that, with a
//!   list of places that the log's key has signed;
//! - a hash that neither rows nor the tiles around it bear out was forged, and so were
//!   events that lead to another root than the one that was signed;
//! - a log shorter than its own checkpoint was cut off at the end, and one shorter than a
//!   checkpoint that only somebody else has kept was rolled back.
//!
//! It reads in stretches and holds nothing locked: events may be appended and removed
//! meanwhile. The size is that of the beginning.

mod finding;
mod heads;
mod tile;
mod walk;
mod witnesses;

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::event::Timestamp;
use crate::log::{Edge, Hash, Place, SignedCheckpoint, TILE_WIDTH, VerifierKey, tiles_read};
use crate::store::{Ledger, Standing, Store};

use super::removals;
use finding::Findings;
pub use finding::{Finding, FindingKind};
use heads::heads;
use walk::{Stretch, Walk};
pub use witnesses::Witnesses;
use witnesses::Witnessing;

/// Positions that are read in one go.
const STRETCH: u64 = 16 * TILE_WIDTH as u64;

/// Rows without a place in the log that are looked at.
const STRAYS: usize = 10_000;

/// What is to be believed, and where to begin.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// The keys that may have signed the log. Without any, those that the store names are
    /// believed, which whoever changed the store may have changed too.
    pub keys: Vec<VerifierKey>,
    /// Earlier checkpoints of this log, which it must extend.
    pub since: Vec<SignedCheckpoint>,
    /// One up to which all was found right before: it begins with the events after it. What
    /// became of those before since then is not looked at.
    pub from: Option<SignedCheckpoint>,
    /// How many witnesses are to have cosigned the log, and which.
    pub witnesses: Option<Witnesses>,
}

/// How far a verification has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The positions before this one were looked at.
    pub position: u64,
    /// The log's size.
    pub size: u64,
    /// The largest size that was signed up to which all is right; `None` once something is
    /// not. From its checkpoint another verification can go on ([`VerifyOptions::from`]).
    pub right: Option<u64>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The log's leaves.
    pub size: u64,
    /// Its root, as its tiles have it.
    pub root: Hash,
    /// Where it began: 0, or with the tile that the checkpoint it went on from ends in.
    pub from: u64,
    /// Events that are there, from there on.
    pub events: u64,
    /// Events from there on that were removed, and an event tells of it.
    pub removed: u64,
    /// Checkpoints that were compared with the log.
    pub checkpoints: u64,
    /// The largest size for which a checkpoint that a believed key signed has the log's
    /// root: what comes after it nobody has vouched for yet.
    pub signed: Option<u64>,
    /// The largest size of a checkpoint that as many witnesses have cosigned as were asked
    /// for, and when the last of them did; `None` too if none were asked for.
    pub witnessed: Option<(u64, Timestamp)>,
    /// What is wrong, by position. Empty if nothing is.
    pub findings: Vec<Finding>,
    /// Findings beyond those that are listed.
    pub further: u64,
}

/// Verifies a store; `progress` is told how far it has come.
///
/// # Errors
/// If the store cannot be read. What is wrong with it is in the report.
pub async fn verify(
    store: &Arc<dyn Store>,
    options: VerifyOptions,
    mut progress: impl FnMut(Step) + Send,
) -> Result<Report> {
    let ledger = store.ledger()?;
    let standing = ledger.standing().await?;
    let mut findings = Findings::default();
    let keys = believed(&options, &standing)?;
    let edge = begin(ledger, &standing, options.from.as_ref()).await?;
    let since: Vec<_> = options.since.iter().chain(&options.from).cloned().collect();
    let mut witnessing = Witnessing::new(options.witnesses);
    let mut heads = heads(ledger, &standing, &keys, &since, &mut witnessing, &mut findings).await?;
    witnessing.judge(standing.size, Timestamp::now(), &mut findings);
    heads.retain(|head| head.size >= edge.size());
    let covered = removals::covered(store.as_ref(), ledger, &keys, &mut Vec::new()).await?;
    let mut stretch = read(ledger, edge.size(), standing.size).await?;
    let mut walk = Walk::new(standing.size, edge, heads, covered, findings);
    while let Some(read_now) = stretch {
        let until = read_now.until;
        let checking = tokio::task::spawn_blocking(move || {
            walk.check(&read_now);
            walk
        });
        let (checked, next) = tokio::join!(checking, read(ledger, until, standing.size));
        walk = checked.map_err(|error| {
            Error::new(ErrorKind::Closed, "verify the log", format!("a thread stopped: {error}"))
        })?;
        progress(Step { position: until, size: standing.size, right: walk.right() });
        stretch = next?;
    }
    walk.strays(&ledger.strays(STRAYS).await?);
    // Once more, since events went meanwhile; those that tell of it stood there before.
    let mut unbelieved = Vec::new();
    let covered = removals::covered(store.as_ref(), ledger, &keys, &mut unbelieved).await?;
    walk.add(unbelieved);
    let mut report = walk.report(standing.root, &covered);
    report.witnessed = witnessing.last();
    Ok(report)
}

/// The log's edge where verification begins: that before the tile that a checkpoint ends in.
async fn begin(
    ledger: &dyn Ledger,
    standing: &Standing,
    from: Option<&SignedCheckpoint>,
) -> Result<Edge> {
    let size = from.map_or(0, |from| from.head().size).min(standing.size);
    let whole = size / TILE_WIDTH as u64 * TILE_WIDTH as u64;
    if whole == 0 {
        return Ok(Edge::new());
    }
    let places = tiles_read(|tiles| Edge::load(whole, tiles))?;
    Edge::load(whole, &mut ledger.tiles(places).await?)
}

/// The keys that are believed.
fn believed(options: &VerifyOptions, standing: &Standing) -> Result<Vec<VerifierKey>> {
    if !options.keys.is_empty() {
        return Ok(options.keys.clone());
    }
    let parse = |key: &String| {
        key.parse().map_err(|fault| {
            Error::new(ErrorKind::Damaged, "read the keys of the log", fault)
                .hint("the store was altered: verify with the key that you were given")
        })
    };
    standing.keys.iter().map(parse).collect()
}

/// Reads a stretch of the log: rows, and all tiles over them.
async fn read(ledger: &dyn Ledger, from: u64, size: u64) -> Result<Option<Stretch>> {
    if from >= size {
        return Ok(None);
    }
    let until = size.min(from + STRETCH);
    let mut places: Vec<Place> = Vec::new();
    for level in 0..8_u8 {
        let shift = 8 * (u32::from(level) + 1);
        let index = |position: u64| position.checked_shr(shift).unwrap_or(0);
        places.extend((index(from)..=index(until - 1)).map(|index| (level, index)));
    }
    let (rows, tiles) = tokio::join!(ledger.rows(from, until), ledger.tiles(places));
    Ok(Some(Stretch { from, until, rows: rows?, tiles: tiles? }))
}
