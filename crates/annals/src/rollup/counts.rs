//! Counting what fits a filter, out of what is counted already.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use super::cells::{Kind, actor_of};
use super::step::{Step, begin_of_hour};
use super::tally::Tally;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Timestamp;
use crate::query::Filter;
use crate::store::Store;

/// Buckets of a histogram, at most.
pub const MAX_BUCKETS: usize = 10_000;

/// Values of a facet that are listed, at most.
pub const MAX_VALUES: usize = 1_000;

/// Lines of a histogram that are listed, at most.
pub const MAX_LINES: usize = 100;

/// How often it is tried to read counts that change meanwhile.
const TRIES: usize = 8;

/// By what events are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    /// What was done.
    Action,
    /// The type of what it was done to.
    EntityType,
    /// Who did it.
    Actor,
    /// Whose data it is.
    Tenant,
    /// How it went.
    Outcome,
    /// Where it came from.
    Service,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Action, Self::EntityType, Self::Actor, Self::Tenant, Self::Outcome, Self::Service];

    /// Its name: that of the filter, if there is one.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::EntityType => "entity_type",
            Self::Actor => "actor",
            Self::Tenant => "tenant",
            Self::Outcome => "outcome",
            Self::Service => "service",
        }
    }

    /// Which terms of a cell it is; of a tenant, none.
    pub(super) fn kind(self) -> Option<Kind> {
        match self {
            Self::Action => Some(Kind::Action),
            Self::EntityType => Some(Kind::Type),
            Self::Actor => Some(Kind::Actor),
            Self::Tenant => None,
            Self::Outcome => Some(Kind::Outcome),
            Self::Service => Some(Kind::Service),
        }
    }

    /// A term as people name it.
    pub(super) fn value(self, term: &str) -> String {
        match self {
            Self::Actor => match actor_of(term) {
                (Some(kind), id) => format!("{kind}:{}", id.unwrap_or_default()),
                (None, id) => id.unwrap_or_default().to_owned(),
            },
            _ => term.to_owned(),
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Dimension {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|dimension| dimension.as_str() == text);
        named.ok_or_else(|| {
            format!(
                "expected action, entity_type, actor, tenant, outcome or service, found {text:?}"
            )
        })
    }
}

/// Counts, please.
#[derive(Clone, Debug, Default)]
pub struct Counting {
    /// Of which events: by type, action, outcome, actor, tenant and time alone. `since` is
    /// taken as the beginning of its hour, `until` as the end of its.
    pub filter: Filter,
    /// By what.
    pub facets: Vec<Dimension>,
    /// Values of a facet, and lines of a histogram, at most: those with the most events.
    pub limit: usize,
    /// Over time too.
    pub histogram: Option<Over>,
}

/// How to count over time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Over {
    /// How wide a bucket is at least: wider if there were more than [`MAX_BUCKETS`]; if not
    /// set, as narrow as makes a few hundred at the most.
    pub step: Option<Step>,
    /// Each bucket again by this.
    pub by: Option<Dimension>,
}

/// What was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Events.
    pub events: u64,
    /// From when on they occurred, as was counted.
    pub since: Option<Timestamp>,
    /// Before when.
    pub until: Option<Timestamp>,
    /// One for each dimension that was asked for, in that order.
    pub facets: Vec<Facet>,
    /// If it was asked for.
    pub histogram: Option<Histogram>,
    /// Events below this position of the log are counted.
    pub position: u64,
    /// Whether that is all of the log: what comes after is being counted.
    pub complete: bool,
    /// Days that are being counted anew, since events were removed from them: until then
    /// those are counted still.
    pub recounting: usize,
}

/// Counts by one dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facet {
    /// By what.
    pub dimension: Dimension,
    /// Those with the most events, most first.
    pub values: Vec<ValueCount>,
    /// How many values there are in all.
    pub distinct: usize,
}

/// A value and its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueCount {
    /// The value, an actor as TYPE:ID or ID; `None`: events that have none.
    pub value: Option<String>,
    /// How many have it.
    pub events: u64,
}

