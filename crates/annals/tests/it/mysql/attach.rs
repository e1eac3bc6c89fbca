//! MariaDB tables that are attached.

use std::collections::BTreeMap;

use annals::attach::{AttachOptions, Mode, Operation, attach, attached, detach};
use annals::conformance::Random;
use annals::transport::mysql::MysqlTransport;
use annals::transport::{Transport, Want};
use annals::{Actor, ErrorKind, Event, Scope};
use annals_testbed::mariadb::Mariadb;
use annals_testbed::required;
use serde_json::{Map, Value, json};

/// An application's database.
struct Place {
    server: &'static Mariadb,
    url: String,
}

impl Place {
    fn with(server: &'static Mariadb, tables: &str) -> Self {
        let url = server.database();
        server.sql(&url, tables);
        Self { server, url }
    }

    async fn attach(&self, tables: &[&str], options: AttachOptions) {
        attach(&self.url, &names(tables), &options, Mode::Apply).await.unwrap();
    }

    fn run(&self, sql: &str) {
        self.server.sql(&self.url, sql);
    }

    async fn events(&self) -> Vec<Event> {
        let queue = MysqlTransport::open(&self.url).await.unwrap();
        let got = queue.receive(Want::up_to(100_000)).await.unwrap();
        let receipts: Vec<_> = got.iter().map(|delivery| delivery.receipt).collect();
        queue.ack(&receipts).await.unwrap();
        assert!(got.iter().all(|delivery| delivery.refused.is_none()), "{got:?}");
        got.iter().map(|delivery| Event::decode(&delivery.body).unwrap()).collect()
    }
}

fn names(tables: &[&str]) -> Vec<String> {
    tables.iter().map(|table| (*table).to_owned()).collect()
}

fn values(object: Option<&annals::Object>) -> Value {
    object.map_or(Value::Null, |object| serde_json::from_str(object.as_str()).unwrap())
}

