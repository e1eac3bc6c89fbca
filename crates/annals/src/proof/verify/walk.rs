//! The walk through a log, a stretch at a time.

use std::collections::HashMap;

use super::Report;
use super::finding::{Finding, FindingKind, Findings};
use super::tile::{Leaves, Verdict};
use crate::event::EventId;
use crate::log::{self, Edge, Hash, Positions, SALT_BYTES, TILE_WIDTH, Tile, Tiles};
use crate::store::{Columns, Held, LedgerRow, Record};

/// Rows that stand where they do not belong, and places without the row that belongs
/// there, at most; beyond that, nobody needs to know which is which.
const REMEMBERED: usize = 100_000;

/// A stretch of the log: its rows, and all tiles over them.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) from: u64,
    pub(super) until: u64,
    pub(super) rows: Vec<LedgerRow>,
    pub(super) tiles: Tiles,
}

/// A size and the root that was signed for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) size: u64,
    pub(super) root: Hash,
    /// By the store, not by whoever verifies it.
    pub(super) kept: bool,
}

/// A row that stands where its leaf does not.
#[derive(Debug)]
struct Displaced {
    position: u64,
    id: Option<EventId>,
    leaf: Option<Hash>,
    /// The first row of its place; others were added.
    first: bool,
}

/// What was removed alone, and where, or went with a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    Tombstone,
    Row,
}

/// What the first row of a place gives.
#[derive(Clone, Copy, Debug, Default)]
struct Given {
    there: bool,
    id: Option<EventId>,
    leaf: Option<Hash>,
}

/// A walk under way.
#[derive(Debug)]
pub(super) struct Walk {
    size: u64,
    from: u64,
    edge: Edge,
    heads: std::iter::Peekable<std::vec::IntoIter<Head>>,
    /// The last head that was right, and whether one was wrong since.
    right: u64,
    wrong: bool,
    signed: Option<u64>,
    checkpoints: u64,
    events: u64,
    /// Where events may be missing, and how many are.
    covered: Positions,
    removed: u64,
    /// Tiles of level 0 that what is above them does not bear out.
    torn: Vec<u64>,
    displaced: Vec<Displaced>,
    /// Places whose own row is not there, by the leaf that belongs there.
    vacant: HashMap<Hash, u64>,
    /// Runs of places without an event: the first, the one after the last, and what is
    /// left of them.
    gone: Vec<(u64, u64, Gone)>,
    findings: Findings,
}

impl Walk {
    /// A walk through a log of that size, from an edge on; `covered` are the places of which the trail tells
    /// that their events were removed.
    pub(super) fn new(
        size: u64,
        edge: Edge,
        heads: Vec<Head>,
        covered: Positions,
        findings: Findings,
    ) -> Self {
        let from = edge.size();
        let mut walk = Self {
            size,
            from,
            edge,
            heads: heads.into_iter().peekable(),
            right: from,
            wrong: false,
            signed: None,
            checkpoints: 0,
            events: 0,
            covered,
            removed: 0,
            torn: Vec::new(),
            displaced: Vec::new(),
            vacant: HashMap::new(),
            gone: Vec::new(),
            findings,
        };
        walk.compare_heads();
        walk
    }

    /// The largest size that was signed up to which nothing is wrong.
    pub(super) fn right(&self) -> Option<u64> {
        let right = self.findings.listed.is_empty()
            && self.displaced.is_empty()
            && self.vacant.is_empty()
            && self.gone.is_empty()
            && self.torn.is_empty();
        self.signed.filter(|_| right)
    }

    /// Checks a stretch, which begins where the last one ended.
    pub(super) fn check(&mut self, stretch: &Stretch) {
        let width = TILE_WIDTH as u64;
        let given = self.take(stretch);
        for (index, given) in (stretch.from / width..).zip(given.chunks(TILE_WIDTH)) {
            let computed: Vec<Option<Hash>> = given.iter().map(|given| given.leaf).collect();
            let stored = stretch.tiles.get((0, index));
            let stored = &stored[..stored.len().min(computed.len())];
            let parents = stretch.tiles.get((1, index / width));
            let at = usize::try_from(index % width).unwrap_or(0);
            let parent = parents.get(at).copied().filter(|_| computed.len() == TILE_WIDTH);
            let believed = Leaves { stored, computed: &computed, parent }.believe();
            if believed.verdict == Verdict::Edited || stored.len() < computed.len() {
                let what =
                    format!("tile {index} of level 0 does not have the hashes of its events");
                self.forged(index * width, what);
            }
            let right = self.compare(index * width, given, &believed.hashes);
            if believed.verdict == Verdict::Torn {
                self.torn.push(index);
                if right {
                    let last = (index + 1) * width - 1;
                    self.findings.add(Finding {
                        kind: FindingKind::Changed,
                        position: Some(index * width),
                        event: None,
                        what: format!(
                            "one or more of the events from here to position {last} were changed together \
                             with their hashes"
                        ),
                    });
                }
            }
            self.append(&believed.hashes, &stretch.tiles);
        }
    }

