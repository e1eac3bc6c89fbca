//! Cases for stores that keep counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{StorePlace, append_new, whole};
use crate::conformance::Random;
use crate::conformance::sample::moment;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Outcome, Timestamp};
use crate::query::{ActorFilter, Filter, Tenants};
use crate::rollup::{Counting, Counts, Dimension, MAX_VALUES, Over, Roller, Step, count};
use crate::store::{
    Prune, Record, Rolled, RollupHead, RollupPart, Rollups, Spot, StaleDay, Store, WhichParts,
    prune,
};

const HOUR: i64 = 3_600_000_000;
const DAYS: u64 = 70;

/// Events of ten weeks.
fn events(random: &mut Random, number: usize) -> Result<Vec<Record>> {
    let mut record = || {
        let at = random.hour();
        random.record_at(at)
    };
    (0..number).map(|_| record()).collect()
}

impl Random {
    /// A moment of ten weeks in the past.
    fn hour(&mut self) -> Timestamp {
        let micros =
            moment(0).as_micros() + i64::try_from(self.below(DAYS * 24)).unwrap_or(0) * HOUR;
        Timestamp::from_micros(micros - 1 + i64::try_from(self.below(3)).unwrap_or(0))
            .unwrap_or(Timestamp::MIN)
    }

    /// What may be counted by, and the hours of it are whole.
    fn countable(&mut self) -> Filter {
        let actor = |text: &str| text.parse::<ActorFilter>().ok();
        let whole_hour = |time: Timestamp| {
            Timestamp::from_micros(time.as_micros() / HOUR * HOUR).unwrap_or(Timestamp::MIN)
        };
        let tenants = match self.below(4) {
            0 => Tenants::Only(BTreeSet::from(["acme".to_owned(), "nobody".to_owned()])),
            1 => Tenants::Besides { besides: "acme".to_owned() },
            _ => Tenants::All,
        };
        Filter {
            entity_type: self.maybe(&["order", "product"]).map(Into::into),
            action: self.maybe(&["created", "updated"]).map(Into::into),
            outcome: (self.one_in(4)).then_some(Outcome::Denied),
            actor: self.maybe(&["7", "user:8", "job:7"]).and_then(actor),
            tenant: self.maybe(&["acme", "globex"]).map(Into::into),
            tenants,
            since: self.one_in(2).then(|| whole_hour(self.hour())),
            until: self.one_in(2).then(|| whole_hour(self.hour())),
            ..Filter::default()
        }
    }
}

/// Events by value, in all and by day.
type Scanned = (u64, Vec<BTreeMap<Option<String>, u64>>, BTreeMap<Timestamp, Vec<u64>>);

/// What a scan of the whole store counts by every dimension, and by day and action.
async fn scanned(store: &dyn Store, filter: &Filter) -> Result<Scanned> {
    const ACTIONS: [&str; 4] = ["created", "deleted", "updated", "viewed"];
    let mut scanned: Scanned = (0, vec![BTreeMap::new(); Dimension::ALL.len()], BTreeMap::new());
    for stored in whole(store).await? {
        let record = Record::decode(stored.body.clone())
            .map_err(|error| Error::new(ErrorKind::Damaged, "scan", error))?;
        if !filter.lets_through(&record) {
            continue;
        }
        scanned.0 += 1;
        let event = stored.event()?;
        let actor = record.actor_type().zip(record.actor_id());
        let actor = actor.map(|(kind, id)| format!("{kind}:{id}"));
        let values = [
            Some(record.action().to_owned()),
            Some(record.entity_type().to_owned()),
            actor,
            record.tenant().map(str::to_owned),
            Some(record.outcome().to_owned()),
            event.context.service.map(Into::into),
        ];
        for (counts, value) in scanned.1.iter_mut().zip(values) {
            *counts.entry(value).or_default() += 1;
        }
        let micros = record.occurred_at.as_micros();
        let named = ACTIONS.iter().position(|action| *action == record.action());
        let day = Timestamp::from_micros(micros - micros % (24 * HOUR)).unwrap_or(Timestamp::MIN);
        let actions = scanned.2.entry(day).or_insert_with(|| vec![0; ACTIONS.len()]);
        if let Some(at) = named {
            actions[at] += 1;
        }
    }
    Ok(scanned)
}

/// The same of what was counted.
fn in_counts(counts: &Counts) -> Scanned {
    let facets = counts.facets.iter().map(|facet| {
        assert_eq!(facet.values.len(), facet.distinct);
        assert!(facet.values.is_sorted_by(|one, next| one.events >= next.events), "most first");
        facet.values.iter().map(|value| (value.value.clone(), value.events)).collect()
    });
    let mut days = BTreeMap::new();
    if let Some(histogram) = &counts.histogram {
        let (_, lines) = histogram.by.as_ref().expect("it was asked for by action");
        let mut order: Vec<usize> = (0..lines.len()).collect();
        order.sort_by_key(|line| &lines[*line]);
        for bucket in histogram.buckets.iter().filter(|bucket| bucket.events > 0) {
            assert_eq!(bucket.lines.iter().sum::<u64>(), bucket.events);
            let all = ["created", "deleted", "updated", "viewed"].map(|action| {
                let line = lines.iter().position(|line| line.as_deref() == Some(action));
                line.map_or(0, |line| bucket.lines[line])
            });
            days.insert(bucket.from, all.to_vec());
        }
    }
    (counts.events, facets.collect(), days)
}

