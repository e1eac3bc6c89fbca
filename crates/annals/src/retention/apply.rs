//! Removing what is due.

use std::time::Instant;

use super::plan::Looking;
use super::policy::{Policy, Rule};
use crate::error::Result;
use crate::event::{Actor, EventId, Timestamp};
use crate::store::{
    Archivist, Going, Hands, Prune, Removed, Retain, SignRemoval, Spot, Store, announce, prune,
    yield_to_appends,
};

/// Events that one step removes, at most: some milliseconds of work.
const STEP: usize = 500;

/// Events that are looked at in one go for those that go.
const SLICE: usize = 5_000;

/// Runs of neighbours in what a round removes, at most: some 50 MiB of them.
const RUNS: usize = 500_000;

/// Who removes what.
#[derive(Clone)]
pub struct Apply<'a> {
    policy: &'a Policy,
    by: Option<Actor>,
    signer: Option<&'a dyn SignRemoval>,
    archivist: Option<&'a dyn Archivist>,
}

impl<'a> Apply<'a> {
    /// Applies these rules.
    #[must_use]
    pub fn new(policy: &'a Policy) -> Self {
        Self { policy, by: None, signer: None, archivist: None }
    }

    /// Names who does it.
    #[must_use]
    pub fn by(self, by: Option<Actor>) -> Self {
        Self { by, ..self }
    }

    /// Has it signed; a log that is signed wants that.
    #[must_use]
    pub fn signed_by(self, signer: &'a dyn SignRemoval) -> Self {
        Self { signer: Some(signer), ..self }
    }

    /// Has what goes archived first, save by rules that say otherwise; what need not be at
    /// hand then goes earlier.
    #[must_use]
    pub fn archived_by(self, archivist: &'a dyn Archivist) -> Self {
        Self { archivist: Some(archivist), ..self }
    }
}

/// What one rule removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// What it set out to remove: more than went if another removal ran at the same time.
    pub removed: Removed,
    /// Events as old, which stayed since they are under a hold.
    pub held: u64,
    /// The events that tell of it, one a round; none if there was nothing to remove.
    pub events: Vec<EventId>,
}

/// Removes what is due at `now`, by rule in the policy's order; `progress` is told after each
/// step what was removed so far.
///
/// # Errors
/// [`crate::ErrorKind::Usage`] if the log is signed, and this is not, or nothing is removed
/// from the store by rules; otherwise if it cannot be read or written. What was removed so
/// far stays removed.
pub async fn apply(
    store: &dyn Store,
    apply: &Apply<'_>,
    now: Timestamp,
    progress: impl FnMut(Removed) + Send,
) -> Result<Vec<Applied>> {
    in_rounds(store, apply, now, RUNS, progress).await
}

async fn in_rounds(
    store: &dyn Store,
    apply: &Apply<'_>,
    now: Timestamp,
    runs: usize,
    mut progress: impl FnMut(Removed) + Send,
) -> Result<Vec<Applied>> {
    if let [only] = apply.policy.rules()
        && only.is_for_all()
    {
        return Ok(vec![by_age(store, apply, only, now, progress).await?]);
    }
    let (policy, retain) = (apply.policy, store.retain()?);
    let mut applied = vec![Applied::default(); policy.rules().len()];
    let mut looking = Looking::begin(store, policy, now, apply.archivist.is_some(), runs).await?;
    let mut removed = Removed::default();
    loop {
        let further = looking.round(retain, true).await?;
        tell(store, apply, &looking, &mut applied).await?;
        for month in looking.whole() {
            if let Some(gone) = retain.remove_month(&month, looking.below).await? {
                removed.add(gone);
                progress(removed);
            }
        }
        remove_rows(retain, &looking, &mut removed, &mut progress).await?;
        if !further {
            return Ok(applied);
        }
    }
}

