//! Writing what is about to be removed, and checking it back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::blocking;
use super::file::{Entry, FORMAT, Footer, Header, compress, name};
use super::shelf::Shelf;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Timestamp;
use crate::hex::hex;
use crate::log::{
    Positions, SignedCheckpoint, VerifierKey, range_proof, root_of_range, tiles_read,
};
use crate::proof::Signer;
use crate::proof::witnessed::best;
use crate::store::{Archived, Archivist, Held, Ledger, Record, Store};

/// Events of a file, at most.
const EVENTS: usize = 65_536;

/// Bytes of the events of a file: none is added once they are reached.
const BYTES: usize = 32 << 20;

/// Positions that are read in one go.
const STRETCH: u64 = 4_096;

/// Writes archives into a directory, with checkpoints of a log's signer.
#[derive(Debug)]
pub struct Writer<'a> {
    directory: PathBuf,
    signer: &'a Signer,
}

impl<'a> Writer<'a> {
    /// Writes into this directory, which is made for its owner alone if it is not there.
    #[must_use]
    pub fn new(directory: PathBuf, signer: &'a Signer) -> Self {
        Self { directory, signer }
    }
}

#[async_trait]
impl Archivist for Writer<'_> {
    async fn archive(&self, store: &dyn Store, positions: &Positions) -> Result<Vec<Archived>> {
        let ledger = store.ledger()?;
        self.signer.sign().await?;
        let checkpoint = best(ledger, positions.end()).await?.ok_or_else(|| {
            let doing = format!("archive events of {}", store.url());
            Error::new(ErrorKind::Usage, doing, "the log is not signed as far as they reach")
                .hint("`annals checkpoint` says why it cannot be signed")
        })?;
        let log = Log { checkpoint, keys: self.signer.verifiers().await? };
        let shelf = Arc::new(Shelf::open(self.directory.clone()).await?);
        let wanted = Arc::new(positions.clone());
        let origin = &log.checkpoint.head().origin;
        let there = shelf.there(&wanted, origin, &log.keys).await?;
        let mut missing = positions.clone();
        missing.take_out_all(&there.positions);
        let (mut archived, mut entries, mut bytes) = (there.files, Vec::new(), 0);
        for (from, until) in stretches(&missing) {
            for entry in read(store, ledger, &missing, from, until).await? {
                bytes += entry.record.body().len();
                entries.push(entry);
                if entries.len() >= EVENTS || bytes >= BYTES {
                    archived.push(put(&shelf, ledger, std::mem::take(&mut entries), &log).await?);
                    bytes = 0;
                }
            }
        }
        if !entries.is_empty() {
            archived.push(put(&shelf, ledger, entries, &log).await?);
        }
        archived.sort_by(|one, other| one.file.cmp(&other.file));
        Ok(archived)
    }
}

/// Writes one file, and checks it back from the disk.
async fn put(
    shelf: &Arc<Shelf>,
    ledger: &dyn Ledger,
    entries: Vec<Entry>,
    log: &Log,
) -> Result<Archived> {
    let place = |entry: Option<&Entry>| entry.map_or(0, |entry| entry.position);
    let name = name(place(entries.first()), place(entries.last()));
    let lines = lines(ledger, &entries, log).await?;
    drop(entries);
    let (shelf, keys) = (Arc::clone(shelf), log.keys.clone());
    blocking(move || {
        let bytes = compress(&lines)
            .map_err(|error| Error::new(ErrorKind::Away, format!("compress {name}"), error))?;
        shelf.put(&name, &bytes, &keys)
    })
    .await
}

/// What proves the files.
struct Log {
    checkpoint: SignedCheckpoint,
    keys: Vec<VerifierKey>,
}

/// The stretches that hold all of a list, each from its first listed position to behind its
/// last.
fn stretches(positions: &Positions) -> Vec<(u64, u64)> {
    let mut stretches: Vec<(u64, u64)> = Vec::new();
    for (first, end) in positions.runs() {
        let mut from = first;
        while from < end {
            let until = end.min((from / STRETCH + 1) * STRETCH);
            match stretches.last_mut().filter(|last| last.0 / STRETCH == from / STRETCH) {
                Some(last) => last.1 = until,
                None => stretches.push((from, until)),
            }
            from = until;
        }
    }
    stretches
}

