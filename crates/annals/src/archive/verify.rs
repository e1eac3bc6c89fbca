//! What is wrong with an archive.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::file::{Entry, Footer, Header, Lines, header, name};
use super::{blocking, some_files};
use crate::error::Result;
use crate::event::{EventId, Timestamp};
use crate::log::{Hash, Positions, SignedCheckpoint, VerifierKey, root_of_range};
use crate::proof::FindingKind;

/// Findings of one file, at most: the first ones say it.
const MOST: usize = 100;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchiveReport {
    /// Files that were looked at.
    pub files: u64,
    /// Events in them.
    pub events: u64,
    /// What is wrong; empty if nothing is.
    pub findings: Vec<ArchiveFinding>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveFinding {
    /// In which file.
    pub file: PathBuf,
    /// In which line, from 1 on; `None` if it is the file as a whole.
    pub line: Option<u64>,
    /// What was done.
    pub kind: FindingKind,
    /// The position of the event, if that can be said.
    pub position: Option<u64>,
    /// Its id, if that can be said.
    pub event: Option<EventId>,
    /// What was found, as a sentence without its end.
    pub what: String,
}

/// Checks every file of an archive against the keys that may have signed its log;
/// `progress` is told how many of how many files were looked at.
///
/// # Errors
/// If the directory cannot be read, or has no files of an archive. What is wrong with a file is in the report.
pub async fn verify(
    directory: &Path,
    keys: &[VerifierKey],
    mut progress: impl FnMut(u64, u64) + Send,
) -> Result<ArchiveReport> {
    let mut report = ArchiveReport::default();
    let files = some_files(directory)?;
    let all = files.len() as u64;
    for path in files {
        let keys = keys.to_vec();
        let checked = blocking(move || Ok(check(&path, &keys))).await?;
        report.files += 1;
        report.events += checked.positions.count();
        report.findings.extend(checked.findings);
        progress(report.files, all);
    }
    Ok(report)
}

/// A file that was looked at.
pub(super) struct Checked {
    pub(super) positions: Positions,
    pub(super) findings: Vec<ArchiveFinding>,
}

/// Checks one file.
pub(super) fn check(path: &Path, keys: &[VerifierKey]) -> Checked {
    let mut checking = Checking {
        path,
        keys,
        leaves: Vec::new(),
        span: None,
        checked: Checked { positions: Positions::default(), findings: Vec::new() },
    };
    if let Err(what) = checking.run() {
        checking.find(None, FindingKind::Changed, None, what);
    }
    checking.checked
}

struct Checking<'a> {
    path: &'a Path,
    keys: &'a [VerifierKey],
    leaves: Vec<(u64, Hash)>,
    /// When the oldest and the newest of the events occurred.
    span: Option<(Timestamp, Timestamp)>,
    checked: Checked,
}