/// One rule for everything asks for nothing but the time, and no event is looked at.
async fn by_age(
    store: &dyn Store,
    apply: &Apply<'_>,
    rule: &Rule,
    now: Timestamp,
    progress: impl FnMut(Removed),
) -> Result<Applied> {
    let archivist = apply.archivist.filter(|_| !rule.unarchived);
    let Some(before) = rule.before(now, archivist.is_some()) else { return Ok(Applied::default()) };
    let mut wanted = Prune::before(before).by(apply.by.clone()).by_rule(&rule.name);
    if let Some(signer) = apply.signer {
        wanted = wanted.signed_by(signer);
    }
    if let Some(archivist) = archivist {
        wanted = wanted.archived_by(archivist);
    }
    let pruned = prune(store, &wanted, progress).await?;
    let events = pruned.event.into_iter().collect();
    Ok(Applied { removed: pruned.removed, held: pruned.plan.held, events })
}

/// Tells of what each rule is about to remove in this round.
async fn tell(
    store: &dyn Store,
    apply: &Apply<'_>,
    looking: &Looking<'_>,
    applied: &mut [Applied],
) -> Result<()> {
    let rules = apply.policy.rules().iter().zip(&looking.due).zip(&looking.lists);
    for (((rule, due), positions), applied) in rules.zip(applied) {
        applied.held += due.held;
        let Some(before) = due.before.filter(|_| due.goes.events > 0) else { continue };
        let archivist = apply.archivist.filter(|_| !rule.unarchived);
        let (rule, below, bytes) = (Some(rule.name.as_str()), looking.below, due.goes.bytes);
        let going = Going { rule, before, below, bytes, positions };
        let hands = Hands { by: apply.by.as_ref(), signer: apply.signer, archivist };
        let event = announce(store, &going, hands).await?;
        applied.removed.add(due.goes);
        applied.events.push(event);
    }
    Ok(())
}

/// Removes what was listed and is still there, in steps between which appends get their
/// turn.
async fn remove_rows(
    retain: &dyn Retain,
    looking: &Looking<'_>,
    removed: &mut Removed,
    progress: &mut (impl FnMut(Removed) + Send),
) -> Result<()> {
    let (Some(before), Some(end)) = (looking.before, looking.at) else { return Ok(()) };
    let mut at = looking.began;
    loop {
        let events = retain.survey(at, before, looking.below, false, SLICE).await?;
        let Some(last) = events.last() else { return Ok(()) };
        at = Some(last.spot());
        let listed = |position| looking.lists.iter().any(|list| list.contains(position));
        let going: Vec<Spot> = events
            .iter()
            .filter(|event| !event.held && listed(event.position))
            .map(crate::store::Surveyed::spot)
            .collect();
        for step in going.chunks(STEP) {
            let began = Instant::now();
            removed.add(retain.remove(step).await?);
            progress(*removed);
            yield_to_appends(began).await;
        }
        if last.occurred_at > end.occurred_at {
            return Ok(());
        }
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::time::Duration;

    use super::super::Keep;
    use super::*;
    use crate::event::{Entity, Event};
    use crate::store::sqlite::SqliteStore;
    use crate::store::{Appender, Record};

    /// More lies apart than a round lists: each round is told of, and nothing is left.
    #[tokio::test]
    async fn what_is_too_much_for_one_round_goes_in_several() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let store = SqliteStore::open(path.to_str().unwrap()).await.unwrap();
        let now = Timestamp::now();
        let record = |number: u64| {
            let ago = Duration::from_secs(7_200 + 600_000 - number);
            let kind = if number.is_multiple_of(2) { "odd" } else { "even" };
            let event = Event::new("seen", Entity::new(kind, number)).occurred_at(now.before(ago));
            Record::decode(event.encode().unwrap()).unwrap()
        };
        for part in 0..50 {
            let batch: Vec<Record> = (part * 1_000..(part + 1) * 1_000).map(record).collect();
            store.append(batch.into()).await.unwrap();
        }
        let keep = Keep::For(Duration::from_secs(3_600));
        let odd = Rule {
            name: "odd".to_owned(),
            entity_types: vec!["odd".to_owned()],
            keep,
            ..Rule::default()
        };
        let policy = Policy::new(vec![odd]).unwrap();
        let applied = in_rounds(&store, &Apply::new(&policy), now, 5_000, |_| {}).await.unwrap();
        assert_eq!(applied[0].removed.events, 25_000);
        assert!(applied[0].events.len() > 1, "{applied:?}");
        assert_eq!(store.stats().await.unwrap().events, 25_000 + applied[0].events.len() as u64);
    }
}
