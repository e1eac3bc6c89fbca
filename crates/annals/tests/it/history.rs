//! An entity's history, read from a store.

use std::sync::Arc;
use std::time::Duration;

use annals::change::Fields;
use annals::query::stored_state_at;
use annals::store::{Record, Store, sqlite::SqliteStore};
use annals::{Auditable, Audits, Entity, Event, Timestamp};

#[derive(Clone)]
struct Product {
    id: i64,
    price: i64,
    code: String,
}

impl Auditable for Product {
    const ENTITY_TYPE: &'static str = "product";

    fn entity_id(&self) -> String {
        self.id.to_string()
    }

    fn fields(&self, fields: &mut Fields) {
        fields.add("price", &self.price);
        fields.redact("code", &self.code);
    }
}

fn product(price: i64) -> Product {
    Product { id: 42, price, code: format!("c-{price}") }
}

fn time(step: u64) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    start.after(Duration::from_secs(step))
}

async fn append(store: &dyn Store, events: impl IntoIterator<Item = Event>) {
    let records: Vec<Record> =
        events.into_iter().map(|event| Record::decode(event.encode().unwrap()).unwrap()).collect();
    store.append(records.into()).await.unwrap();
}

async fn open(directory: &tempfile::TempDir) -> SqliteStore {
    let path = directory.path().join("store.db");
    SqliteStore::open(path.to_str().unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_value_finds_its_own_events_newest_first_and_typed() {
    let directory = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(open(&directory).await);
    let other = Product { id: 43, ..product(5) };
    append(
        &store,
        [
            Event::created(&product(1000)).unwrap().occurred_at(time(1)),
            Event::updated(&product(1000), &product(1200)).unwrap().unwrap().occurred_at(time(2)),
            Event::created(&other).unwrap().occurred_at(time(3)),
        ],
    )
    .await;
    let audits = product(0).audits(&store).await.unwrap();
    assert_eq!(
        audits.iter().map(|audit| &*audit.action).collect::<Vec<_>>(),
        ["updated", "created"]
    );
    assert_eq!((audits[0].old("price"), audits[0].new("price")), (Some(1000_i64), Some(1200_i64)));
    assert_eq!(audits[0].new::<String>("price"), None, "it does not fit");
    assert_eq!(audits[0].new::<String>("code"), None, "it was redacted");
    assert!(audits[0].changed_fields().contains(&"code".to_owned()));
    assert_eq!(audits[1].old::<i64>("price"), None);
    assert_eq!(audits[1].position, 0);
}

#[tokio::test]
async fn a_state_is_rebuilt_across_pages() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory).await;
    let mut events = vec![Event::created(&product(0)).unwrap().occurred_at(time(0))];
    for price in 1..1_300_u32 {
        let (before, after) = (product(i64::from(price) - 1), product(i64::from(price)));
        let updated = Event::updated(&before, &after).unwrap().unwrap();
        events.push(updated.occurred_at(time(u64::from(price))));
    }
    append(&store, events).await;
    let entity = Entity::new("product", 42);
    for step in [0, 499, 500, 1_299, 5_000] {
        let state = stored_state_at(&store, &entity, None, time(step)).await.unwrap().unwrap();
        assert!(state.exists && state.complete);
        assert_eq!(state.values.get::<u64>("price"), Some(step.min(1_299)));
    }
    let nothing = stored_state_at(&store, &Entity::new("product", 1), None, time(1)).await.unwrap();
    assert_eq!(nothing, None);
    // The events have no tenant, so none of them is this one's.
    let foreign = stored_state_at(&store, &entity, Some("acme"), time(1)).await.unwrap();
    assert_eq!(foreign, None);
}
