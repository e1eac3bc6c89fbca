//! Rollups: exact counts of events by hour, so that nothing counts by scanning.
//!
//! Events are counted by hour, tenant, entity type, action, outcome, service and actor, all
//! at once: any of them may be asked for under any filter by the others ([`count`]). A
//! [`Roller`] counts behind the appends, and the position up to which it did moves in the
//! transaction that writes the counts: a process that is killed anywhere neither forgets nor
//! counts twice. Who asks gets what is counted and, of the last seconds, the events
//! themselves.
//!
//! Counts are kept by day and tenant in parts that add up. A few seconds make a small part;
//! parts become one as soon as they are of like size, so that a day has few, and what is
//! counted once is written again as often as a logarithm of the day's events.
//!
//! What is pruned is not counted any more: a store marks the days from which it removes, and
//! these are counted anew from what is left. It is that, and not what was removed, which is
//! looked at; a rule of retention that runs every night touches one day or two.
//!
//! What it is not: evidence. The log proves what is there; counts only tell of it.

mod cells;
mod counts;
mod outline;
mod step;
mod tally;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::event::Timestamp;
use crate::query::{Filter, Query};
use crate::store::{
    Record, Rolled, RollupHead, RollupPart, Rollups, StaleDay, Store, Stored, WhichParts, day_of,
};
use cells::Cells;
use outline::Outline;

pub use counts::{
    Bucket, Counting, Counts, Dimension, Facet, Histogram, MAX_BUCKETS, MAX_LINES, MAX_VALUES,
    Over, ValueCount, count,
};
pub use step::Step;

/// Events that whoever asks counts from the log itself, at most.
const TAIL: u64 = 10_000;

/// Events that are counted in one go, at most, and those of one reading.
const GO: u64 = 50_000;
const WINDOW: usize = 5_000;

/// Days and tenants whose counts change in one go, at most, save for the last reading.
const GROUPS: usize = 4_096;

/// How often is looked whether there is something to count, and how long a few events wait
/// for more.
const LOOK: Duration = Duration::from_secs(1);
const LINGER: Duration = Duration::from_secs(5);

/// So many events do not wait.
const MANY: u64 = 2_000;

/// How often a count is tried that met another one.
const TRIES: usize = 16;

type Group = (u32, Option<String>);

/// Counts the events of a store, behind its appends.
///
/// Any number may count one store: what one of them has counted, the others leave.
#[derive(Debug)]
pub struct Roller {
    store: Arc<dyn Store>,
    /// The counts as this roller left them.
    head: RollupHead,
    outline: Outline,
}

impl Roller {
    /// A roller for this store.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if this kind of store keeps no counts.
    pub fn new(store: Arc<dyn Store>) -> Result<Self> {
        store.rollups()?;
        Ok(Self { store, head: RollupHead::default(), outline: Outline::default() })
    }