fn named(event: &Event) -> (String, String) {
    (event.action.to_string(), event.entity.id.as_deref().unwrap_or("").to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_every_kind_arrive() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let place = Place::with(
        server,
        "CREATE TABLE `odd ``'name` (id INT ZEROFILL PRIMARY KEY, t TEXT CHARACTER SET latin1, \
         b VARBINARY(10), `a \"'\\key` BIGINT UNSIGNED, d DECIMAL(20,4), f DOUBLE, bits BIT(3), \
         e ENUM('é', 'b'), j JSON, u UUID, at TIMESTAMP(6) NULL, day DATE, y YEAR, p POINT, \
         n BIGINT AS (d * 2), secret TEXT, hidden TEXT)",
    );
    let options = AttachOptions {
        entity_type: Some("odd".to_owned()),
        exclude: names(&["hidden"]),
        redact: names(&["secret"]),
        ..AttachOptions::default()
    };
    place.attach(&["odd `'name"], options).await;
    place.run(
        "SET time_zone = '+05:00'; \
         INSERT INTO `odd ``'name` (id, t, b, `a \"'\\key`, d, f, bits, e, j, u, at, day, y, p, secret, hidden) \
         VALUES (7, CONCAT('q\"''\\\\\\n', CHAR(1 USING latin1), 'é'), X'dead00', 18446744073709551615, \
         12345678901.5, 1e300, 5, 'é', '{\"k\": [1]}', 'e890bdec-e6a0-41f1-a1ec-02fc00000001', \
         '2026-11-22 15:00:00.25', '2026-11-22', 2026, ST_GeomFromText('POINT(1 2)'), 's', 'h')",
    );
    let redacted = json!({"$annals": {"kind": "redacted"}});
    let events = place.events().await;
    let made = events[0].new_values.as_ref().unwrap();
    assert_eq!(
        values(Some(made)),
        json!({"id": 7, "t": "q\"'\\\n\u{1}é", "b": "\\xdead00", "a \"'\\key": 18446744073709551615_u64,
            "d": 12345678901.5, "f": 1e300, "bits": 5, "e": "é", "j": "{\"k\": [1]}",
            "u": "e890bdec-e6a0-41f1-a1ec-02fc00000001", "at": "2026-11-22 10:00:00.250000",
            "day": "2026-11-22", "y": 2026, "p": "POINT(1 2)", "n": 24691357803_i64,
            "secret": redacted})
    );
    assert!(made.as_str().contains("12345678901.5000"), "numbers to the digit: {}", made.as_str());
    assert_eq!(named(&events[0]), ("created".to_owned(), "7".to_owned()));
    assert_eq!(&*events[0].entity.kind, "odd");

    // Only what changed, to the byte; nothing makes no event.
    place.run("UPDATE `odd ``'name` SET hidden = 'z', d = d");
    place.run("UPDATE `odd ``'name` SET e = 'b', t = 'Case', secret = 'x'");
    place.run("UPDATE `odd ``'name` SET t = 'case', b = NULL");
    let events = place.events().await;
    assert_eq!(events.len(), 2);
    assert_eq!(
        values(events[0].new_values.as_ref()),
        json!({"t": "Case", "e": "b", "secret": redacted})
    );
    assert_eq!(values(events[1].old_values.as_ref()), json!({"t": "Case", "b": "\\xdead00"}));
    assert_eq!(values(events[1].new_values.as_ref()), json!({"t": "case", "b": null}));
    assert!(attached(&place.url).await.unwrap()[0].current);
    place.run("ALTER TABLE `odd ``'name` ADD COLUMN more TEXT");
    assert!(!attached(&place.url).await.unwrap()[0].current);
}

/// However long the values are, the application's statement goes through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_long_is_cut_and_marked() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let many: Vec<String> = (0..40).map(|n| format!("c{n} LONGTEXT")).collect();
    let place = Place::with(
        server,
        &format!("CREATE TABLE long_ones (id VARCHAR(700) PRIMARY KEY, {})", many.join(", ")),
    );
    place.attach(&["long_ones"], AttachOptions::default()).await;
    place.run(
        "INSERT INTO long_ones (id, c0, c1) VALUES ('a', REPEAT('x', 70000), REPEAT('y', 60000))",
    );
    place.run("INSERT INTO long_ones (id, c0) VALUES ('b', REPEAT(CHAR(1), 60000))");
    let all: Vec<String> = (0..40).map(|n| format!("c{n} = REPEAT('z', 60000)")).collect();
    place.run(&format!("UPDATE long_ones SET {}", all.join(", ")));
    place.run("UPDATE long_ones SET c0 = REPEAT('é', 5000000) WHERE id = 'a'");
    place.run("INSERT INTO long_ones (id) VALUES (REPEAT('k', 700))");
    let events = place.events().await;
    assert_eq!(events.len(), 6);
    let made = values(events[0].new_values.as_ref());
    assert_eq!(made["c0"]["$annals"]["length"], 70_000);
    assert_eq!(made["c0"]["$annals"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(made["c1"].as_str().unwrap().len(), 60_000);
    for event in &events[2..4] {
        let changed = values(event.new_values.as_ref());
        assert_eq!(changed.as_object().unwrap().len(), 40);
        assert_eq!(changed["c39"]["$annals"]["length"], 60_000);
    }
    assert_eq!(values(events[4].new_values.as_ref())["c0"]["$annals"]["length"], 10_000_000);
    assert!(events[5].entity.id.as_deref().unwrap().starts_with("kkkk"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_from_the_session() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let place = Place::with(server, "CREATE TABLE t (id INT PRIMARY KEY)");
    place.attach(&["t"], AttachOptions::default()).await;
    let application = sqlx::MySqlPool::connect(&place.url).await.unwrap();
    let mut tx = application.begin().await.unwrap();
    Scope::new().actor(Actor::user(7)).reason("why").tell_triggers(&mut tx).await.unwrap();
    sqlx::query("INSERT INTO t VALUES (1)").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = application.begin().await.unwrap();
    Scope::new().tell_triggers(&mut tx).await.unwrap();
    sqlx::query("INSERT INTO t VALUES (2)").execute(&mut *tx).await.unwrap();
    tx.rollback().await.unwrap();
    place.run(
        r#"SET @annals_context = '{"actor":{"type":"user","id":"9"},"context":{"ip":"::1"},"tenant":"acme",
               "subject":"user:9","tags":["x"],"metadata":{"batch":3}}';
           INSERT INTO t VALUES (3);
           SET @annals_context = 'no JSON'; INSERT INTO t VALUES (4);
           SET @annals_context = '{"actor":"a text","tenant":7}'; INSERT INTO t VALUES (5);
           SET @annals_context = '{"actor":{"type":"user","id":"9"}}', @annals_context_at = '2000-01-01'; INSERT INTO t VALUES (6);"#,
    );
    let events = place.events().await;
    let ids: Vec<_> = events.iter().map(|event| event.entity.id.clone().unwrap()).collect();
    assert_eq!(ids, ["1", "3", "4", "5", "6"]);
    let actors: Vec<_> = events.iter().map(|event| event.actor.clone()).collect();
    assert_eq!(actors, [Some(Actor::user(7)), Some(Actor::user(9)), None, None, None]);
    assert_eq!(events[0].reason.as_deref(), Some("why"));
    assert_eq!(
        (events[1].tenant.as_deref(), events[1].subject.as_deref()),
        (Some("acme"), Some("user:9"))
    );
    let beside = values(events[1].metadata.as_ref());
    assert_eq!(beside["table"], "t");
    assert_eq!(beside["told"], json!({"batch": 3}));
    assert!(beside["session_user"].as_str().unwrap().starts_with("root@"));
    assert_eq!(values(events[2].metadata.as_ref())["unreadable_context"], "no JSON");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_attached_is_refused_with_the_reason() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let place = Place::with(
        server,
        "CREATE TABLE keyless (a INT); CREATE VIEW seen AS SELECT 1; \
         CREATE TABLE old_one (id INT PRIMARY KEY) ENGINE = MyISAM; \
         CREATE TABLE fine (id INT PRIMARY KEY, a INT); \
         CREATE TABLE by_unique (a INT NOT NULL, b VARCHAR(9) NOT NULL, c INT, UNIQUE (a, b), UNIQUE (c))",
    );
    let refused = async |table: &str, exclude: &str| {
        let exclude = (!exclude.is_empty()).then(|| exclude.to_owned()).into_iter().collect();
        let options = AttachOptions { exclude, ..AttachOptions::default() };
        let error = attach(&place.url, &names(&["fine", table]), &options, Mode::Apply).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.advice().is_some());
        error.to_string()
    };
    for (table, exclude, what) in [
        ("keyless", "", "cannot be told apart"),
        ("seen", "", "it is a view"),
        ("old_one", "", "has no transactions"),
        ("nowhere", "", "there is no such table"),
        ("annals_queue", "", "belongs to annals"),
        ("fine", "b", "it has no column b"),
        ("fine", "id", "is in the key"),
    ] {
        let said = refused(table, exclude).await;
        assert!(said.contains(what), "{said}");
    }
    assert_eq!(attached(&place.url).await.unwrap(), [], "all or none");
    place.attach(&["by_unique"], AttachOptions::default()).await;
    place.run("INSERT INTO by_unique VALUES (1, 'a,b%', NULL)");
    assert_eq!(place.events().await[0].entity.id.as_deref(), Some("1,a%2Cb%25"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attaching_is_shown_done_changed_and_undone() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let long = format!("t{}", "x".repeat(63));
    let place = Place::with(server, &format!("CREATE TABLE {long} (id INT PRIMARY KEY, a INT)"));
    let (tables, all) = (vec![long.clone()], AttachOptions::default());
    let shown = attach(&place.url, &tables, &all, Mode::DryRun).await.unwrap();
    assert_eq!(shown.len(), 3);
    assert!(shown[1].starts_with("CREATE TRIGGER `annals_capture_update_t"), "{}", shown[1]);
    assert_eq!(server.sql(&place.url, "SHOW TABLES"), long, "nothing was made");
    let done = attach(&place.url, &tables, &all, Mode::Apply).await.unwrap();
    assert_eq!(done, shown);
    // The application's own triggers stand beside them.
    place.run(&format!(
        "CREATE TRIGGER own AFTER INSERT ON {long} FOR EACH ROW SET @seen = NEW.id; \
         INSERT INTO {long} VALUES (1, 1)"
    ));
    let fewer = AttachOptions { operations: vec![Operation::Delete], ..all };
    let again = attach(&place.url, &tables, &fewer, Mode::Apply).await.unwrap();
    assert_eq!(again.len(), 4);
    place.run(&format!("UPDATE {long} SET a = 2; DELETE FROM {long}"));
    let events = place.events().await;
    let actions: Vec<_> = events.iter().map(|event| named(event).0).collect();
    assert_eq!(actions, ["created", "deleted"]);
    let list = attached(&place.url).await.unwrap();
    assert_eq!((&list[0].table, &list[0].operations), (&long, &names(&["delete"])));
    assert_eq!(detach(&place.url, &tables, Mode::DryRun).await.unwrap().len(), 1);
    assert_eq!(detach(&place.url, &tables, Mode::Apply).await.unwrap().len(), 1);
    assert_eq!(server.sql(&place.url, "SHOW TRIGGERS").lines().count(), 1);
    let not = detach(&place.url, &tables, Mode::Apply).await.unwrap_err();
    assert!(not.to_string().contains("it is not attached"), "{not}");
}

/// An application's user needs no right on the queue: the triggers have it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_change_the_table_needs_no_other_right() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let place = Place::with(server, "CREATE TABLE t (id INT PRIMARY KEY)");
    place.attach(&["t"], AttachOptions::default()).await;
    server.sql(&place.url, "CREATE USER clerk; GRANT SELECT, INSERT ON t TO clerk");
    let clerk = sqlx::MySqlPool::connect(&place.url.replace("root@", "clerk@")).await.unwrap();
    sqlx::query("INSERT INTO t VALUES (1)").execute(&clerk).await.unwrap();
    let refused = sqlx::query("CALL annals_capture('\"action\":\"x\"', 't')").execute(&clerk).await;
    assert!(refused.is_err(), "nobody makes events up");
    let events = place.events().await;
    let by = values(events[0].metadata.as_ref())["session_user"].as_str().unwrap().to_owned();
    assert!(by.starts_with("clerk@"), "{by}");
}

/// Random statements: at the end the events, played back, are the table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_played_back_are_the_table() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let place = Place::with(
        server,
        "CREATE TABLE t (a INT, b VARCHAR(10), v TEXT, w INT, PRIMARY KEY (a, b))",
    );
    place.attach(&["t"], AttachOptions::default()).await;
    let mut random = Random::seeded(11);
    let mut statements = Vec::new();
    for _ in 0..400 {
        let (a, w) = (random.below(6), random.below(4));
        statements.push(match random.below(8) {
            0 | 1 => format!("INSERT IGNORE INTO t VALUES ({a}, 'k,{w}', 'v{w}', NULL)"),
            2 => format!("REPLACE INTO t VALUES ({a}, 'k,{w}', 'V{a}', {w})"),
            3 => format!(
                "INSERT INTO t VALUES ({a}, 'k,{w}', 'n', 1) ON DUPLICATE KEY UPDATE w = w + 1, v = 'again'"
            ),
            4 => format!("UPDATE t SET v = UPPER(v), w = {w} WHERE a <= {a}"),
            5 => format!("UPDATE IGNORE t SET a = a + 1 WHERE b = 'k,{w}' ORDER BY a DESC"),
            6 => format!("DELETE FROM t WHERE a = {a} AND b = 'k,{w}'"),
            _ => format!("START TRANSACTION; DELETE FROM t WHERE a > {a}; UPDATE t SET w = 99; ROLLBACK"),
        });
    }
    place.run(&statements.join(";\n"));
    let mut table: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for event in place.events().await {
        let id = event.entity.id.as_deref().unwrap().to_owned();
        let (old, new) = (values(event.old_values.as_ref()), values(event.new_values.as_ref()));
        match &*event.action {
            "created" => {
                let row = new.as_object().unwrap().clone();
                assert!(table.insert(id, row).is_none());
            }
            "deleted" => assert_eq!(table.remove(&id).as_ref(), old.as_object()),
            "updated" => {
                let row = table.get_mut(&id).unwrap();
                for (name, value) in old.as_object().unwrap() {
                    assert_eq!(row[name], *value);
                }
                row.extend(new.as_object().unwrap().clone());
            }
            other => panic!("{other}"),
        }
    }
    let rows = server
        .sql(&place.url, "SELECT JSON_OBJECT('a', a, 'b', b, 'v', v, 'w', w) FROM t ORDER BY a, b");
    let rows: Vec<Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    assert!(rows.len() > 3);
    let mut played: Vec<Value> = table.into_values().map(Value::Object).collect();
    played.sort_by_key(|row| (row["a"].as_i64(), row["b"].to_string()));
    assert_eq!(played, rows);
}
