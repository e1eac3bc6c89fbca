//! Cases for positions, windows, ids and figures.

use std::sync::Arc;

use super::{StorePlace, append_new, whole};
use crate::conformance::{record, records};
use crate::error::Result;
use crate::event::EventId;
use crate::store::{Appended, Record};

/// From 0 on, in the order of the batch, duplicates aside.
pub async fn positions_have_no_gaps(place: &dyn StorePlace) -> Result<()> {
    let store = place.open().await?;
    let all = records(0..6)?;
    let answers = store.append(all[..3].into()).await?;
    assert_eq!(answers, [0, 1, 2].map(Appended::Inserted));
    let answers = store.append([all[3].clone(), all[1].clone(), all[4].clone()].into()).await?;
    assert_eq!(answers, [Appended::Inserted(3), Appended::Duplicate, Appended::Inserted(4)]);
    drop(store);
    let store = place.open().await?;
    assert_eq!(store.append(all[5..].into()).await?, [Appended::Inserted(5)]);
    let positions: Vec<u64> = whole(&*store).await?.iter().map(|event| event.position).collect();
    assert_eq!(positions, [0, 1, 2, 3, 4, 5]);
    place.check().await
}

/// Whatever is appended afterwards, and wherever it ends.
pub async fn a_window_never_changes(place: &dyn StorePlace) -> Result<()> {
    let store = place.open().await?;
    append_new(&*store, &records(0..10)?).await?;
    let window = store.window(3, 4).await?;
    let positions: Vec<u64> = window.iter().map(|event| event.position).collect();
    assert_eq!(positions, [3, 4, 5, 6]);
    append_new(&*store, &records(10..12)?).await?;
    assert_eq!(store.window(3, 4).await?, window);
    assert_eq!(store.window(11, 4).await?.len(), 1);
    assert!(store.window(12, 4).await?.is_empty());
    assert!(store.window(u64::MAX, 4).await?.is_empty());
    assert!(store.window(0, 0).await?.is_empty());
    Ok(())
}

/// With the bytes and the position that the append gave it.
pub async fn an_event_is_found_by_its_id(place: &dyn StorePlace) -> Result<()> {
    let store = place.open().await?;
    let all = records(0..3)?;
    append_new(&*store, &all).await?;
    for (position, record) in all.iter().enumerate() {
        let found = store.get(record.id).await?;
        assert!(found.is_some(), "{} is found", record.id);
        if let Some(found) = found {
            assert_eq!((found.position, found.id), (position as u64, record.id));
            assert_eq!(found.body, record.body());
        }
    }
    assert_eq!(store.get(record(0)?.id).await?, None);
    Ok(())
}

/// Counted, not estimated; a new handle knows them too.
pub async fn figures_are_exact(place: &dyn StorePlace) -> Result<()> {
    let store = place.open().await?;
    let empty = store.stats().await?;
    assert_eq!((empty.events, empty.size, empty.oldest, empty.newest), (0, 0, None, None));
    let all = records(0..9)?;
    append_new(&*store, &all).await?;
    store.append(all[2..4].into()).await?;
    let stats = place.open().await?.stats().await?;
    assert_eq!((stats.events, stats.size), (9, 9));
    assert_eq!(stats.oldest, Some(all[0].occurred_at));
    assert_eq!(stats.newest, Some(all[8].occurred_at));
    let bytes: u64 = all.iter().map(|record| record.body().len() as u64).sum();
    assert!(stats.bytes >= bytes, "{} bytes hold {bytes} bytes of events", stats.bytes);
    Ok(())
}

/// Two handles append at once, some events through both; each is stored once.
pub async fn handles_append_side_by_side(place: &dyn StorePlace) -> Result<()> {
    let (one, two) = (place.open().await?, place.open().await?);
    let all = records(0..120)?;
    let half = |store: Arc<dyn crate::store::Store>, records: &[Record]| {
        let batches: Vec<Arc<[Record]>> = records.chunks(7).map(Arc::from).collect();
        async move {
            let mut inserted = 0;
            for batch in batches {
                let answers = store.append(batch).await?;
                assert!(!answers.iter().any(|answer| matches!(answer, Appended::Refused(_))));
                inserted +=
                    answers.iter().filter(|answer| matches!(answer, Appended::Inserted(_))).count();
            }
            Ok::<_, crate::Error>(inserted)
        }
    };
    let (one, two) = tokio::join!(half(one, &all[..80]), half(two, &all[40..]));
    assert_eq!(one? + two?, all.len());
    let stored = whole(&*place.open().await?).await?;
    assert!(stored.iter().zip(0..).all(|(event, position)| event.position == position));
    let mut ids: Vec<EventId> = stored.iter().map(|event| event.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, all.iter().map(|record| record.id).collect::<Vec<_>>());
    place.check().await
}