    /// Takes the rows of a stretch, by place; notes what is wrong with each alone.
    fn take(&mut self, stretch: &Stretch) -> Vec<Given> {
        let count = usize::try_from(stretch.until - stretch.from).unwrap_or(0);
        let mut given = vec![Given::default(); count];
        for row in &stretch.rows {
            let at = row.position.checked_sub(stretch.from).and_then(|at| usize::try_from(at).ok());
            let Some(place) = at.and_then(|at| given.get_mut(at)) else { continue };
            let (id, leaf) = (EventId::from_bytes(row.id), leaf(row));
            if place.there {
                self.displace(Displaced { position: row.position, id, leaf, first: false });
                continue;
            }
            *place = Given { there: true, id, leaf };
            match &row.held {
                Held::Tombstone(_) if self.covered.contains(row.position) => self.removed += 1,
                Held::Tombstone(_) => self.go(row.position, Gone::Tombstone),
                Held::Event { body, columns, .. } => {
                    self.events += 1;
                    if let Some(what) = odd_column(body, columns) {
                        let (kind, position) = (FindingKind::Changed, Some(row.position));
                        self.findings.add(Finding { kind, position, event: id, what });
                    }
                }
            }
        }
        given
    }

    /// Compares what rows give with the leaves of the log from a position on; answers
    /// whether all are the same.
    fn compare(&mut self, from: u64, given: &[Given], leaves: &[Hash]) -> bool {
        let mut same = true;
        for (position, (given, leaf)) in (from..).zip(given.iter().zip(leaves)) {
            if given.leaf.as_ref() == Some(leaf) {
                continue;
            }
            same = false;
            if !given.there && self.covered.contains(position) {
                self.removed += 1;
                continue;
            }
            if self.vacant.len() < REMEMBERED {
                self.vacant.insert(*leaf, position);
            }
            match given.there {
                true => {
                    let Given { id, leaf, .. } = *given;
                    self.displace(Displaced { position, id, leaf, first: true });
                }
                false => self.go(position, Gone::Row),
            }
        }
        same
    }

    fn displace(&mut self, row: Displaced) {
        match self.displaced.len() < REMEMBERED {
            true => self.displaced.push(row),
            false => self.findings.further += 1,
        }
    }

    fn go(&mut self, position: u64, gone: Gone) {
        match self.gone.last_mut() {
            Some((_, end, kind)) if *end == position && *kind == gone => *end += 1,
            _ => self.gone.push((position, position + 1, gone)),
        }
    }