impl Checking<'_> {
    fn find(
        &mut self,
        line: Option<u64>,
        kind: FindingKind,
        at: Option<(u64, EventId)>,
        what: String,
    ) {
        if self.checked.findings.len() < MOST {
            let (file, position) = (self.path.to_owned(), at.map(|(position, _)| position));
            let event = at.map(|(_, event)| event);
            self.checked.findings.push(ArchiveFinding { file, line, kind, position, event, what });
        }
    }

    /// Looks at each line; an error is of the file as a whole.
    fn run(&mut self) -> Result<(), String> {
        let header = header(self.path)?;
        let named = self.path.file_name().and_then(|name| name.to_str());
        if named != Some(&*name(header.first, header.last)) {
            let what = format!(
                "the file says that it has the positions from {} to {}: it was called otherwise",
                header.first, header.last
            );
            self.find(None, FindingKind::Forged, None, what);
        }
        let mut lines = Lines::open(self.path).map_err(|error| error.to_string())?;
        let mut footer = None;
        loop {
            let number = lines.count + 1;
            let line = match lines.next() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => {
                    let what = format!("the file cannot be read on from here: {error}");
                    self.find(Some(number), FindingKind::Changed, None, what);
                    return Ok(());
                }
            };
            if number == 1 {
                continue;
            }
            if footer.is_some() {
                let what = "there are lines behind the proof".to_owned();
                self.find(Some(number), FindingKind::Inserted, None, what);
                break;
            }
            if line.starts_with("{\"sha256\":") {
                let read: std::result::Result<Footer, _> = serde_json::from_str(line);
                match read {
                    Ok(read) => footer = Some((number, read, lines.hash_before())),
                    Err(error) => {
                        let what = format!("the last line is not that of a proof: {error}");
                        self.find(Some(number), FindingKind::Forged, None, what);
                        return Ok(());
                    }
                }
                continue;
            }
            let line = line.to_owned();
            self.entry(number, &line);
        }
        match footer {
            Some((number, footer, hash)) => self.proof(number, &header, &footer, &hash),
            None => {
                let what = "the file ends before its proof".to_owned();
                self.find(None, FindingKind::CutOff, None, what);
            }
        }
        if lines.goes_on().map_err(|error| error.to_string())? {
            let what = "there are bytes behind the end of what was written".to_owned();
            self.find(None, FindingKind::Inserted, None, what);
        }
        Ok(())
    }

    fn entry(&mut self, number: u64, line: &str) {
        let entry = match Entry::read(line) {
            Ok(entry) => entry,
            Err((position, what)) => {
                self.find(Some(number), FindingKind::Changed, None, what);
                // Its place stays its own.
                self.leaves.extend(position.map(|position| (position, Hash::default())));
                return;
            }
        };
        let (position, id) = (entry.position, entry.record.id);
        let before = self.leaves.last().map(|(position, _)| *position);
        if before.is_some_and(|before| before >= position) {
            let (kind, what) = match self.checked.positions.contains(position) {
                true => (FindingKind::Inserted, "the event's position is there already"),
                false => {
                    (FindingKind::Reordered, "the event stands behind one of a later position")
                }
            };
            self.find(Some(number), kind, Some((position, id)), what.to_owned());
            return;
        }
        self.checked.positions.add(position, position + 1);
        let at = entry.record.occurred_at;
        self.span = Some(self.span.map_or((at, at), |(from, until)| (from.min(at), until.max(at))));
        let leaf = Entry::true_leaf(id, &entry.salt, entry.record.body());
        if leaf != entry.leaf {
            let what = "the event is not the one whose leaf stands beside it".to_owned();
            self.find(Some(number), FindingKind::Changed, Some((position, id)), what);
        }
        // As it should be: what else was altered is found all the same.
        self.leaves.push((position, entry.leaf));
    }

    fn proof(&mut self, number: u64, header: &Header, footer: &Footer, hash: &str) {
        let line = Some(number);
        let count = self.leaves.len() as u64;
        if count != header.events {
            let kind =
                if count < header.events { FindingKind::Removed } else { FindingKind::Inserted };
            let what = format!(
                "the file says that it has {} events, and {count} are there",
                header.events
            );
            self.find(None, kind, None, what);
        }
        let checkpoint: SignedCheckpoint = match footer.checkpoint.parse() {
            Ok(checkpoint) => checkpoint,
            Err(fault) => {
                return self.find(
                    line,
                    FindingKind::Forged,
                    None,
                    format!("the checkpoint: {fault}"),
                );
            }
        };
        let head = checkpoint.head();
        if head.origin != header.origin {
            let what = format!(
                "the file says that it is of the log {}, and its checkpoint is of {}",
                header.origin, head.origin
            );
            self.find(line, FindingKind::Forged, None, what);
        }
        if let Err(fault) = checkpoint.verify(self.keys) {
            self.find(line, FindingKind::Forged, None, format!("the checkpoint: {fault}"));
        }
        let proof: Option<Vec<Hash>> = footer
            .proof
            .iter()
            .map(|hash| STANDARD.decode(hash).ok().and_then(|hash| hash.try_into().ok()))
            .collect();
        let root = proof.and_then(|proof| root_of_range(&self.leaves, head.size, &proof));
        if root != Some(head.root) {
            let what = match self.checked.findings.is_empty() {
                true => "the events and the proof do not give the root that was signed",
                false => "neither does the whole give the root that was signed",
            };
            return self.find(line, FindingKind::Forged, None, what.to_owned());
        }
        if let Some(what) = self.wrongly_headed(header) {
            self.find(Some(1), FindingKind::Forged, None, what);
        }
        if hash != footer.sha256 {
            let what = "the lines are not those that were written, though their events are";
            self.find(line, FindingKind::Changed, None, what.to_owned());
        }
    }

    /// What the first line says of the events, if that is not so: whoever asks for a time or
    /// a position is not shown a file that says it has nothing of it.
    fn wrongly_headed(&self, header: &Header) -> Option<String> {
        let (Some((first, _)), Some((last, _)), Some((oldest, newest))) =
            (self.leaves.first(), self.leaves.last(), self.span)
        else {
            return Some("the file has no events".to_owned());
        };
        if (header.first, header.last) != (*first, *last) {
            return Some(format!(
                "the file says that it has the positions from {} to {}, and has those from \
                 {first} to {last}",
                header.first, header.last
            ));
        }
        let said = |text: &str, is: Timestamp| text.parse() == Ok(is);
        if !said(&header.oldest, oldest) || !said(&header.newest, newest) {
            return Some(format!(
                "the file says that its events are from {} to {}, and they are from {oldest} to \
                 {newest}",
                header.oldest, header.newest
            ));
        }
        None
    }
}
