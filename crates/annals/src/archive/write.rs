//! Writing what is about to be removed, and checking it back.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::file::{Entry, FORMAT, Footer, Header, compress, header, hex, name};
use super::verify::check;
use super::{blocking, files};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Timestamp;
use crate::log::{Positions, SignedCheckpoint, VerifierKey, range_proof, tiles_read};
use crate::proof::Signer;
use crate::proof::durable::replace;
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

    /// What is archived already, of what is to be: a removal that was cut short has
    /// archived more than it removed. A file that is not whole is written again.
    async fn archived(&self, wanted: &Positions, keys: &[VerifierKey]) -> Result<Positions> {
        let mut archived = Positions::default();
        if !self.directory.exists() {
            return Ok(archived);
        }
        for path in files(&self.directory)? {
            let (wanted, keys) = (wanted.clone(), keys.to_vec());
            let whole = move || {
                let overlaps = header(&path)
                    .is_ok_and(|header| wanted.within(header.first, header.last + 1) > 0);
                let checked = overlaps.then(|| check(&path, &keys));
                Ok(checked.filter(|checked| checked.findings.is_empty()))
            };
            if let Some(whole) = blocking(whole).await? {
                archived.add_all(&whole.positions);
            }
        }
        Ok(archived)
    }

    /// Writes one file, and checks it back from the disk.
    async fn file(&self, ledger: &dyn Ledger, entries: Vec<Entry>, log: &Log) -> Result<Archived> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(Archived::default());
        };
        let file = name(first.position, last.position);
        let path = self.directory.join(&file);
        let lines = lines(ledger, &entries, log).await?;
        let doing = format!("archive into {}", path.display());
        let keys = log.keys.clone();
        blocking(move || {
            let away = |error: std::io::Error| Error::new(ErrorKind::Away, &doing, error);
            let bytes = compress(&lines).map_err(away)?;
            replace(&path, &bytes).map_err(|error| {
                away(error).hint("nothing was removed; make room on the disk, or mend it")
            })?;
            let written = std::fs::read(&path).map_err(away)?;
            let checked = check(&path, &keys);
            if let Some(finding) = checked.findings.first() {
                let found = format!("what was written does not check: {}", finding.what);
                return Err(Error::new(ErrorKind::Damaged, &doing, found)
                    .hint("nothing was removed; mend the disk, and remove the file"));
            }
            Ok(Archived { file, sha256: hex(&Sha256::digest(&written)) })
        })
        .await
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
        let mut missing = positions.clone();
        missing.take_out_all(&self.archived(positions, &log.keys).await?);
        let (mut written, mut entries, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (from, until) in stretches(&missing) {
            for entry in read(store, ledger, &missing, from, until).await? {
                bytes += entry.record.body().len();
                entries.push(entry);
                if entries.len() >= EVENTS || bytes >= BYTES {
                    written.push(self.file(ledger, std::mem::take(&mut entries), &log).await?);
                    bytes = 0;
                }
            }
        }
        if !entries.is_empty() {
            written.push(self.file(ledger, entries, &log).await?);
        }
        Ok(written)
    }
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
    Ok(entries)
}

/// All lines of a file.
async fn lines(ledger: &dyn Ledger, entries: &[Entry], log: &Log) -> Result<Vec<u8>> {
    let mut positions = Positions::default();
    entries.iter().for_each(|entry| positions.add(entry.position, entry.position + 1));
    let size = log.checkpoint.head().size;
    let places = tiles_read(|tiles| range_proof(&positions, size, tiles))?;
    let proof = range_proof(&positions, size, &mut ledger.tiles(places).await?)?;
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