/// The listed events of a stretch, in order of position, with what proves them.
async fn read(
    store: &dyn Store,
    ledger: &dyn Ledger,
    listed: &Positions,
    from: u64,
    until: u64,
) -> Result<Vec<Entry>> {
    let mut appended = BTreeMap::new();
    let mut next = from;
    while next < until {
        let window =
            store.window(next, usize::try_from(until - next).unwrap_or(usize::MAX)).await?;
        let Some(last) = window.last() else { break };
        next = last.position + 1;
        appended.extend(window.iter().map(|stored| (stored.position, stored.appended_at)));
    }
    let mut entries = Vec::new();
    for row in ledger.rows(from, until).await? {
        let position = row.position;
        let (Held::Event { salt, body, .. }, Some(appended_at)) =
            (row.held, appended.get(&position))
        else {
            continue;
        };
        if !listed.contains(position) {
            continue;
        }
        let damaged = |found: String| {
            let doing = format!("archive the event at position {position}");
            Error::new(ErrorKind::Damaged, doing, found)
                .hint("nothing was removed; `annals verify` says what was altered")
        };
        let salt = salt.try_into().map_err(|_| damaged("its salt has not 32 bytes".to_owned()))?;
        let record = Record::decode(body).map_err(|error| damaged(error.to_string()))?;
        let leaf = Entry::true_leaf(record.id, &salt, record.body());
        entries.push(Entry { position, appended_at: *appended_at, salt, leaf, record });
    }
    let gone = listed.within(from, until).saturating_sub(entries.len() as u64);
    if gone > 0 {
        let doing = format!("archive the events from position {from} to before {until}");
        let found = format!("{gone} of them are not there any more");
        return Err(Error::new(ErrorKind::Transient, doing, found).hint(
            "nothing was removed by this; run it again, and if no other prune removed them, \
             `annals verify`",
        ));
    }
    Ok(entries)
}

/// All lines of a file.
async fn lines(ledger: &dyn Ledger, entries: &[Entry], log: &Log) -> Result<Vec<u8>> {
    let mut positions = Positions::default();
    entries.iter().for_each(|entry| positions.add(entry.position, entry.position + 1));
    let size = log.checkpoint.head().size;
    let places = tiles_read(|tiles| range_proof(&positions, size, tiles))?;
    let proof = range_proof(&positions, size, &mut ledger.tiles(places).await?)?;
    let leaves: Vec<_> = entries.iter().map(|entry| (entry.position, entry.leaf)).collect();
    if root_of_range(&leaves, size, &proof) != Some(log.checkpoint.head().root) {
        let (first, end) = (leaves.first().map_or(0, |(first, _)| *first), positions.end());
        let doing = format!("archive the events from position {first} to before {end}");
        let found = "one of them, or the log, is not what was signed";
        return Err(Error::new(ErrorKind::Damaged, doing, found)
            .hint("nothing was removed; `annals verify` says what was altered"));
    }
    let times = || entries.iter().map(|entry| entry.record.occurred_at);
    let time = |time: Option<Timestamp>| time.unwrap_or(Timestamp::MIN).to_string();
    let header = Header {
        annals: FORMAT.to_owned(),
        origin: log.checkpoint.head().origin.clone(),
        first: entries.first().map_or(0, |entry| entry.position),
        last: entries.last().map_or(0, |entry| entry.position),
        events: entries.len() as u64,
        oldest: time(times().min()),
        newest: time(times().max()),
        written_at: Timestamp::now().to_string(),
        written_by: concat!("annals ", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    let mut lines = serde_json::to_vec(&header).unwrap_or_default();
    lines.push(b'\n');
    entries.iter().for_each(|entry| entry.write(&mut lines));
    let footer = Footer {
        sha256: hex(&Sha256::digest(&lines)),
        checkpoint: log.checkpoint.to_string(),
        proof: proof.iter().map(|hash| STANDARD.encode(hash)).collect(),
    };
    lines.extend(serde_json::to_vec(&footer).unwrap_or_default());
    lines.push(b'\n');
    Ok(lines)
}