/// Counts over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// How wide a bucket is.
    pub step: Step,
    /// By what its lines are, with each value's name; those with the most events, most
    /// first.
    pub by: Option<(Dimension, Vec<Option<String>>)>,
    /// Without a gap: from `since`, or the first that has an event, on.
    pub buckets: Vec<Bucket>,
}

/// A step of a histogram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// When it begins.
    pub from: Timestamp,
    /// Its events.
    pub events: u64,
    /// Those of each line.
    pub lines: Vec<u64>,
}

/// Counts what fits a filter.
///
/// Nothing is scanned for it but what was appended within the last seconds.
///
/// # Errors
/// [`ErrorKind::Usage`] for a filter by what is not counted, for a histogram by more than a
/// million values, and for a store without counts; when the store cannot be read.
pub async fn count(store: &dyn Store, counting: &Counting) -> Result<Counts> {
    let rollups = store.rollups()?;
    let scope = Scope::of(&counting.filter)?;
    let mut counting = counting.clone();
    for _ in 0..TRIES {
        let Some(mut tally) = Tally::of_parts(rollups, &scope, &counting).await? else { continue };
        let (position, complete) = tally.tail(store, &scope).await?;
        let stale = rollups.rollup_stale(usize::MAX).await?;
        let recounting = stale.iter().filter(|stale| scope.days.contains(&stale.day)).count();
        let histogram = match tally.histogram(&scope, &counting) {
            Ok(histogram) => histogram,
            Err(wider) => {
                counting.histogram = Some(wider);
                continue;
            }
        };
        return Ok(Counts {
            events: tally.events,
            since: counting.filter.since.map(|_| begin_of_hour(scope.hours.start)),
            until: counting.filter.until.map(|_| begin_of_hour(scope.hours.end)),
            histogram,
            facets: tally.facets(&counting),
            position,
            complete,
            recounting,
        });
    }
    Err(Error::new(ErrorKind::Away, "count events", "the counts change faster than they are read")
        .hint("ask again"))
}

/// What fits, in terms of what is counted.
pub(super) struct Scope {
    pub(super) hours: Range<u32>,
    pub(super) days: Range<u32>,
    pub(super) filter: Filter,
    pub(super) tenants: Option<BTreeSet<String>>,
}

impl Scope {
    fn of(filter: &Filter) -> Result<Self> {
        let asked = [
            ("an entity", filter.entity.is_some()),
            ("a changed field", filter.changed.is_some()),
            ("a request", filter.request.is_some()),
        ];
        if let Some((what, _)) = asked.iter().find(|(_, asked)| *asked) {
            let found = format!("events are not counted by {what}");
            return Err(Error::new(ErrorKind::Usage, "count events", found).hint(
                "leave it out, or page through the events: counts are kept by entity type, \
                 action, outcome, actor, tenant, service and hour",
            ));
        }
        let hour = |time: Timestamp| u32::try_from(time.as_micros() / 3_600_000_000).unwrap_or(0);
        // The hour in which the last moment before it lies.
        let ended =
            |until: Timestamp| u32::try_from((until.as_micros() + 3_599_999_999) / 3_600_000_000);
        let last = hour(Timestamp::MAX) + 1;
        let start = filter.since.map_or(0, hour);
        let end = filter.until.map_or(last, |until| ended(until).unwrap_or(last)).max(start);
        let only = filter.tenant.clone().map(|tenant| BTreeSet::from([tenant]));
        let tenants = match (filter.tenants.only(), only) {
            (Some(may), Some(only)) => Some(may.intersection(&only).cloned().collect()),
            (may, only) => only.or_else(|| may.cloned()),
        };
        let mut filter = filter.clone();
        filter.since = Some(begin_of_hour(start));
        // Beyond the last hour there is nothing.
        filter.until = (end < last).then(|| begin_of_hour(end));
        Ok(Self { hours: start..end, days: start / 24..end.div_ceil(24), filter, tenants })
    }
}
