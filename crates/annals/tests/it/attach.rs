//! SQLite tables that are attached.

use std::collections::BTreeMap;

use annals::attach::{AttachOptions, Mode, attach, attached, detach};
use annals::conformance::Random;
use annals::transport::sqlite::SqliteTransport;
use annals::transport::{Transport, Want};
use annals::{Actor, Event, Scope};
use rusqlite::Connection;
use serde_json::{Map, Value, json};

/// An application's database.
struct Place {
    directory: tempfile::TempDir,
    application: Connection,
}

impl Place {
    fn with(tables: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let application = Connection::open(directory.path().join("app.db")).unwrap();
        application.execute_batch(tables).unwrap();
        Self { directory, application }
    }

    fn path(&self) -> String {
        self.directory.path().join("app.db").display().to_string()
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.path())
    }

    async fn attach(&self, tables: &[&str], options: AttachOptions) {
        let tables: Vec<String> = tables.iter().map(|table| (*table).to_owned()).collect();
        attach(&self.url(), &tables, &options, Mode::Apply).await.unwrap();
    }

    fn run(&self, sql: &str) {
        self.application.execute_batch(sql).unwrap();
    }

    async fn events(&self) -> Vec<Event> {
        let queue = SqliteTransport::open(&self.path()).await.unwrap();
        let got = queue.receive(Want::up_to(10_000)).await.unwrap();
        let receipts: Vec<_> = got.iter().map(|delivery| delivery.receipt).collect();
        queue.ack(&receipts).await.unwrap();
        let events = got.iter().map(|delivery| {
            let event = Event::decode(&delivery.body).unwrap();
            // As ingest would take it.
            annals::event::accept(std::str::from_utf8(&delivery.body).unwrap()).unwrap();
            assert_eq!(event.id, delivery.id);
            event
        });
        events.collect()
    }
}

fn values(object: Option<&annals::Object>) -> Value {
    object.map_or(Value::Null, |object| serde_json::from_str(object.as_str()).unwrap())
}

fn named(event: &Event) -> (String, String, String) {
    let id = event.entity.id.as_deref().unwrap_or("").to_owned();
    (event.action.to_string(), event.entity.kind.to_string(), id)
}

