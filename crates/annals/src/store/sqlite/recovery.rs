//! Tests of what a store does when its file cannot be written. They reach into
//! the writing connection, to make a disk full or a lock short.

use std::sync::Arc;
use std::time::Duration;

use super::SqliteStore;
use crate::conformance::records;
use crate::error::ErrorKind;
use crate::proof::{Finding, FindingKind, VerifyOptions, verify};
use crate::store::{Appended, Appender, Store};

async fn store(directory: &tempfile::TempDir) -> SqliteStore {
    SqliteStore::open(directory.path().join("store.db").to_str().unwrap()).await.unwrap()
}

/// That the log has so many leaves and nothing was altered; answers how many events are there.
async fn whole(directory: &tempfile::TempDir, size: u64) -> u64 {
    let store: Arc<dyn Store> = Arc::new(store(directory).await);
    let report = verify(&store, VerifyOptions::default(), |_| {}).await.unwrap();
    // Nothing tells of what these tests remove.
    let removed = |finding: &Finding| finding.kind == FindingKind::Removed;
    assert!(report.size == size && report.findings.iter().all(removed), "{report:?}");
    report.events
}

#[tokio::test]
async fn a_full_disk_takes_nothing_and_is_recovered_from() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let all = records(0..1_000).unwrap();
    store.append(all[..50].into()).await.unwrap();
    // As if the disk had no more room than for some pages.
    let limit = |connection: &mut rusqlite::Connection| {
        let pages: u32 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        Ok(connection.pragma_update_and_check(None, "max_page_count", pages + 8, |_| Ok(()))?)
    };
    store.writer.call("limit", limit).await.unwrap();
    let error = store.append(all[50..].into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Away);
    assert_eq!(error.advice(), Some("free disk space"));
    assert_eq!(store.stats().await.unwrap().events, 50, "all of a batch or nothing");
    // The new connection knows no limit: there is room again.
    let answers = store.append(all.as_slice().into()).await.unwrap();
    assert!(answers[..50].iter().all(|answer| *answer == Appended::Duplicate));
    assert_eq!(answers[999], Appended::Inserted(999));
    assert_eq!(whole(&directory, 1_000).await, 1_000);
}

#[tokio::test]
async fn a_locked_store_is_away_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let all = records(0..4).unwrap();
    store.append(all[..2].into()).await.unwrap();
    let patience = |connection: &mut rusqlite::Connection| {
        Ok(connection.busy_timeout(Duration::from_millis(10))?)
    };
    store.writer.call("hurry", patience).await.unwrap();
    let other = rusqlite::Connection::open(directory.path().join("store.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.append(all[2..].into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Away);
    assert_eq!(store.window(0, 9).await.unwrap().len(), 2, "reading goes on");
    other.execute_batch("ROLLBACK").unwrap();
    store.append(all[2..].into()).await.unwrap();
    assert_eq!(whole(&directory, 4).await, 4);
}

#[tokio::test]
async fn space_of_pruned_events_goes_back_in_steps() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let all = records(0..6_000).unwrap();
    for batch in all.chunks(2_000) {
        store.append(batch.into()).await.unwrap();
    }
    let before = store.stats().await.unwrap().bytes;
    while store.prune_step(crate::Timestamp::MAX, 6_000, 1_000).await.unwrap().events > 0 {}
    let after = store.stats().await.unwrap();
    assert_eq!((after.events, after.size), (0, 6_000));
    assert!(after.bytes < before * 3 / 4, "{before} bytes shrank to {}", after.bytes);
    assert_eq!(whole(&directory, 6_000).await, 0);
}
