//! Counts under way: what the parts say, and the last seconds beside them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::cells::{KINDS, Kind, Part, Terms, actor_of, actor_term};
use super::counts::{
    Bucket, Counting, Dimension, Facet, Histogram, MAX_BUCKETS, MAX_LINES, MAX_VALUES, Over, Scope,
    ValueCount,
};
use super::step::Step;
use super::{TAIL, listed};
use crate::error::{Error, ErrorKind, Result};
use crate::query::{ActorFilter, Filter};
use crate::store::{Record, RollupPart, Rollups, Store, WhichParts};

/// Values of a histogram by some dimension, in all its buckets, at most.
const MAX_LINE_VALUES: usize = 1_000_000;

/// Buckets of a histogram whose step nobody named, at most.
const FEW_BUCKETS: u32 = 200;

/// Cells that are read in one go: some megabytes.
const CELLS: u64 = 500_000;

/// Counts by one dimension, under way.
#[derive(Debug)]
struct Facing {
    dimension: Dimension,
    terms: Terms,
    /// Events of each term, by its number; of none, at 0.
    events: Vec<u64>,
}

impl Facing {
    fn of(dimension: Dimension) -> Self {
        Self { dimension, terms: Terms::default(), events: vec![0] }
    }

    fn number(&mut self, term: Option<&str>) -> u32 {
        let Some(term) = term else { return 0 };
        let number = self.terms.number(term);
        if self.events.len() <= number as usize {
            self.events.resize(number as usize + 1, 0);
        }
        number
    }

    /// The numbers with the most events, up to `limit`, most of them first, and then by name;
    /// and how many there are that have any.
    fn ranked(&self, limit: usize) -> (Vec<u32>, usize) {
        let numbers = 0..u32::try_from(self.events.len()).unwrap_or(u32::MAX);
        let mut ranked: Vec<u32> = numbers.filter(|at| self.events[*at as usize] > 0).collect();
        let distinct = ranked.len();
        let name = |at: u32| (at > 0).then(|| &self.terms.texts()[at as usize - 1]);
        let order = |one: &u32, other: &u32| {
            let events = |at: &u32| self.events[*at as usize];
            events(other).cmp(&events(one)).then_with(|| name(*one).cmp(&name(*other)))
        };
        // Of a hundred thousand actors ten are listed: the others need no order.
        if limit == 0 {
            ranked.clear();
        } else if limit < distinct {
            ranked.select_nth_unstable_by(limit - 1, order);
            ranked.truncate(limit);
        }
        ranked.sort_unstable_by(order);
        (ranked, distinct)
    }

    fn value(&self, number: u32) -> Option<String> {
        let term = self.terms.texts().get((number as usize).checked_sub(1)?)?;
        Some(self.dimension.value(term))
    }
}

/// The numbers that a part's terms have among all that was counted.
struct Numbers<'a> {
    facing: &'a mut Facing,
    kind: Option<Kind>,
    texts: &'a [&'a str],
    /// Of each of its terms, once it was met.
    known: Vec<Option<u32>>,
}

impl<'a> Numbers<'a> {
    fn of(facing: &'a mut Facing, part: &'a Part<'_>, tenant: Option<&str>) -> Self {
        let kind = facing.dimension.kind();
        let texts = kind.map_or(&[][..], |kind| &part.terms[kind as usize]);
        let mut known = vec![None; texts.len() + 1];
        known[0] = Some(if kind.is_none() { facing.number(tenant) } else { 0 });
        Self { facing, kind, texts, known }
    }

    fn count(&mut self, terms: &[u32; KINDS], events: u64) -> u32 {
        let at = self.kind.map_or(0, |kind| terms[kind as usize] as usize);
        let number = match self.known[at] {
            Some(number) => number,
            None => *self.known[at].insert(self.facing.number(Some(self.texts[at - 1]))),
        };
        self.facing.events[number as usize] += events;
        number
    }
}

/// Which terms of a part fit a filter; `None` where all do.
struct Fitting([Option<Vec<bool>>; KINDS]);

impl Fitting {
    fn of(part: &Part<'_>, filter: &Filter) -> Self {
        let equal = |kind: Kind, wanted: Option<&str>| {
            let wanted = wanted?;
            let fits = part.terms[kind as usize].iter().map(|text| *text == wanted);
            Some([false].into_iter().chain(fits).collect())
        };
        let actor = filter.actor.as_ref().map(|actor| {
            let fits = part.terms[Kind::Actor as usize].iter().map(|term| is_actor(actor, term));
            [false].into_iter().chain(fits).collect()
        });
        Self([
            equal(Kind::Type, filter.entity_type.as_deref()),
            equal(Kind::Action, filter.action.as_deref()),
            equal(Kind::Outcome, filter.outcome.map(crate::Outcome::as_str)),
            None,
            actor,
        ])
    }

