//! A batch on its way into a store whose server finds the duplicates: what is known of
//! each of its records, and what is left to be stored.
//!
//! A batch is first taken to be new. When the server finds an id that is stored
//! already, the store looks its ids up, tells the batch, and begins again with what is
//! left of it.

use std::collections::{HashMap, HashSet};

use super::{Along, Appended, Record};
use crate::error::{Error, ErrorKind};
use crate::event::EventId;
use crate::log::{self, Hash, SALT_BYTES};

/// Leaves that are hashed before others on the thread get their turn.
const HASHED: usize = 32;

/// One batch under way.
pub(super) struct Batch<'a> {
    records: &'a [Record],
    salts: Vec<[u8; SALT_BYTES]>,
    /// What is known of each record.
    answers: Vec<Option<Appended>>,
    /// Records that are to be stored, in the order of their ids.
    rows: Vec<Row>,
    /// Records whose id came before in the batch, and where.
    twins: Vec<(usize, usize)>,
    /// Bodies that are stored under ids of the batch, as far as they were looked up.
    stored: HashMap<EventId, Vec<u8>>,
}

/// A record that is to be stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Its place in the batch.
    index: usize,
    /// Its place among those that are stored, in the order of the batch.
    pub(super) rank: usize,
}

impl<'a> Batch<'a> {
    pub(super) fn of(records: &'a [Record]) -> Result<Self, Error> {
        let mut salts = vec![[0; SALT_BYTES]; records.len()];
        getrandom::fill(salts.as_flattened_mut()).map_err(|error| {
            let doing = format!("append {} events", records.len());
            Error::new(ErrorKind::Away, doing, format!("no random numbers: {error}"))
        })?;
        let mut order: Vec<usize> = (0..records.len()).collect();
        order.sort_by_key(|index| records[*index].id);
        let mut twins = Vec::new();
        order.dedup_by(|later, first| {
            let twin = records[*later].id == records[*first].id;
            if twin {
                twins.push((*later, *first));
            }
            twin
        });
        let answers = vec![None; records.len()];
        Ok(Self { records, salts, answers, rows: ranked(order), twins, stored: HashMap::new() })
    }

    /// What is to be stored, in the order of the ids.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// A record, and the salt of its leaf.
    pub(super) fn record(&self, row: Row) -> (&'a Record, &[u8; SALT_BYTES]) {
        (&self.records[row.index], &self.salts[row.index])
    }

    /// The ids of what is to be stored, in order.
    pub(super) fn ids(&self) -> impl Iterator<Item = EventId> {
        self.rows.iter().map(|row| self.records[row.index].id)
    }

    /// Bytes of what is to be stored.
    pub(super) fn bytes(&self) -> usize {
        self.rows.iter().map(|row| self.records[row.index].body().len()).sum()
    }

    /// The leaves of what is to be stored, by rank.
    pub(super) async fn leaves(&self) -> Vec<Hash> {
        let mut leaves = vec![Hash::default(); self.rows.len()];
        for some in self.rows.chunks(HASHED) {
            for row in some {
                let (record, salt) = self.record(*row);
                let entry = log::entry(record.id, &log::commitment(salt, record.body()));
                leaves[row.rank] = log::leaf_hash(&entry);
            }
            tokio::task::yield_now().await;
        }
        leaves
    }

    /// Takes out what was found to be stored, and what was pruned.
    pub(super) fn look_up(&mut self, stored: HashMap<EventId, Vec<u8>>, pruned: &HashSet<EventId>) {
        self.stored.extend(stored);
        for row in std::mem::take(&mut self.rows) {
            let record = &self.records[row.index];
            let answer = match self.stored.get(&record.id) {
                Some(body) => Some(known(record, body)),
                None if pruned.contains(&record.id) => {
                    let why = "an event with this id was stored, and removed by retention";
                    Some(Appended::Refused(format!("pruned: {why}")))
                }
                None => None,
            };
            if answer.is_none() {
                self.rows.push(row);
            }
            self.answers[row.index] = answer;
        }
        self.rows = ranked(self.rows.iter().map(|row| row.index).collect());
    }

    /// What is left was stored, from this position on.
    pub(super) fn stored_from(&mut self, first: u64) {
        for row in &self.rows {
            self.answers[row.index] = Some(Appended::Inserted(first + row.rank as u64));
        }
    }

    /// The receipts of what is stored already or will be with this transaction, in
    /// order of their numbers.
    pub(super) fn receipts_of_stored(&self, along: &Along) -> Vec<(i64, i64)> {
        let new = self.rows.iter().map(|row| row.index);
        let known = (0..self.records.len())
            .filter(|index| self.answers[*index] == Some(Appended::Duplicate));
        let twins = self.twins.iter().filter(|(twin, first)| {
            let same = |body: &[u8]| self.records[*twin].body() == body;
            match self.stored.get(&self.records[*twin].id) {
                Some(body) => same(body),
                None => self.answers[*first].is_none() && same(self.records[*first].body()),
            }
        });
        let all = new.chain(known).chain(twins.map(|(twin, _)| *twin));
        let mut receipts: Vec<_> = all.map(|index| along.receipts[index]).collect();
        receipts.sort_unstable();
        receipts
    }

    /// What became of each record, once none is left to be stored.
    pub(super) fn answers(mut self) -> Vec<Appended> {
        for (twin, first) in std::mem::take(&mut self.twins) {
            let record = &self.records[twin];
            self.answers[twin] = match (&self.answers[first], self.stored.get(&record.id)) {
                (_, Some(body)) => Some(known(record, body)),
                (Some(Appended::Inserted(_)), _) => Some(known(record, self.records[first].body())),
                (as_first, _) => as_first.clone(),
            };
        }
        let untold = || Appended::Refused("the store gave no answer".to_owned());
        self.answers.into_iter().map(|answer| answer.unwrap_or_else(untold)).collect()
    }
}

/// Records with their ranks: their places in the batch, among each other.
fn ranked(order: Vec<usize>) -> Vec<Row> {
    let mut by_place: Vec<usize> = (0..order.len()).collect();
    by_place.sort_unstable_by_key(|at| order[*at]);
    let mut rows: Vec<Row> = order.into_iter().map(|index| Row { index, rank: 0 }).collect();
    for (rank, at) in by_place.into_iter().enumerate() {
        rows[at].rank = rank;
    }
    rows
}

/// What to answer for an id that is stored with these bytes.
fn known(record: &Record, stored: &[u8]) -> Appended {
    match record.body() == stored {
        true => Appended::Duplicate,
        false => {
            Appended::Refused("conflict: the same id is stored with different bytes".to_owned())
        }
    }
}