async fn head_of(rollups: &dyn Rollups) -> Result<RollupHead> {
    Ok(rollups.rollup_parts(WhichParts::default(), None, 0).await?.0)
}

async fn list(
    rollups: &dyn Rollups,
    which: WhichParts,
    after: Option<(u32, u64)>,
    limit: usize,
) -> Result<Vec<RollupPart>> {
    Ok(rollups.rollup_parts(which, after, limit).await?.1)
}

/// Counts by everything there is; to be compared with a scan.
async fn check(store: &dyn Store, filter: Filter) -> Result<Counts> {
    let counting = Counting {
        filter: filter.clone(),
        facets: Dimension::ALL.to_vec(),
        limit: MAX_VALUES,
        histogram: Some(Over { step: Some(Step::Day), by: Some(Dimension::Action) }),
    };
    let counts = count(store, &counting).await?;
    assert_eq!(in_counts(&counts), scanned(store, &filter).await?, "{filter:?}");
    Ok(counts)
}

/// Whatever is counted by, and however far the counting went, it is what a scan counts.
///
/// # Errors
/// What the store says.
///
/// # Panics
/// If it is not so.
pub async fn counts_are_what_a_scan_counts<P: StorePlace>(place: &P) -> Result<()> {
    let store = place.open().await?;
    let mut random = Random::seeded(6);
    let nothing = check(&*store, Filter::default()).await?;
    assert!(nothing.complete && nothing.events == 0, "{nothing:?}");
    let mut roller = Roller::new(place.open().await?)?;
    for round in 0..6 {
        append_new(&*store, &events(&mut random, 40)?).await?;
        if round % 2 == 1 {
            while roller.roll().await? {}
        }
        for _ in 0..6 {
            let counts = check(&*store, random.countable()).await?;
            assert!(counts.complete, "{counts:?}");
            assert_eq!((counts.position, counts.recounting), (40 * (round + 1), 0));
        }
    }
    assert!(!roller.roll().await?, "all is counted");
    drop(store);
    check(&*place.open().await?, Filter::default()).await?;
    place.check().await
}

/// What is pruned, row by row or with its month, is not counted any more.
///
/// # Errors
/// What the store says.
///
/// # Panics
/// If it is not so.
pub async fn what_was_removed_is_not_counted<P: StorePlace>(place: &P) -> Result<()> {
    let store = place.open().await?;
    let mut random = Random::seeded(7);
    let mut roller = Roller::new(Arc::clone(&store))?;
    append_new(&*store, &events(&mut random, 300)?).await?;
    while roller.roll().await? {}
    // Beyond what is counted.
    append_new(&*store, &events(&mut random, 20)?).await?;
    let day = |days: i64| {
        let micros = moment(0).as_micros() + days * 24 * HOUR + 5 * HOUR;
        Timestamp::from_micros(micros).unwrap_or(Timestamp::MIN)
    };
    let pruned = prune(&*store, &Prune::before(day(40)), |_| ()).await?;
    assert!(pruned.removed.events > 100, "{pruned:?}");
    let filter = Filter { until: Some(day(60)), ..Filter::default() };
    let counting = Counting { filter, ..Counting::default() };
    let before = count(&*store, &counting).await?;
    assert!(before.recounting > 10, "it says that days are counted anew: {before:?}");
    while roller.roll().await? {}
    let counts = check(&*store, Filter::default()).await?;
    assert_eq!(counts.recounting, 0);
    // Now by rules.
    let retain = store.retain()?;
    let size = store.stats().await?.size;
    let surveyed = retain.survey(None, day(60), size, false, 1_000).await?;
    let some: Vec<Spot> = surveyed.iter().step_by(2).map(|event| event.spot()).collect();
    assert!(!some.is_empty(), "there is something to remove");
    retain.remove(&some).await?;
    for month in retain.months().await? {
        if month.until < day(69) {
            retain.remove_month(&month, size).await?;
        }
    }
    while roller.roll().await? {}
    check(&*store, Filter::default()).await?;
    place.check().await
}