#[tokio::test]
async fn values_of_every_kind_arrive() {
    let place = Place::with(
        "CREATE TABLE \"odd 'name\" (id INTEGER PRIMARY KEY, t TEXT, r REAL, b BLOB, \"a \"\"key\", \
         n INT GENERATED ALWAYS AS (length(t)) VIRTUAL, secret TEXT, hidden TEXT)",
    );
    let options = AttachOptions {
        entity_type: Some("odd".to_owned()),
        exclude: vec!["hidden".to_owned()],
        redact: vec!["secret".to_owned()],
        ..AttachOptions::default()
    };
    place.attach(&["odd 'name"], options).await;
    place.run(
        "INSERT INTO \"odd 'name\" VALUES (1, 'q\"''\\\n\u{1}é', 0.5, x'dead', NULL, 's', 'h')",
    );
    place.run("INSERT INTO \"odd 'name\" (r, t) VALUES (9e999, 'x')");
    place.run("UPDATE \"odd 'name\" SET hidden = 'z', r = r; UPDATE \"odd 'name\" SET \"a \"\"key\" = '1' WHERE id = 1");
    place.run("UPDATE \"odd 'name\" SET \"a \"\"key\" = 1, secret = 't' WHERE id = 1");
    place.run(&format!("UPDATE \"odd 'name\" SET t = '{}' WHERE id = 2", "y".repeat(70_000)));
    let events = place.events().await;
    let redacted = json!({"$annals": {"kind": "redacted"}});
    assert_eq!(
        values(events[0].new_values.as_ref()),
        json!({"id": 1, "t": "q\"'\\\n\u{1}é", "r": 0.5, "b": "\\xdead", "a \"key": null, "n": 7, "secret": redacted})
    );
    assert!(events[1].new_values.as_ref().unwrap().as_str().contains(r#""r":"Infinity""#));
    assert_eq!(values(events[2].new_values.as_ref()), json!({"a \"key": "1"}));
    assert_eq!(
        (values(events[3].old_values.as_ref()), values(events[3].new_values.as_ref())),
        (json!({"a \"key": "1", "secret": redacted}), json!({"a \"key": 1, "secret": redacted}))
    );
    assert_eq!(values(events[4].new_values.as_ref())["t"]["$annals"]["length"], 70_000);
    assert_eq!(events.len(), 5);
    place.run("ALTER TABLE \"odd 'name\" ADD COLUMN more TEXT");
    assert!(!attached(&place.url()).await.unwrap()[0].current);
}

#[tokio::test]
async fn who_comes_from_the_transaction() {
    use sqlx::Connection;
    let place = Place::with("CREATE TABLE t (id INTEGER PRIMARY KEY)");
    place.attach(&["t"], AttachOptions::default()).await;
    let mut connection = sqlx::SqliteConnection::connect(&place.path()).await.unwrap();
    let mut tx = connection.begin().await.unwrap();
    Scope::new().actor(Actor::user(7)).reason("why").tell_triggers(&mut tx).await.unwrap();
    sqlx::query("INSERT INTO t VALUES (1)").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    // Nobody says who, and nobody is taken for someone else.
    let mut tx = connection.begin().await.unwrap();
    Scope::new().tell_triggers(&mut tx).await.unwrap();
    sqlx::query("INSERT INTO t VALUES (2)").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    place.run("UPDATE annals_context SET told = '{\"actor\":{\"id\":\"9\"}}', until = 0; DELETE FROM t WHERE id = 2");
    let events = place.events().await;
    let actors: Vec<_> = events.iter().map(|event| event.actor.clone()).collect();
    assert_eq!(actors, [Some(Actor::user(7)), None, None]);
    assert_eq!(events[0].reason.as_deref(), Some("why"));
}

#[tokio::test]
async fn what_cannot_be_attached_is_refused_with_the_reason() {
    let place = Place::with(
        "CREATE TABLE keyless (a); CREATE VIEW seen AS SELECT 1; CREATE TABLE fine (id INTEGER PRIMARY KEY, a)",
    );
    let refused = async |table: &str, exclude: &str| {
        let exclude = (!exclude.is_empty()).then(|| exclude.to_owned()).into_iter().collect();
        let options = AttachOptions { exclude, ..AttachOptions::default() };
        let tables = ["fine".to_owned(), table.to_owned()];
        let error = attach(&place.url(), &tables, &options, Mode::Apply).await.unwrap_err();
        assert!(error.advice().is_some());
        error.to_string()
    };
    assert!(refused("keyless", "").await.contains("no primary key"));
    assert!(refused("seen", "").await.contains("view"));
    assert!(refused("nothing", "").await.contains("no such table"));
    assert!(refused("annals_queue", "").await.contains("belongs to annals"));
    assert!(refused("fine", "b").await.contains("no column b"));
    assert!(refused("fine", "id").await.contains("in the key"));
    assert_eq!(attached(&place.url()).await.unwrap(), []);
    let missing = attach("sqlite:nowhere.db", &[], &AttachOptions::default(), Mode::Apply).await;
    assert!(missing.unwrap_err().to_string().contains("no such file"));

    let plain = AttachOptions::default();
    let shown = attach(&place.url(), &["fine".to_owned()], &plain, Mode::DryRun).await;
    assert_eq!(shown.unwrap().len(), 3);
    place.run("INSERT INTO fine VALUES (1, 1)");
    place.attach(&["fine"], AttachOptions::default()).await;
    place.attach(&["FINE"], AttachOptions::default()).await;
    place.run("UPDATE fine SET a = 2");
    assert_eq!(place.events().await.len(), 1);
    detach(&place.url(), &["fine".to_owned()], Mode::Apply).await.unwrap();
    place.run("UPDATE fine SET a = 3");
    assert!(place.events().await.is_empty());
    let twice = detach(&place.url(), &["fine".to_owned()], Mode::Apply).await.unwrap_err();
    assert!(twice.to_string().contains("not attached"), "{twice}");
}

/// Something that an application does.
fn statement(random: &mut Random) -> String {
    let (a, b) = (random.below(40), 1 + random.below(9));
    match random.below(9) {
        0 => format!("INSERT OR IGNORE INTO product VALUES ({a}, 'p''{a}', {b}.5, x'0{b}')"),
        1 => format!(
            "INSERT INTO product VALUES ({a}, 'up', {b}, NULL) ON CONFLICT DO UPDATE SET name = name || 'é'"
        ),
        2 => format!("UPDATE product SET price = price + {b} WHERE id % {b} = 0"),
        3 => format!("UPDATE product SET name = name WHERE id < {a}"),
        4 => format!("UPDATE OR IGNORE product SET id = id + 100 WHERE id = {a}"),
        5 => format!("DELETE FROM product WHERE id % 13 = {b}"),
        6 => format!(
            "INSERT OR IGNORE INTO line SELECT id, 'o,%' || {b}, {a} FROM product WHERE id % {b} = 1"
        ),
        7 => format!("UPDATE line SET n = n + 1 WHERE product % 3 = {b} % 3"),
        _ => format!("DELETE FROM line WHERE n = {a}"),
    }
}

#[tokio::test]
async fn replayed_events_make_the_tables() {
    let place = Place::with(
        "CREATE TABLE product (id INTEGER PRIMARY KEY, name TEXT, price REAL, photo BLOB); \
         CREATE TABLE line (product INT, purchase TEXT, n INT, PRIMARY KEY (purchase, product)) WITHOUT ROWID",
    );
    place.attach(&["product", "line"], AttachOptions::default()).await;
    let mut random = Random::seeded(12);
    for _ in 0..200 {
        place.run("BEGIN");
        for _ in 0..=random.below(3) {
            place.run(&statement(&mut random));
        }
        place.run(if random.one_in(4) { "ROLLBACK" } else { "COMMIT" });
    }
    let events = place.events().await;
    assert!(events.len() > 500, "{} events", events.len());
    let mut replayed: BTreeMap<(String, String), Map<String, Value>> = BTreeMap::new();
    for event in &events {
        let (action, kind, id) = named(event);
        let there = replayed.contains_key(&(kind.clone(), id.clone()));
        assert_eq!(there, action != "created", "{event:?}");
        if action == "deleted" {
            let gone = replayed.remove(&(kind, id)).unwrap();
            assert_eq!(Value::Object(gone), values(event.old_values.as_ref()));
        } else if let Value::Object(new) = values(event.new_values.as_ref()) {
            let entry = replayed.entry((kind, id)).or_default();
            for (key, value) in values(event.old_values.as_ref()).as_object().into_iter().flatten()
            {
                assert_eq!(entry.get(key), Some(value), "{event:?}");
                assert_ne!(new.get(key), Some(value), "{event:?}");
            }
            entry.extend(new);
        }
    }
    let mut stands = BTreeMap::new();
    let rows = [
        (
            "product",
            "id",
            "'id', id, 'name', name, 'price', price, 'photo', '\\x' || lower(hex(photo))",
        ),
        (
            "line",
            "replace(replace(purchase, '%', '%25'), ',', '%2C') || ',' || product",
            "'product', product, 'purchase', purchase, 'n', n",
        ),
    ];
    for (table, key, fields) in rows {
        let sql = format!("SELECT CAST({key} AS TEXT), json_object({fields}) FROM {table}");
        let mut select = place.application.prepare(&sql).unwrap();
        let mut rows = select.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let mut fields: Map<String, Value> =
                serde_json::from_str(&row.get::<_, String>(1).unwrap()).unwrap();
            fields.retain(|_, value| value.as_str() != Some("\\x"));
            if table == "product" {
                fields.entry("photo").or_insert(Value::Null);
            }
            stands.insert((table.to_owned(), row.get(0).unwrap()), fields);
        }
    }
    assert!(stands.len() > 10, "{} rows", stands.len());
    assert_eq!(replayed, stands);
}
