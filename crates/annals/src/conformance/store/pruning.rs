//! Cases for retention.

use super::{StorePlace, append_new, whole};
use crate::conformance::records;
use crate::conformance::sample::moment;
use crate::error::Result;
use crate::event::Timestamp;
use crate::store::{Appended, PRUNED, Prune, Removed, prune};

/// What is old goes, in steps; the rest keeps its place.
pub async fn pruning_removes_what_it_planned(place: &dyn StorePlace) -> Result<()> {
    let store = place.open().await?;
    let all = records(0..20)?;
    append_new(&*store, &all).await?;
    let before = moment(8);
    let plan = store.prune_plan(before).await?;
    let bytes: u64 = all[..8].iter().map(|record| record.body().len() as u64).sum();
    assert_eq!((plan.events, plan.bytes, plan.below), (8, bytes, 20));
    assert_eq!((plan.oldest, plan.newest), (Some(moment(0)), Some(moment(7))));
    let mut removed = Removed::default();
    loop {
        let step = store.prune_step(before, plan.below, 3).await?;
        assert!(step.events <= 3, "a step is bounded");
        if step.events == 0 {
            break;
        }
        removed.events += step.events;
        removed.bytes += step.bytes;
    }
    assert_eq!((removed.events, removed.bytes), (plan.events, plan.bytes));
    let left = whole(&*store).await?;
    assert!(left.iter().zip(8..).all(|(event, position)| event.position == position));
    assert_eq!(left.len(), 12);
    assert_eq!(store.get(all[3].id).await?, None);
    let stats = place.open().await?.stats().await?;
    assert_eq!((stats.events, stats.size, stats.oldest), (12, 20, Some(moment(8))));
    assert_eq!(store.prune_plan(before).await?.events, 0);
    // What came after the plan is not this prune's.
    assert_eq!(store.prune_step(Timestamp::MAX, 8, 100).await?, Removed::default());
    place.check().await
}

/// Redelivered after it was pruned, an event does not come back.
pub async fn a_pruned_id_is_refused(place: &dyn StorePlace) -> Result<()> {
    let store = place.open().await?;
    let all = records(0..4)?;
    append_new(&*store, &all[..3]).await?;
    store.prune_step(moment(2), 3, 10).await?;
    drop(store);
    let store = place.open().await?;
    let answers = store.append([all[3].clone(), all[0].clone(), all[2].clone()].into()).await?;
    assert_eq!(answers[0], Appended::Inserted(3));
    let refused = matches!(&answers[1], Appended::Refused(reason) if reason.contains("pruned"));
    assert!(refused, "{answers:?}");
    assert_eq!(answers[2], Appended::Duplicate);
    place.check().await
}

/// The trail says what was removed before it is gone, and goes on saying it.
pub async fn a_prune_tells_of_itself_and_stays(place: &dyn StorePlace) -> Result<()> {
    let store = place.open().await?;
    append_new(&*store, &records(0..5)?).await?;
    let mut told = Vec::new();
    let first =
        prune(&*store, &Prune::before(moment(3)), |removed| told.push(removed.events)).await?;
    assert_eq!((first.removed.events, told), (3, vec![3]));
    // By now that event itself is old, and so is everything else.
    let second = prune(&*store, &Prune::before(Timestamp::MAX), |_| ()).await?;
    assert_eq!(second.removed.events, 2);
    let left = whole(&*store).await?;
    let ids: Vec<_> = left.iter().map(|event| Some(event.id)).collect();
    assert_eq!(ids, [first.event, second.event]);
    for (stored, events) in left.iter().zip([3_u64, 2]) {
        let event = stored.event()?;
        assert_eq!(event.action, PRUNED);
        let planned = event.metadata.and_then(|metadata| metadata.get::<u64>("events"));
        assert_eq!(planned, Some(events));
    }
    let third = prune(&*store, &Prune::before(Timestamp::MAX), |_| ()).await?;
    assert_eq!((third.removed.events, third.event), (0, None));
    place.check().await
}
