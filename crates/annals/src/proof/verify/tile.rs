//! The leaves of one tile: which of two versions is the log's.

use crate::log::{Hash, tile_root};

/// The leaves under one tile of level 0, as the tile has them and as the rows give them.
pub(super) struct Leaves<'a> {
    pub(super) stored: &'a [Hash],
    /// `None` where there is no row, or one that gives none.
    pub(super) computed: &'a [Option<Hash>],
    /// The hash of the whole tile as the level above has it, if it is full.
    pub(super) parent: Option<Hash>,
}

/// What is to be believed of a tile.
pub(super) struct Believed {
    pub(super) hashes: Vec<Hash>,
    pub(super) verdict: Verdict,
}

/// How a tile stands to what is above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It bears it out, or there is nothing above it yet.
    Right,
    /// The rows bear out what is above it, and it does not: it was edited.
    Edited,
    /// Neither it nor the rows do: an event was changed together with its hash, or what
    /// is above it was.
    Torn,
}

impl Leaves<'_> {
    /// Believes the tile, unless what is above it is borne out by the rows alone.
    pub(super) fn believe(&self) -> Believed {
        let own = |index: usize| self.computed.get(index).copied().flatten();
        let stored = |index: usize| self.stored.get(index).copied();
        let width = self.computed.len();
        let fill = |first: &dyn Fn(usize) -> Option<Hash>,
                    second: &dyn Fn(usize) -> Option<Hash>| {
            (0..width)
                .map(|index| first(index).or_else(|| second(index)).unwrap_or_default())
                .collect::<Vec<Hash>>()
        };
        let as_stored = fill(&stored, &own);
        let Some(parent) = self.parent else {
            return Believed { hashes: as_stored, verdict: Verdict::Right };
        };
        if tile_root(&as_stored) == parent {
            return Believed { hashes: as_stored, verdict: Verdict::Right };
        }
        let as_computed = fill(&own, &stored);
        match tile_root(&as_computed) == parent {
            true => Believed { hashes: as_computed, verdict: Verdict::Edited },
            false => Believed { hashes: as_stored, verdict: Verdict::Torn },
        }
    }
}