/// Any number of rollers beside appends and prunes count each event once.
///
/// # Errors
/// What the store says.
///
/// # Panics
/// If it is not so.
pub async fn rollers_count_side_by_side<P: StorePlace>(place: &P) -> Result<()> {
    let store = place.open().await?;
    let (over, _) = tokio::sync::broadcast::channel::<()>(1);
    let mut rolling = Vec::new();
    for _ in 0..3 {
        let (mut roller, mut over) = (Roller::new(place.open().await?)?, over.subscribe());
        rolling.push(tokio::spawn(async move {
            while over.try_recv().is_err() {
                // Another one may be faster all the time.
                if !matches!(roller.roll().await, Ok(true)) {
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
            }
        }));
    }
    let mut random = Random::seeded(8);
    for round in 0..12 {
        // What is of a month that was pruned is refused.
        store.append(events(&mut random, 25)?.into()).await?;
        if round % 4 == 3 {
            let before = random.hour();
            let below = store.stats().await?.size;
            while store.prune_step(before, below, 20).await?.events > 0 {}
        }
        let counting = Counting { filter: Filter::default(), ..Counting::default() };
        let counts = count(&*store, &counting).await?;
        assert!(counts.complete, "{counts:?}");
    }
    drop(over.send(()));
    for rolling in rolling {
        rolling.await.map_err(|error| Error::new(ErrorKind::Closed, "count", error))?;
    }
    let mut roller = Roller::new(Arc::clone(&store))?;
    while roller.roll().await? {}
    check(&*store, Filter::default()).await?;
    place.check().await
}

/// Parts are read as they were written, and a write meets what it was told.
///
/// # Errors
/// What the store says.
///
/// # Panics
/// If it is not so.
pub async fn counts_are_written_where_they_were_read<P: StorePlace>(place: &P) -> Result<()> {
    let store = place.open().await?;
    append_new(&*store, &events(&mut Random::seeded(9), 3)?).await?;
    let rollups = store.rollups()?;
    let head = head_of(rollups).await?;
    assert_eq!(head.position, 0);
    let part = |at: u64, day: u32, tenant: Option<&str>| RollupPart {
        id: head.next_part + at,
        day,
        tenant: tenant.map(str::to_owned),
        cells: at + 5,
        body: vec![u8::try_from(at).unwrap_or(0); 70_000],
    };
    let written = vec![
        part(0, 9, Some("acme")),
        part(1, 8, None),
        part(2, 9, Some("")),
        part(3, 10, Some("ACME")),
    ];
    let first = Rolled { before: head, position: 3, parts: written.clone(), ..Rolled::default() };
    assert!(rollups.rollup_write(Arc::new(first.clone())).await?);
    assert!(!rollups.rollup_write(Arc::new(first.clone())).await?, "the head is another one");
    let head = RollupHead { position: 3, next_part: head.next_part + 4 };
    assert_eq!(head_of(rollups).await?, head);
    let outline = |at: usize| RollupPart { body: Vec::new(), ..written[at].clone() };
    let which = |days, tenants: Option<&[&str]>| WhichParts {
        days,
        tenants: tenants.map(|all| all.iter().map(|tenant| (*tenant).to_owned()).collect()),
    };
    let listed = list(rollups, which(0..u32::MAX, None), None, 9).await?;
    assert_eq!(listed, [outline(1), outline(0), outline(2), outline(3)]);
    let two = list(rollups, which(0..u32::MAX, None), None, 2).await?;
    assert_eq!(two, listed[..2]);
    let after = two.last().map(|part| (part.day, part.id));
    assert_eq!(list(rollups, which(0..10, None), after, 9).await?, listed[2..3]);
    let tenants = list(rollups, which(9..11, Some(&["acme", "x"])), None, 9).await?;
    assert_eq!(tenants, [outline(0)], "to the letter");
    assert_eq!(list(rollups, which(9..11, Some(&[])), None, 9).await?, []);
    let mut bodies =
        rollups.rollup_bodies(written[1..3].iter().map(|part| part.id).collect()).await?;
    bodies.sort_unstable();
    assert_eq!(
        bodies,
        [(written[1].id, written[1].body.clone()), (written[2].id, written[2].body.clone())]
    );
    // A removal marks its day, and another one marks it anew.
    let at = whole(&*store).await?;
    let mut marks: Vec<StaleDay> = Vec::new();
    for stored in &at {
        let event = Spot {
            position: stored.position,
            id: stored.id,
            occurred_at: stored.event()?.occurred_at,
        };
        store.retain()?.remove(&[event]).await?;
        marks = rollups.rollup_stale(9).await?;
        assert!(!marks.is_empty() && marks.is_sorted_by_key(|stale| stale.day), "{marks:?}");
    }
    assert_eq!(rollups.rollup_stale(1).await?, marks[..1]);
    let again = |mark: StaleDay, before: RollupHead| Rolled {
        before,
        position: 3,
        gone: vec![written[0].id, written[3].id],
        recounted: Some(mark),
        ..Rolled::default()
    };
    let old = StaleDay { mark: marks[0].mark + 1, ..marks[0] };
    assert!(rollups.rollup_write(Arc::new(again(old, head))).await?);
    assert_eq!(rollups.rollup_stale(9).await?, marks, "of a mark that it had not seen");
    let left = list(rollups, which(0..u32::MAX, None), None, 9).await?;
    assert_eq!(left, [outline(1), outline(2)]);
    let head = head_of(rollups).await?;
    assert!(rollups.rollup_write(Arc::new(again(marks[0], head))).await?);
    assert_eq!(rollups.rollup_stale(9).await?, marks[1..]);
    assert_ne!(head_of(rollups).await?, head, "another one after each write");
    Ok(())
}