    /// Grows the log by these leaves, and compares the tiles above them and the signed
    /// roots on the way.
    fn append(&mut self, leaves: &[Hash], tiles: &Tiles) {
        let mut rest = leaves;
        while !rest.is_empty() {
            let until = self.heads.peek().map_or(u64::MAX, |head| head.size);
            let count = usize::try_from(until - self.edge.size()).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(count.min(rest.len()));
            let mut odd = Vec::new();
            let torn = &self.torn;
            let compare = |tile: Tile<'_>| {
                let stored = tiles.get((tile.level, tile.index));
                // What a torn tile leads to is wrong for that reason.
                let told = |at: usize| {
                    let (hash, shift) = ((tile.index << 8) + at as u64, 8 * u32::from(tile.level));
                    torn.iter().any(|torn| torn >> (shift - 8) == hash)
                };
                let wrong = |at: usize| stored.get(at) != Some(&tile.hashes[at]) && !told(at);
                if tile.level > 0 && (0..tile.hashes.len()).any(wrong) {
                    odd.push((tile.level, tile.index));
                }
                Ok::<_, std::convert::Infallible>(())
            };
            let Ok(()) = self.edge.append(now, compare);
            for (level, index) in odd {
                let what = format!(
                    "tile {index} of level {level} does not have the hashes of those below it"
                );
                self.forged(index << (8 * (u32::from(level) + 1)).min(63), what);
            }
            rest = later;
            self.compare_heads();
        }
    }

    /// Compares the log's root with those that were signed for its present size.
    fn compare_heads(&mut self) {
        while let Some(head) = self.heads.next_if(|head| head.size == self.edge.size()) {
            self.checkpoints += 1;
            if self.edge.root() == head.root {
                self.right = head.size;
                self.signed = self.signed.max(Some(head.size));
                continue;
            }
            // What comes after it is wrong for the same reason.
            if !std::mem::replace(&mut self.wrong, true) {
                let (right, size) = (self.right, head.size);
                let whose =
                    if head.kept { "its own checkpoint" } else { "the checkpoint that was given" };
                let what = format!(
                    "the events from {right} to {size} are not those that were signed: they do not lead to \
                     the root of {whose} of size {size}"
                );
                self.forged(right, what);
            }
        }
    }

    fn forged(&mut self, position: u64, what: String) {
        let known = |known: &Finding| known.kind == FindingKind::Forged && known.what == what;
        if !self.findings.listed.iter().rev().take(64).any(known) {
            let (kind, position) = (FindingKind::Forged, Some(position));
            self.findings.add(Finding { kind, position, event: None, what });
        }
    }

    /// Rows beyond the end of the log, or that have no place in it.
    pub(super) fn strays(&mut self, rows: &[LedgerRow]) {
        for row in rows {
            let (id, leaf) = (EventId::from_bytes(row.id), leaf(row));
            self.displace(Displaced { position: row.position, id, leaf, first: false });
        }
    }

    /// Says what became of each row that is not where it belongs, and of each place whose
    /// row is not there; `covered` are those of which the trail tells by now.
    pub(super) fn report(mut self, root: Hash, covered: &Positions) -> Report {
        let mut changed = std::collections::HashSet::new();
        for row in std::mem::take(&mut self.displaced) {
            let belongs = row.leaf.and_then(|leaf| self.vacant.remove(&leaf));
            let (position, event) = (Some(row.position), row.id);
            let (kind, what) = match belongs {
                // It is the other one that does not belong there.
                Some(place) if place == row.position => continue,
                Some(place) => (
                    FindingKind::Reordered,
                    format!("the event of position {place} stands at {}", row.position),
                ),
                None if row.first => {
                    changed.insert(row.position);
                    (FindingKind::Changed, "the event is not the one that was appended".to_owned())
                }
                None => (FindingKind::Inserted, "the event was never appended".to_owned()),
            };
            self.findings.add(Finding { kind, position, event, what });
        }
        // Whose own row was changed is known; whose row is elsewhere, was taken out above.
        let vacant: std::collections::HashSet<u64> = self.vacant.values().copied().collect();
        // Of more than are remembered nobody can say that another row has their leaf.
        let all = self.vacant.len() < REMEMBERED;
        let mut removed = self.removed;
        let gone = std::mem::take(&mut self.gone);
        for (first, end, gone) in &gone {
            for position in *first..*end {
                if covered.contains(position) {
                    removed += 1;
                } else if *gone == Gone::Tombstone || !all || vacant.contains(&position) {
                    let what = "the event is missing, and nothing in the log tells of its removal";
                    self.missing(position, what);
                }
            }
        }
        for position in vacant {
            let told = |(first, end, _): &(u64, u64, Gone)| (*first..*end).contains(&position);
            if !changed.contains(&position) && !gone.iter().any(told) {
                self.missing(position, "the event is missing, and another stands in its place");
            }
        }
        let mut findings = self.findings.listed;
        findings.sort_by_key(|finding| (finding.position, finding.kind));
        Report {
            witnessed: None,
            size: self.size,
            from: self.from,
            root,
            events: self.events,
            removed,
            checkpoints: self.checkpoints,
            signed: self.signed,
            findings,
            further: self.findings.further,
        }
    }

    /// Adds what was found beside the walk.
    pub(super) fn add(&mut self, findings: Vec<Finding>) {
        findings.into_iter().for_each(|finding| self.findings.add(finding));
    }

    fn missing(&mut self, position: u64, what: &str) {
        let (kind, position) = (FindingKind::Removed, Some(position));
        self.findings.add(Finding { kind, position, event: None, what: what.to_owned() });
    }
}

/// The leaf that a row gives; none if it cannot be an event's.
fn leaf(row: &LedgerRow) -> Option<Hash> {
    let id = EventId::from_bytes(row.id)?;
    let commitment = match &row.held {
        Held::Event { salt, body, .. } => {
            let salt: &[u8; SALT_BYTES] = salt.as_slice().try_into().ok()?;
            log::commitment(salt, body)
        }
        Held::Tombstone(commitment) => commitment.as_slice().try_into().ok()?,
    };
    Some(log::leaf_hash(&log::entry(id, &commitment)))
}

/// A column that does not say what the event says.
fn odd_column(body: &[u8], columns: &Columns) -> Option<String> {
    let record = match Record::decode(body.to_vec()) {
        Ok(record) => record,
        Err(error) => return Some(format!("its bytes are no event: {error}")),
    };
    if record.occurred_at.as_micros() != columns.occurred_at {
        let says = record.occurred_at;
        return Some(format!("the column occurred_at says another time than the event, {says}"));
    }
    let texts = [
        Some(record.action()),
        Some(record.outcome()),
        Some(record.entity_type()),
        record.entity_id(),
        record.actor_type(),
        record.actor_id(),
        record.tenant(),
        record.request_id(),
    ];
    let names = &Columns::NAMES[1..];
    let mut pairs = names.iter().zip(texts.iter().zip(&columns.texts));
    pairs.find_map(|(name, (event, column))| {
        let show =
            |text: Option<&str>| text.map_or("nothing".to_owned(), |text| format!("{text:?}"));
        (*event != column.as_deref()).then(|| {
            let (column, event) = (show(column.as_deref()), show(*event));
            format!("the column {name} says {column}, and the event {event}")
        })
    })
}