    /// Counts until `over`, and then what is there. A store that is away is asked again.
    pub async fn run(mut self, over: impl Future<Output = ()>) {
        tokio::pin!(over);
        let mut looked = Instant::now();
        let mut away = false;
        loop {
            let linger = looked.elapsed() < LINGER;
            let rolled = if linger { self.roll_many().await } else { self.roll().await };
            let mut pause = LOOK;
            match rolled {
                // There is more; whoever reads and writes gets a turn.
                Ok(true) => pause = Duration::ZERO,
                Ok(false) if !linger => looked = Instant::now(),
                Ok(false) => away = false,
                Err(error) => {
                    if !away {
                        tracing::warn!("cannot count events, trying again: {error}");
                    }
                    away = true;
                }
            }
            tokio::select! {
                () = &mut over => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        let begun = Instant::now();
        while begun.elapsed() < LINGER && matches!(self.roll().await, Ok(true)) {}
    }

    /// Counts if there is a lot to count.
    async fn roll_many(&mut self) -> Result<bool> {
        let head = head(self.store.rollups()?).await?;
        let there = self.store.window(head.position + MANY, 1).await?;
        let stale = !self.store.rollups()?.rollup_stale(1).await?.is_empty();
        if there.is_empty() && !stale { Ok(false) } else { self.roll().await }
    }

    /// Counts what is not counted yet, up to a bound; answers whether it found anything.
    ///
    /// # Errors
    /// When the store cannot be read or written, or others count all the time.
    pub async fn roll(&mut self) -> Result<bool> {
        for _ in 0..TRIES {
            let head = head(self.store.rollups()?).await?;
            if head != self.head {
                self.outline.forget();
            }
            let stale = self.store.rollups()?.rollup_stale(1).await?;
            let rolled = match stale.first() {
                Some(stale) => self.recount(head, *stale).await?,
                None => match self.tally(head).await? {
                    (_, groups) if groups.is_empty() => return Ok(false),
                    (position, groups) => self.fold(head, position, groups).await?,
                },
            };
            if let Some(rolled) = rolled.map(Arc::new)
                && self.store.rollups()?.rollup_write(Arc::clone(&rolled)).await?
            {
                self.remember(&rolled);
                return Ok(true);
            }
            self.outline.forget();
        }
        Err(Error::new(ErrorKind::Away, "count events", "others count the same all the time"))
    }

    /// Counts the events from where the counts end; answers where these end.
    async fn tally(&self, head: RollupHead) -> Result<(u64, BTreeMap<Group, Cells>)> {
        let mut groups: BTreeMap<Group, Cells> = BTreeMap::new();
        let mut position = head.position;
        while position < head.position + GO && groups.len() < GROUPS {
            let window = self.store.window(position, WINDOW).await?;
            let Some(last) = window.last() else { break };
            position = last.position + 1;
            for stored in window {
                let Some(record) = record(stored) else { continue };
                let group = (day_of(record.occurred_at), record.tenant().map(str::to_owned));
                groups.entry(group).or_default().count(&record);
            }
        }
        Ok((position, groups))
    }

    /// Makes parts of what was counted, and one of it and such as are there and not much
    /// larger; `None` if those went meanwhile.
    async fn fold(
        &mut self,
        before: RollupHead,
        position: u64,
        groups: BTreeMap<Group, Cells>,
    ) -> Result<Option<Rolled>> {
        let unknown = self.outline.unknown(groups.keys().map(|(day, _)| *day).collect());
        if let Some((first, last)) = unknown.first().zip(unknown.last()) {
            let which = WhichParts { days: *first..*last + 1, tenants: None };
            let Some((found, parts)) = listed(self.store.rollups()?, which).await? else {
                return Ok(None);
            };
            if found != before {
                return Ok(None);
            }
            self.outline.learn(&unknown, parts);
        }
        let mut rolled = Rolled { before, position, ..Rolled::default() };
        for ((day, tenant), mut cells) in groups {
            for part in self.outline.of(day, &tenant).iter().rev() {
                if part.cells >= 2 * cells.len() {
                    break;
                }
                let body = self.store.rollups()?.rollup_bodies(vec![part.id]).await?;
                let [(_, body)] = body.as_slice() else { return Ok(None) };
                cells.add(body)?;
                rolled.gone.push(part.id);
            }
            push(&mut rolled, day, tenant, &cells);
        }
        Ok(Some(rolled))
    }

    /// Counts a day anew, from what is there of it below where the counts end.
    async fn recount(&mut self, before: RollupHead, stale: StaleDay) -> Result<Option<Rolled>> {
        let time = |day: u32| Timestamp::from_micros(i64::from(day) * 86_400_000_000);
        let filter =
            Filter { since: time(stale.day), until: time(stale.day + 1), ..Filter::default() };
        let mut groups: BTreeMap<Option<String>, Cells> = BTreeMap::new();
        let mut query = Query::newest(filter).limit(WINDOW).oldest_first();
        loop {
            let page = self.store.query(query.clone()).await?;
            for stored in page.events {
                let counted = Some(stored).filter(|stored| stored.position < before.position);
                if let Some(record) = counted.and_then(record) {
                    groups.entry(record.tenant().map(str::to_owned)).or_default().count(&record);
                }
            }
            match page.next {
                Some(next) => query = query.after(Some(next)),
                None => break,
            }
        }
        let which = WhichParts { days: stale.day..stale.day + 1, tenants: None };
        let there = match listed(self.store.rollups()?, which).await? {
            Some((found, there)) if found == before => there,
            _ => return Ok(None),
        };
        let gone = there.iter().map(|part| part.id).collect();
        let position = before.position;
        let mut rolled =
            Rolled { before, position, gone, recounted: Some(stale), ..Rolled::default() };
        for (tenant, cells) in groups {
            push(&mut rolled, stale.day, tenant, &cells);
        }
        Ok(Some(rolled))
    }

    /// Remembers what was written.
    fn remember(&mut self, rolled: &Rolled) {
        self.head = rolled.after();
        let gone = rolled.gone.iter().copied().collect();
        match rolled.recounted {
            Some(StaleDay { day, .. }) => self.outline.forget_day(day),
            None => rolled.parts.iter().for_each(|part| self.outline.replace(part, &gone)),
        }
    }
}

/// Adds a part.
fn push(rolled: &mut Rolled, day: u32, tenant: Option<String>, cells: &Cells) {
    let id = rolled.before.next_part + rolled.parts.len() as u64;
    let body = cells.encode();
    rolled.parts.push(RollupPart { id, day, tenant, cells: cells.len(), body });
}

/// How far the counts go.
async fn head(rollups: &dyn Rollups) -> Result<RollupHead> {
    Ok(rollups.rollup_parts(WhichParts::default(), None, 0).await?.0)
}

/// All these parts, without their bodies, and how far the counts went then; `None` if they
/// changed meanwhile.
async fn listed(
    rollups: &dyn Rollups,
    which: WhichParts,
) -> Result<Option<(RollupHead, Vec<RollupPart>)>> {
    const PARTS: usize = 10_000;
    let (head, mut parts) = rollups.rollup_parts(which.clone(), None, PARTS).await?;
    let mut done = parts.len() < PARTS;
    while !done {
        let after = parts.last().map(|part| (part.day, part.id));
        let (now, more) = rollups.rollup_parts(which.clone(), after, PARTS).await?;
        if now != head {
            return Ok(None);
        }
        done = more.len() < PARTS;
        parts.extend(more);
    }
    Ok(Some((head, parts)))
}

/// The columns of a stored event. What was altered so that it is no event any more keeps
/// nobody from counting the others; the log tells of it.
fn record(stored: Stored) -> Option<Record> {
    let Stored { id, position, body, .. } = stored;
    Record::decode(body)
        .inspect_err(|error| {
            tracing::error!("cannot count event {id} at position {position}: {error}");
        })
        .ok()
}
