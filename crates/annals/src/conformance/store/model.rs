//! Random operations beside a simple model of a store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::appending::conflicting;
use super::querying::{expected, filter, found};
use super::{StorePlace, whole};
use crate::conformance::Random;
use crate::conformance::sample::moment;
use crate::error::Result;
use crate::event::EventId;
use crate::query::Query;
use crate::store::{Appended, Record, Store, Stored};

/// Rounds of operations; each ends with a full comparison.
const ROUNDS: u64 = 12;

/// What a store is, without files.
#[derive(Default)]
struct Model {
    size: u64,
    events: BTreeMap<u64, Record>,
    pruned: BTreeSet<EventId>,
    /// Everything ever made, to append it again.
    known: Vec<Record>,
}

impl Model {
    fn append(&mut self, record: &Record) -> Answer {
        if self.pruned.contains(&record.id) {
            return Answer::Pruned;
        }
        match self.events.values().find(|known| known.id == record.id) {
            Some(known) if known.body() == record.body() => Answer::Duplicate,
            Some(_) => Answer::Conflict,
            None => {
                self.events.insert(self.size, record.clone());
                self.size += 1;
                Answer::Inserted(self.size - 1)
            }
        }
    }

    fn prune(&mut self, steps: u64, below: u64) -> u64 {
        let gone: Vec<u64> = self
            .events
            .range(..below)
            .filter(|(_, record)| record.occurred_at < moment(steps))
            .map(|(position, _)| *position)
            .collect();
        for position in &gone {
            self.pruned.extend(self.events.remove(position).map(|record| record.id));
        }
        gone.len() as u64
    }
}

#[derive(Debug, PartialEq)]
enum Answer {
    Inserted(u64),
    Duplicate,
    Conflict,
    Pruned,
    Other(String),
}

impl From<Appended> for Answer {
    fn from(appended: Appended) -> Self {
        match appended {
            Appended::Inserted(position) => Self::Inserted(position),
            Appended::Duplicate => Self::Duplicate,
            Appended::Refused(reason) if reason.starts_with("conflict") => Self::Conflict,
            Appended::Refused(reason) if reason.starts_with("pruned") => Self::Pruned,
            Appended::Refused(reason) => Self::Other(reason),
        }
    }
}

/// A batch of new events, old ones, and old ones with other bytes.
fn batch(model: &mut Model, random: &mut Random) -> Result<Vec<Record>> {
    let mut batch = Vec::new();
    for _ in 0..random.below(40) {
        let again = usize::try_from(random.below(model.known.len() as u64)).unwrap_or(0);
        let record = match (model.known.get(again), random.below(10)) {
            (Some(known), 0) => known.clone(),
            (Some(known), 1) => conflicting(known)?,
            _ => random.record()?,
        };
        model.known.push(record.clone());
        batch.push(record);
    }
    Ok(batch)
}

/// Appends, prunes, crashes and queries, in any order.
pub async fn random_operations_match_a_model(place: &dyn StorePlace) -> Result<()> {
    let mut random = Random::seeded(1);
    let mut model = Model::default();
    let mut store = place.open().await?;
    for _ in 0..ROUNDS {
        for _ in 0..8 {
            match random.below(8) {
                0 => store = place.open().await?,
                1 => check_prune(&store, &mut model, &mut random).await?,
                2 => check_query(&store, &mut random).await?,
                _ => {
                    let batch = batch(&mut model, &mut random)?;
                    let answers = store.append(batch.as_slice().into()).await?;
                    let answers: Vec<Answer> = answers.into_iter().map(Answer::from).collect();
                    let expected: Vec<Answer> =
                        batch.iter().map(|record| model.append(record)).collect();
                    assert_eq!(answers, expected);
                }
            }
        }
        check_whole(&store, &model).await?;
        place.check().await?;
    }
    assert!(model.size > 100 && !model.pruned.is_empty(), "the operations came to something");
    Ok(())
}

async fn check_prune(store: &Arc<dyn Store>, model: &mut Model, random: &mut Random) -> Result<()> {
    let (steps, below) = (random.below(12), random.below(model.size + 1));
    let mut removed = 0;
    loop {
        match store.prune_step(moment(steps), below, 5).await?.events {
            0 => break,
            events => removed += events,
        }
    }
    assert_eq!(removed, model.prune(steps, below));
    Ok(())
}

async fn check_query(store: &Arc<dyn Store>, random: &mut Random) -> Result<()> {
    let query = Query::newest(filter(random)).limit(17);
    // A conflicting body of the model never arrives, so all can be read.
    let expected = expected(&whole(&**store).await?, &query.filter, query.order)?;
    assert_eq!(found(&**store, query).await?, expected);
    Ok(())
}

async fn check_whole(store: &Arc<dyn Store>, model: &Model) -> Result<()> {
    let stored = whole(&**store).await?;
    let as_stored = |event: &Stored| (event.position, event.id, event.body.clone());
    let as_known =
        |(position, record): (&u64, &Record)| (*position, record.id, record.body().to_vec());
    let stored: Vec<_> = stored.iter().map(as_stored).collect();
    let known: Vec<_> = model.events.iter().map(as_known).collect();
    assert_eq!(stored, known);
    let stats = store.stats().await?;
    assert_eq!((stats.events, stats.size), (model.events.len() as u64, model.size));
    assert_eq!(stats.oldest, model.events.values().map(|record| record.occurred_at).min());
    assert_eq!(stats.newest, model.events.values().map(|record| record.occurred_at).max());
    Ok(())
}
