//! What parts days have, as far as it is remembered.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::store::RollupPart;

/// Days that are remembered.
const REMEMBERED: usize = 512;

/// Which part, and how much there is to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outlined {
    pub(super) id: u64,
    pub(super) cells: u64,
}

/// The parts of days that were met, the largest of each tenant first.
#[derive(Debug, Default)]
pub(super) struct Outline(BTreeMap<u32, Tenants>);

type Tenants = BTreeMap<Option<String>, Vec<Outlined>>;

impl Outline {
    /// Which of these days are not known; others are forgotten if there are too many.
    pub(super) fn unknown(&mut self, days: BTreeSet<u32>) -> BTreeSet<u32> {
        if self.0.len() + days.len() > REMEMBERED {
            self.forget();
        }
        days.into_iter().filter(|day| !self.0.contains_key(day)).collect()
    }

    /// Learns all parts of these days; others are passed over.
    pub(super) fn learn(&mut self, days: &BTreeSet<u32>, parts: Vec<RollupPart>) {
        for day in days {
            self.0.entry(*day).or_default();
        }
        for part in parts.into_iter().filter(|part| days.contains(&part.day)) {
            let tenants = self.0.entry(part.day).or_default();
            insert(tenants.entry(part.tenant).or_default(), part.id, part.cells);
        }
    }

    /// The parts of a day and a tenant.
    pub(super) fn of(&self, day: u32, tenant: &Option<String>) -> &[Outlined] {
        self.0.get(&day).and_then(|tenants| tenants.get(tenant)).map_or(&[], Vec::as_slice)
    }

    /// A new part in the place of others of its day and tenant.
    pub(super) fn replace(&mut self, part: &RollupPart, gone: &BTreeSet<u64>) {
        if let Some(tenants) = self.0.get_mut(&part.day) {
            let parts = tenants.entry(part.tenant.clone()).or_default();
            parts.retain(|part| !gone.contains(&part.id));
            insert(parts, part.id, part.cells);
        }
    }

    /// Forgets all.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// Forgets a day.
    pub(super) fn forget_day(&mut self, day: u32) {
        self.0.remove(&day);
    }
}

fn insert(parts: &mut Vec<Outlined>, id: u64, cells: u64) {
    let at = parts.partition_point(|part| Reverse(part.cells) <= Reverse(cells));
    parts.insert(at, Outlined { id, cells });
}
