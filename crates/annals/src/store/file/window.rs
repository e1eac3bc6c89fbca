//! The events that are known to stand in the file.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::quality::RandomState;

use crate::event::EventId;

/// Events of one generation; at least so many of the last are known.
const GENERATION: usize = 131_072;

/// The last events by id, each with a hash of its bytes. There are two
/// generations: when the young one is full, it becomes the old one, and what was
/// old is forgotten. About 13 MiB when both are full.
#[derive(Debug, Default)]
pub(super) struct Window {
    young: HashMap<EventId, u64, RandomState>,
    old: HashMap<EventId, u64, RandomState>,
    /// Keyed at random, so that nobody can prepare two bodies of one hash.
    hasher: RandomState,
}

/// What is known of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// Nothing; it is known from now on.
    First,
    /// It stands there with the same bytes.
    Again,
    /// Its id stands there with other bytes.
    Conflict,
}

impl Window {
    /// Looks an event up, and remembers it.
    pub(super) fn meet(&mut self, id: EventId, body: &[u8]) -> Met {
        let hash = self.hasher.hash_one(body);
        match self.young.get(&id).or_else(|| self.old.get(&id)) {
            Some(known) if *known == hash => return Met::Again,
            Some(_) => return Met::Conflict,
            None => {}
        }
        if self.young.len() == GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, hash);
        Met::First
    }

    /// Forgets an event that was not written after all.
    pub(super) fn forget(&mut self, id: EventId) {
        self.young.remove(&id);
        self.old.remove(&id);
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;

    #[test]
    fn knows_a_generation_and_forgets_what_is_older_than_two() {
        let mut window = Window::default();
        let ids: Vec<EventId> = (0..=2 * GENERATION).map(|_| EventId::at(Timestamp::MIN)).collect();
        for id in &ids {
            assert_eq!(window.meet(*id, b"body"), Met::First);
        }
        assert!(window.young.len() + window.old.len() <= 2 * GENERATION);
        assert_eq!(window.meet(ids[2 * GENERATION], b"body"), Met::Again);
        assert_eq!(window.meet(ids[GENERATION + 1], b"other"), Met::Conflict);
        assert_eq!(window.meet(ids[0], b"body"), Met::First);
    }
}