    fn fits(&self, terms: &[u32; KINDS]) -> bool {
        let mut all = self.0.iter().zip(terms);
        all.all(|(fits, term)| fits.as_ref().is_none_or(|fits| fits[*term as usize]))
    }
}

fn is_actor(wanted: &ActorFilter, term: &str) -> bool {
    let (kind, id) = actor_of(term);
    id == Some(&*wanted.id) && wanted.kind.as_deref().is_none_or(|wanted| kind == Some(wanted))
}

/// Counts under way.
#[derive(Debug)]
pub(super) struct Tally {
    /// Up to where it is counted.
    pub(super) position: u64,
    pub(super) events: u64,
    faces: Vec<Facing>,
    time: Option<Timing>,
}

/// Counts over time, under way.
#[derive(Debug)]
struct Timing {
    step: Step,
    buckets: BTreeMap<u32, u64>,
    by: Option<Facing>,
    /// Of a bucket and a number of what it is by.
    lines: HashMap<(u32, u32), u64>,
}

impl Tally {
    /// Adds up all parts; `None` if some went meanwhile.
    pub(super) async fn of_parts(
        rollups: &dyn Rollups,
        scope: &Scope,
        counting: &Counting,
    ) -> Result<Option<Self>> {
        let which = WhichParts { days: scope.days.clone(), tenants: scope.tenants.clone() };
        let asked = &counting.filter;
        let Some((head, mut listed)) = listed(rollups, which).await? else { return Ok(None) };
        listed.retain(|part| asked.tenants.has(part.tenant.as_deref()));
        let first =
            listed.first().map_or(scope.hours.start, |part| (part.day * 24).max(scope.hours.start));
        let last = listed.last().map_or(first, |part| (part.day * 24 + 23).min(scope.hours.end));
        let first = if asked.since.is_some() { scope.hours.start } else { first };
        let last = if asked.until.is_some() { scope.hours.end } else { last };
        let mut tally = Self::of(counting, first..last.max(first));
        tally.position = head.position;
        // The newest are the first to become others.
        listed.sort_by_key(|part| Reverse(part.id));
        let mut rest = listed.as_slice();
        while !rest.is_empty() {
            let mut cells = 0;
            let fit = rest.iter().take_while(|part| {
                cells += part.cells;
                cells <= CELLS
            });
            let (now, later) = rest.split_at(fit.count().max(1));
            rest = later;
            let ids = now.iter().map(|part| part.id).collect();
            let bodies: HashMap<_, _> = rollups.rollup_bodies(ids).await?.into_iter().collect();
            for part in now {
                let Some(body) = bodies.get(&part.id) else { return Ok(None) };
                tally.part(part, body, scope)?;
            }
        }
        Ok(Some(tally))
    }

    /// `hours`: those in which the events are, as far as is known.
    fn of(counting: &Counting, hours: Range<u32>) -> Self {
        let number = |step: Step| step.bucket(hours.end) - step.bucket(hours.start);
        let fitting = |least: Step, most: u32| {
            let mut wide = Step::ALL.into_iter().filter(|step| *step >= least);
            wide.find(|step| number(*step) < most).unwrap_or(Step::Year)
        };
        let most = u32::try_from(MAX_BUCKETS).unwrap_or(u32::MAX);
        Self {
            position: 0,
            events: 0,
            faces: counting.facets.iter().copied().map(Facing::of).collect(),
            time: counting.histogram.map(|over| Timing {
                step: match over.step {
                    None => fitting(Step::Hour, FEW_BUCKETS),
                    Some(least) => fitting(least, most),
                },
                buckets: BTreeMap::new(),
                by: over.by.map(Facing::of),
                lines: HashMap::new(),
            }),
        }
    }

    /// Adds what a part says.
    fn part(&mut self, row: &RollupPart, body: &[u8], scope: &Scope) -> Result<()> {
        let part = Part::read(body)?;
        let fitting = Fitting::of(&part, &scope.filter);
        let tenant = row.tenant.as_deref();
        let first = row.day * 24;
        let (mut hours, mut events) = ([0; 24], 0);
        let faces = self.faces.iter_mut().map(|facing| Numbers::of(facing, &part, tenant));
        let mut faces: Vec<Numbers<'_>> = faces.collect();
        let mut lines = self.time.as_mut().and_then(|Timing { step, by, lines, .. }| {
            let buckets: [u32; 24] = std::array::from_fn(|hour| step.bucket(first + hour as u32));
            Some((Numbers::of(by.as_mut()?, &part, tenant), lines, buckets))
        });
        part.each(|cell, count| {
            let hour = usize::from(cell.hour);
            let in_time = scope.hours.contains(&(first + u32::from(cell.hour)));
            if !in_time || !fitting.fits(&cell.terms) {
                return;
            }
            events += count;
            hours[hour] += count;
            for numbers in &mut faces {
                numbers.count(&cell.terms, count);
            }
            if let Some((numbers, lines, buckets)) = &mut lines {
                let number = numbers.count(&cell.terms, count);
                *lines.entry((buckets[hour], number)).or_default() += count;
            }
        })?;
        self.events += events;
        let Some(time) = &mut self.time else { return Ok(()) };
        for (hour, count) in (first..).zip(hours).filter(|(_, count)| *count > 0) {
            *time.buckets.entry(time.step.bucket(hour)).or_default() += count;
        }
        time.check()
    }

