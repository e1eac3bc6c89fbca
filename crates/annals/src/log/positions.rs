//! Lists of positions, such as those that a prune removes.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::Hash;

/// What is hashed before a list.
const DOMAIN: &[u8] = b"annals/positions/v1\n";

/// Places in a log, as runs of neighbours.
///
/// Encoded, each run is two numbers in LEB128 (the base-128 varints of DWARF 5, section
/// 7.6): how many places lie between it and the end of the run before, and how many it has
/// beyond its first. A list has one encoding, and a hash over it: that of
/// `annals/positions/v1\n` and the encoding (SHA-256).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// By the first of each run, the one after its last. No run touches another.
    runs: BTreeMap<u64, u64>,
    count: u64,
}

impl Positions {
    /// Adds those from `from` to before `until`, as far as they are not listed yet.
    pub fn add(&mut self, from: u64, until: u64) {
        if from >= until {
            return;
        }
        let (mut from, mut until) = (from, until);
        // What it touches becomes part of it.
        while let Some((&first, &end)) = self.runs.range(..=until).next_back() {
            if end < from {
                break;
            }
            self.runs.remove(&first);
            self.count -= end - first;
            (from, until) = (from.min(first), until.max(end));
        }
        self.runs.insert(from, until);
        self.count += until - from;
    }

    /// Adds all of another list.
    pub fn add_all(&mut self, other: &Self) {
        other.runs().for_each(|(from, until)| self.add(from, until));
    }

    /// Takes one out.
    pub fn take_out(&mut self, position: u64) {
        let Some((&first, &end)) = self.runs.range(..=position).next_back() else { return };
        if position >= end {
            return;
        }
        self.runs.remove(&first);
        self.count -= end - first;
        self.add(first, position);
        self.add(position + 1, end);
    }

    /// Takes all of another list out.
    pub fn take_out_all(&mut self, other: &Self) {
        other.runs().flat_map(|(from, until)| from..until).for_each(|one| self.take_out(one));
    }

    /// Whether one is listed.
    #[must_use]
    pub fn contains(&self, position: u64) -> bool {
        self.runs.range(..=position).next_back().is_some_and(|(_, end)| position < *end)
    }

    /// How many lie from `from` to before `until`.
    #[must_use]
    pub fn within(&self, from: u64, until: u64) -> u64 {
        let before = self.runs.range(..from).next_back();
        let inside = self.runs.range(from..until.max(from));
        let overlap =
            |(first, end): (&u64, &u64)| (*end).min(until).saturating_sub((*first).max(from));
        before.into_iter().chain(inside).map(overlap).sum()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The one after the last; 0 if there is none.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.runs.last_key_value().map_or(0, |(_, end)| *end)
    }

    /// The runs: the first of each, and the one after its last, in order.
    pub fn runs(&self) -> impl ExactSizeIterator<Item = (u64, u64)> + '_ {
        self.runs.iter().map(|(from, until)| (*from, *until))
    }

    /// The list as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut encoded = Vec::new();
        let mut last = 0;
        for (from, until) in self.runs() {
            put(&mut encoded, from - last);
            put(&mut encoded, until - from - 1);
            last = until;
        }
        encoded
    }

    /// Reads what [`Positions::encode`] wrote; `None` for what it would not have written.
    #[must_use]
    pub fn decode(mut encoded: &[u8]) -> Option<Self> {
        let mut list = Self::default();
        let mut last = 0_u64;
        while !encoded.is_empty() {
            let (gap, beyond) = (take(&mut encoded)?, take(&mut encoded)?);
            if gap == 0 && last > 0 {
                return None;
            }
            let from = last.checked_add(gap)?;
            let until = from.checked_add(beyond)?.checked_add(1)?;
            list.runs.insert(from, until);
            list.count += until - from;
            last = until;
        }
        Some(list)
    }

    /// The hash of the list.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Sha256::new().chain_update(DOMAIN).chain_update(self.encode()).finalize().into()
    }
}

fn put(encoded: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            return encoded.push(low);
        }
        encoded.push(low | 0x80);
    }
}

/// A number that is written in as few bytes as it needs.
fn take(encoded: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = encoded.split_first()?;
        *encoded = rest;
        let low = u64::from(byte & 0x7f);
        if shift == 63 && low > 1 {
            return None;
        }
        number |= low << shift;
        if byte & 0x80 == 0 {
            return (byte != 0 || shift == 0).then_some(number);
        }
    }
    None
}
