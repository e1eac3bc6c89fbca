//! The shop on PostgreSQL, with its tables attached: every change of a row has its
//! event, whether a visitor of the shop made it or somebody else in bulk.

mod bulk;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals::attach::{AttachOptions, Mode, attach};
use annals::transport::postgres::PostgresTransport;
use annals::transport::{Transport, Want};
use annals::{Event, Object};
use annals_shop::driver::Driver;
use annals_shop::people::PEOPLE;
use annals_testbed::outcome::{is_full, leave};
use annals_testbed::postgres::Release;
use annals_testbed::required;
use serde_json::{Map, Value, json};
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Executor};

use crate::Open;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_has_its_event() {
    every_change_has_its_event_on(Release::Debian).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_has_its_event_on_the_newest() {
    every_change_has_its_event_on(Release::Newest).await;
}

/// A table, the type of its events, and the columns that do not leave it: of the
/// first kind nothing does, of the second that they changed.
const TABLES: [(&str, &str, &[&str], &[&str]); 3] = [
    ("products", "product", &["views"], &["supplier_code"]),
    ("orders", "order", &[], &[]),
    ("customers", "customer", &["password_hash"], &["email"]),
];

/// What sees every change of a row but knows nothing of Annals.
const WITNESS: &str = "
    CREATE TABLE witness (
        n bigint GENERATED ALWAYS AS IDENTITY, via text DEFAULT current_setting('application_name'),
        transaction text DEFAULT pg_current_xact_id(), action text, kind text, id text, old jsonb, new jsonb);
    CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        k text := tg_argv[0];
        o jsonb := to_jsonb(old) - tg_argv[1];
        n jsonb := to_jsonb(new) - tg_argv[1];
    BEGIN
        IF tg_op = 'UPDATE' AND old.id = new.id THEN
            IF o <> n THEN
                INSERT INTO witness (action, kind, id, old, new) VALUES ('updated', k, new.id, o, n);
            END IF;
            RETURN NULL;
        END IF;
        IF o IS NOT NULL THEN INSERT INTO witness (action, kind, id, old) VALUES ('deleted', k, old.id, o); END IF;
        IF n IS NOT NULL THEN INSERT INTO witness (action, kind, id, new) VALUES ('created', k, new.id, n); END IF;
        RETURN NULL;
    END $$;";

/// A change of a row: which transaction made it, and the values that it left and set.
#[derive(Debug, PartialEq)]
struct Change {
    transaction: String,
    old: Map<String, Value>,
    new: Map<String, Value>,
}

/// The changes of each thing, by what happened to it, its type and its id.
type Changes = BTreeMap<(String, String, String), Vec<Change>>;

/// The visible rows, by type and id.
type Rows = BTreeMap<(String, String), Map<String, Value>>;

fn object(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap()
}

/// Puts the mark of a redacted column in the place of its value.
fn redact(kind: &str, values: &mut Map<String, Value>) {
    for (_, _, _, redacted) in TABLES.iter().filter(|table| table.1 == kind) {
        for column in *redacted {
            if let Some(value) = values.get_mut(*column) {
                *value = json!({"$annals": {"kind": "redacted"}});
            }
        }
    }
}

/// How many changes came through a program.
async fn through(pool: &PgPool, program: &str) -> i64 {
    let count = sqlx::query_scalar("SELECT count(*) FROM witness WHERE via = $1");
    count.bind(program).fetch_one(pool).await.unwrap()
}

/// What the witness saw.
async fn seen(pool: &PgPool) -> Changes {
    type Row = (String, String, String, String, Option<String>, Option<String>);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT transaction, action, kind, id, old::text, new::text FROM witness ORDER BY n",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut changes = Changes::new();
    for (transaction, action, kind, id, old, new) in rows {
        let [mut old, mut new] =
            [old, new].map(|text| text.map_or_else(Map::new, |text| object(&text)));
        if action == "updated" {
            let before = old.clone();
            old.retain(|column, value| new.get(column) != Some(value));
            new.retain(|column, value| before.get(column) != Some(value));
        }
        redact(&kind, &mut old);
        redact(&kind, &mut new);
        changes.entry((action, kind, id)).or_default().push(Change { transaction, old, new });
    }
    changes
}

/// What the events tell.
fn told(events: &[Event]) -> Changes {
    let mut changes = Changes::new();
    let values = |values: &Option<Object>| {
        values.as_ref().map_or_else(Map::new, |values| object(values.as_str()))
    };
    for event in events {
        let change = Change {
            transaction: event.context.transaction_id.clone().unwrap().into(),
            old: values(&event.old_values),
            new: values(&event.new_values),
        };
        changes.entry(thing(event)).or_default().push(change);
    }
    changes
}

fn thing(event: &Event) -> (String, String, String) {
    let id = event.entity.id.as_deref().unwrap();
    (event.action.to_string(), event.entity.kind.to_string(), id.to_owned())
}

/// The rows that are there, as far as events may tell of them.
async fn rows(pool: &PgPool) -> Rows {
    let mut all = Rows::new();
    for (table, kind, excluded, _) in TABLES {
        let sql = format!("SELECT id::text, to_jsonb(t)::text FROM {table} t");
        let rows: Vec<(String, String)> =
            sqlx::query_as(AssertSqlSafe(sql)).fetch_all(pool).await.unwrap();
        for (id, row) in rows {
            let mut row = object(&row);
            row.retain(|column, _| !excluded.contains(&column.as_str()));
            redact(kind, &mut row);
            all.insert((kind.to_owned(), id), row);
        }
    }
    all
}

/// Does to the rows what the events tell.
fn replay(rows: &mut Rows, events: &[Event]) {
    for event in events {
        let (action, kind, id) = thing(event);
        let new = event.new_values.as_ref().map(|values| object(values.as_str()));
        match (action.as_str(), new) {
            ("created", Some(new)) => drop(rows.insert((kind, id), new)),
            ("updated", Some(new)) => rows.get_mut(&(kind, id)).unwrap().extend(new),
            _ => drop(rows.remove(&(kind, id)).unwrap()),
        }
    }
}

/// Takes everything out of the queue, in order. None of it may be refused, or hold
/// what should not have left the tables.
async fn events(url: &str) -> Vec<Event> {
    let queue = PostgresTransport::open(url).await.unwrap();
    let mut events = Vec::new();
    loop {
        let got = queue.receive(Want::up_to(1_000)).await.unwrap();
        if got.is_empty() {
            break;
        }
        for delivery in &got {
            let text = std::str::from_utf8(&delivery.body).unwrap();
            for secret in ["@example.com", "SUP-", "sample:", "views"] {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
            events.push(Event::decode(&delivery.body).unwrap());
        }
        queue.ack(&got.iter().map(|delivery| delivery.receipt).collect::<Vec<_>>()).await.unwrap();
    }
    assert!(queue.buried(None, 1).await.unwrap().is_empty());
    events
}

/// Sees to it that each event names who made the change, as they said it or not.
fn everyone_is_named(events: &[Event]) {
    let mut by_visitors = 0;
    for event in events {
        let actor = event.actor.as_ref().unwrap();
        let (context, request) = (&event.context, event.context.request_id.as_deref());
        match actor.kind.as_deref().unwrap() {
            "user" => {
                assert!(PEOPLE.iter().any(|person| *actor == person.actor()), "{event:?}");
                assert_eq!(context.service.as_deref(), Some("shop"));
                assert!(request.is_some() && context.ip.is_some() && context.method.is_some());
                by_visitors += 1;
            }
            "job" => assert_eq!(request, context.transaction_id.as_deref(), "{event:?}"),
            "role" => {
                assert_eq!((context.service.as_deref(), request), (Some("bulk"), None));
            }
            _ => panic!("{event:?}"),
        }
    }
    assert!(by_visitors > 0);
    assert!(events.iter().any(|event| {
        event.actor.as_ref().is_some_and(|actor| actor.name.as_deref() == Some("Jo Doe"))
            && event.context.ip.as_deref() == Some("203.0.113.9")
            && event.reason.is_some()
            && event.new_values.as_ref().is_some_and(|values| values.has("price"))
    }));
}

async fn every_change_has_its_event_on(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let url = server.database();
    let shop = Open::shop(&format!("{url}?application_name=shop"), None).await;
    let pool = PgPool::connect(&url).await.unwrap();
    pool.execute(WITNESS).await.unwrap();
    for (table, kind, excluded, redacted) in TABLES {
        let hidden = excluded.first().unwrap_or(&"");
        let sql = format!(
            "CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION see('{kind}', '{hidden}')"
        );
        pool.execute(AssertSqlSafe(sql)).await.unwrap();
        let names = |columns: &[&str]| columns.iter().map(|column| (*column).to_owned()).collect();
        let options = AttachOptions {
            entity_type: Some(kind.to_owned()),
            exclude: names(excluded),
            redact: names(redacted),
            ..AttachOptions::default()
        };
        attach(&url, &[table.to_owned()], &options, Mode::Apply).await.unwrap();
    }
    let mut replayed = rows(&pool).await;

    let stop = Arc::new(AtomicBool::new(false));
    let bulk = tokio::spawn(bulk::work(url.clone(), Arc::clone(&stop)));
    let enough = if is_full() { (10_000, 50_000) } else { (400, 2_000) };
    let (mut seed, mut made) = (0, (0, 0));
    while made.0 < enough.0 || made.1 < enough.1 {
        let visits = Driver::new(shop.address, seed).run(Duration::from_secs(1), 300.0).await;
        assert_eq!(visits.failed, 0, "{}", server.log());
        assert!(!bulk.is_finished(), "{:?}", bulk.await);
        seed += 1;
        made = (through(&pool, "shop").await, through(&pool, "bulk").await);
    }
    stop.store(true, Ordering::SeqCst);
    bulk.await.unwrap();
    shop.close().await;

    let events = events(&url).await;
    let seen = seen(&pool).await;
    let told = told(&events);
    for (what, changes) in &seen {
        assert_eq!(told.get(what), Some(changes), "{what:?}");
    }
    assert_eq!(told.len(), seen.len(), "events of what nobody did");
    replay(&mut replayed, &events);
    assert_eq!(replayed, rows(&pool).await);
    everyone_is_named(&events);
    pool.close().await;
    if is_full() {
        let version = server.version();
        let outcome = format!(
            "{} events of {} changes by visitors and the rest by bulk statements: the tables \
             replayed from them, PostgreSQL {version}",
            events.len(),
            made.0
        );
        leave(&format!("attached-{version}"), "the shop with its tables attached", &outcome);
    }
}
