//! The SQLite store: the suites, and what is its own.

use std::sync::Arc;

use annals::conformance::records;
use annals::conformance::store::StorePlace;
use annals::proof::Report;
use annals::query::{Filter, Query};
use annals::store::sqlite::SqliteStore;
use annals::store::{Appender, Record, Store};
use annals::{Entity, ErrorKind, Event, Object};
use async_trait::async_trait;

use crate::check::check;

/// A SQLite store in a directory that goes when the test is over.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> String {
        self.directory.path().join("store.db").to_str().unwrap().to_owned()
    }

    async fn checked(&self) -> Report {
        check(&format!("sqlite:{}", self.path())).await.unwrap()
    }

    async fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.path()).await.unwrap()
    }
}

#[async_trait]
impl StorePlace for Place {
    async fn open(&self) -> annals::Result<Arc<dyn Store>> {
        Ok(Arc::new(SqliteStore::open(&self.path()).await?))
    }

    async fn check(&self) -> annals::Result<()> {
        self.checked().await;
        Ok(())
    }
}

mod appender_suite {
    annals::appender_conformance!(super::Place::new());
}

mod store_suite {
    annals::store_conformance!(super::Place::new());
}

mod registry_suite {
    annals::registry_conformance!(super::Place::new());
}

mod rollup_suite {
    annals::rollup_conformance!(super::Place::new());
}

/// Runs statements on the file, as someone else would.
fn alter(place: &Place, sql: &str) {
    rusqlite::Connection::open(place.path()).unwrap().execute_batch(sql).unwrap();
}

async fn filled(place: &Place, events: u64) -> SqliteStore {
    let store = place.store().await;
    store.append(records(0..events).unwrap().into()).await.unwrap();
    store
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused_by_both_numbers() {
    let place = Place::new();
    drop(place.store().await);
    alter(&place, "UPDATE annals_store_meta SET value = '999' WHERE key = 'schema'");
    let error = SqliteStore::open(&place.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.to_string().contains("of version 999, this program knows up to 6"), "{error}");
}

#[tokio::test]
async fn what_is_no_store_is_not_made_one_by_reading() {
    let place = Place::new();
    let missing = SqliteStore::open_existing(&place.path()).await.unwrap_err();
    assert!(missing.to_string().contains("no such file"), "{missing}");
    alter(&place, "CREATE TABLE products (id INTEGER)");
    let foreign = SqliteStore::open_existing(&place.path()).await.unwrap_err();
    assert!(foreign.to_string().contains("holds no events store"), "{foreign}");
    let nameless = SqliteStore::open("").await.unwrap_err();
    assert_eq!(nameless.kind(), ErrorKind::Usage);
    std::fs::write(place.path(), "this is not a database, however long it may be").unwrap();
    let text = SqliteStore::open(&place.path()).await.unwrap_err();
    assert_eq!(text.kind(), ErrorKind::Damaged);
}

/// Again and again, since only some of the ways in which they meet do harm.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_open_a_new_store_at_once() {
    for _ in 0..20 {
        let place = Place::new();
        let opening: Vec<_> = (0..8_u64)
            .map(|number| {
                let path = place.path();
                tokio::spawn(async move {
                    let store = SqliteStore::open(&path).await?;
                    store.append(records(number..number + 1)?.into()).await
                })
            })
            .collect();
        for opened in opening {
            opened.await.unwrap().unwrap();
        }
        assert_eq!(place.checked().await.size, 8);
    }
}

#[tokio::test]
async fn an_append_after_another_handles_goes_on_from_its_log() {
    let place = Place::new();
    let (one, two) = (place.store().await, place.store().await);
    let all = records(0..900).unwrap();
    for (turn, batch) in all.chunks(90).enumerate() {
        let store = if turn % 3 == 0 { &one } else { &two };
        store.append(batch.into()).await.unwrap();
    }
    assert_eq!(place.checked().await.size, 900);
}

#[tokio::test]
async fn a_page_ends_with_its_bytes_and_goes_on() {
    let place = Place::new();
    let store = place.store().await;
    let large: Vec<Record> = (0..100)
        .map(|_| {
            let text = std::collections::BTreeMap::from([("text", "x".repeat(250_000))]);
            let event = Event::new("noted", Entity::of_type("note"));
            let event = event.new_values(Object::from_value(&text).unwrap());
            Record::decode(event.encode().unwrap()).unwrap()
        })
        .collect();
    for batch in large.chunks(20) {
        store.append(batch.into()).await.unwrap();
    }
    let page = store.query(Query::newest(Filter::default()).limit(100)).await.unwrap();
    assert!(page.events.len() < 80, "{} events of 250 kB", page.events.len());
    let rest = Query::newest(Filter::default()).limit(100).after(page.next);
    let rest = store.query(rest).await.unwrap();
    assert_eq!(page.events.len() + rest.events.len(), 100);
    assert!(store.window(0, 100).await.unwrap().len() < 80);
}

#[tokio::test]
async fn the_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let _store = filled(&place, 1).await;
    for name in ["store.db", "store.db-wal"] {
        let mode =
            std::fs::metadata(place.directory.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
}