    /// Adds an event that is not in any part yet.
    fn event(&mut self, record: &Record) {
        let actor = actor_term(record.actor_type(), record.actor_id());
        let term = |dimension| match dimension {
            Dimension::Action => Some(record.action()),
            Dimension::EntityType => Some(record.entity_type()),
            Dimension::Actor => actor.as_deref(),
            Dimension::Tenant => record.tenant(),
            Dimension::Outcome => Some(record.outcome()),
            Dimension::Service => record.service(),
        };
        self.events += 1;
        for facing in &mut self.faces {
            let number = facing.number(term(facing.dimension));
            facing.events[number as usize] += 1;
        }
        let Some(time) = &mut self.time else { return };
        let hour = record.occurred_at.as_micros() / 3_600_000_000;
        let bucket = time.step.bucket(u32::try_from(hour).unwrap_or(0));
        *time.buckets.entry(bucket).or_default() += 1;
        if let Some(by) = &mut time.by {
            let number = by.number(term(by.dimension));
            by.events[number as usize] += 1;
            *time.lines.entry((bucket, number)).or_default() += 1;
        }
    }

    /// Adds what was appended after what is counted; answers up to where, and whether that
    /// is all.
    pub(super) async fn tail(&mut self, store: &dyn Store, scope: &Scope) -> Result<(u64, bool)> {
        let mut position = self.position;
        let end = position + TAIL;
        loop {
            let room = usize::try_from(end - position).unwrap_or(0);
            let window = store.window(position, room).await?;
            let Some(last) = window.last() else { return Ok((position, true)) };
            position = last.position + 1;
            for stored in window {
                let record = super::record(stored);
                if let Some(record) = record.filter(|record| scope.filter.lets_through(record)) {
                    self.event(&record);
                }
            }
            if position >= end {
                return Ok((position, store.window(position, 1).await?.is_empty()));
            }
        }
    }

    pub(super) fn facets(&self, counting: &Counting) -> Vec<Facet> {
        let facet = |facing: &Facing| {
            let (ranked, distinct) = facing.ranked(counting.limit.min(MAX_VALUES));
            let values = ranked.iter().map(|at| ValueCount {
                value: facing.value(*at),
                events: facing.events[*at as usize],
            });
            Facet { dimension: facing.dimension, values: values.collect(), distinct }
        };
        self.faces.iter().map(facet).collect()
    }

    /// The histogram, or what to ask for instead, since it has too many buckets.
    pub(super) fn histogram(
        &self,
        scope: &Scope,
        counting: &Counting,
    ) -> Result<Option<Histogram>, Over> {
        let Some(time) = &self.time else { return Ok(None) };
        let met = time.buckets.first_key_value().zip(time.buckets.last_key_value());
        let met = met.map(|((first, _), (last, _))| (*first, *last));
        let asked = &counting.filter;
        let first = asked.since.map(|_| time.step.bucket(scope.hours.start));
        let last = asked.until.map(|_| time.step.bucket(scope.hours.end.saturating_sub(1)));
        let first = first.or(met.map(|(first, _)| first));
        let last = last.or(met.map(|(_, last)| last));
        let buckets = match first.zip(last) {
            Some((first, last)) if !scope.hours.is_empty() => first..(last + 1).max(first),
            _ => 0..0,
        };
        if buckets.len() > MAX_BUCKETS {
            let wider = Step::ALL.into_iter().find(|step| *step > time.step);
            return Err(Over { step: wider, by: time.by.as_ref().map(|by| by.dimension) });
        }
        let lines: Vec<u32> =
            time.by.as_ref().map_or_else(Vec::new, |by| by.ranked(counting.limit.min(MAX_LINES)).0);
        let bucket = |at: u32| Bucket {
            from: time.step.begin(at),
            events: time.buckets.get(&at).copied().unwrap_or(0),
            lines: lines
                .iter()
                .map(|line| time.lines.get(&(at, *line)).copied().unwrap_or(0))
                .collect(),
        };
        Ok(Some(Histogram {
            step: time.step,
            by: time
                .by
                .as_ref()
                .map(|by| (by.dimension, lines.iter().map(|line| by.value(*line)).collect())),
            buckets: buckets.map(bucket).collect(),
        }))
    }
}

impl Timing {
    fn check(&self) -> Result<()> {
        if self.lines.len() <= MAX_LINE_VALUES {
            return Ok(());
        }
        let found = format!("by {} there are more than {MAX_LINE_VALUES} values", self.step);
        Err(Error::new(ErrorKind::Usage, "make a histogram", found)
            .hint("take a longer step, a shorter time or a filter"))
    }
}
