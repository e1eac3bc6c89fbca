//! Tables that are attached: every change of a row has its event.

use std::collections::{BTreeMap, BTreeSet};

use annals::attach::{AttachOptions, Mode, Operation, attach, attached, detach};
use annals::conformance::Random;
use annals::transport::postgres::PostgresTransport;
use annals::transport::{Transport, Want};
use annals::{Actor, ErrorKind, Event, Scope};
use annals_testbed::outcome::is_full;
use annals_testbed::postgres::{Postgres, Release};
use annals_testbed::required;
use serde_json::{Map, Value, json};
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Executor};

/// A database of its own, as its application and as a worker see it.
struct Place {
    url: String,
    pool: PgPool,
}

impl Place {
    async fn with(server: &Postgres, tables: &str) -> Self {
        let url = server.database();
        let place = Self { pool: PgPool::connect(&url).await.unwrap(), url };
        place.run(tables).await;
        place
    }

    async fn run(&self, sql: &str) {
        self.pool.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap();
    }

    async fn attach(&self, tables: &[&str], options: AttachOptions) {
        let tables: Vec<String> = tables.iter().map(|table| (*table).to_owned()).collect();
        attach(&self.url, &tables, &options, Mode::Apply).await.unwrap();
    }

    /// Takes what is in the queue, in order. None may be refused.
    async fn events(&self) -> Vec<Event> {
        let queue = PostgresTransport::open(&self.url).await.unwrap();
        let mut events = Vec::new();
        loop {
            let got = queue.receive(Want::up_to(1_000)).await.unwrap();
            if got.is_empty() {
                break;
            }
            assert!(got.iter().all(|delivery| delivery.refused.is_none()), "{got:?}");
            let receipts: Vec<_> = got.iter().map(|delivery| delivery.receipt).collect();
            events.extend(got.iter().map(|delivery| Event::decode(&delivery.body).unwrap()));
            queue.ack(&receipts).await.unwrap();
        }
        events
    }

    /// The one event that `sql` makes.
    async fn event(&self, sql: &str) -> Event {
        self.run(sql).await;
        let mut events = self.events().await;
        assert_eq!(events.len(), 1, "{sql}: {events:?}");
        events.remove(0)
    }
}

fn values(object: Option<&annals::Object>) -> Value {
    object.map_or(Value::Null, |object| serde_json::from_str(object.as_str()).unwrap())
}

fn named(event: &Event) -> (String, String, String) {
    let id = event.entity.id.as_deref().unwrap_or("").to_owned();
    (event.action.to_string(), event.entity.kind.to_string(), id)
}

const EVERYTHING: &str = r#"
    CREATE TYPE mood AS ENUM ('glad', 'sad');
    CREATE DOMAIN cents AS numeric(12,2) CHECK (VALUE >= 0);
    CREATE TYPE place AS (street text, zip int);
    CREATE TABLE thing (
        id bigint PRIMARY KEY, "Odd ""name" text, price cents, ratio float8, at timestamptz, day date,
        span interval, raw bytea, doc jsonb, old_doc json, tags text[], mood mood, home place,
        ip inet, bits bit(4), twice bigint GENERATED ALWAYS AS (id * 2) STORED, code char(4), flag bool,
        huge numeric
    );"#;

on_each_release!(values_of_every_type_arrive);
async fn values_of_every_type_arrive(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let place = Place::with(server, EVERYTHING).await;
    place.attach(&["thing"], AttachOptions::default()).await;
    let created = place
        .event(
            r#"SET timezone = 'Asia/Tokyo'; SET extra_float_digits = -10; SET bytea_output = 'escape';
            INSERT INTO thing VALUES (1, E'q"\\\n\x01é', 1.50, 'NaN', 'infinity', '2026-11-22', '1 day 02:00',
            '\xdeadbeef', '{"a": [1.0, {"$annals": 1}]}', '{"b":1,"b":"\u0000"}', '{x,NULL,"y z"}', 'sad',
            ROW('main', 1234), '10.0.0.1/8', B'1010', DEFAULT, 'ab', true, 1e400);
            RESET ALL"#,
        )
        .await;
    assert_eq!(named(&created), ("created".into(), "thing".into(), "1".into()));
    assert_eq!(
        values(created.new_values.as_ref()),
        json!({
            "id": 1, "Odd \"name": "q\"\\\n\u{1}é", "price": 1.50, "ratio": "NaN", "at": "infinity",
            "day": "2026-11-22", "span": "P1DT2H", "raw": "\\xdeadbeef",
            "doc": "{\"a\": [1.0, {\"$annals\": 1}]}", "old_doc": "{\"b\":1,\"b\":\"\\u0000\"}",
            "tags": ["x", null, "y z"], "mood": "sad", "home": {"street": "main", "zip": 1234},
            "ip": "10.0.0.1/8", "bits": "1010", "twice": 2, "code": "ab  ", "flag": true,
            "huge": format!("1{}", "0".repeat(400)),
        })
    );
    // Only what changed, also where PostgreSQL takes the two for equal.
    let updated =
        place.event("UPDATE thing SET doc = '{\"a\": 1.0}', price = price, flag = false").await;
    assert_eq!(values(updated.new_values.as_ref()), json!({"doc": {"a": 1.0}, "flag": false}));
    let updated = place.event("UPDATE thing SET doc = '{\"a\": 1.00}'").await;
    assert_eq!(updated.old_values.unwrap().as_str(), r#"{"doc":{"a":1.0}}"#);
    assert_eq!(updated.new_values.unwrap().as_str(), r#"{"doc":{"a":1.00}}"#);
    place.run("UPDATE thing SET doc = doc, id = id; UPDATE thing SET id = 1 WHERE false").await;
    assert!(place.events().await.is_empty(), "nothing changed");
    let deleted = place.event("DELETE FROM thing").await;
    assert_eq!(values(deleted.old_values.as_ref())["doc"], json!({"a": 1.0}));
    assert_eq!(deleted.new_values, None);
}

/// What Debian's release does not have: columns that are computed when they are read,
/// keys over periods, more of MERGE, and columns that shall not be NULL from now on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_newest_release_has() {
    let Some(server) = required(Release::Newest.shared()) else { return };
    let place = Place::with(
        server,
        "CREATE EXTENSION btree_gist;
         CREATE TABLE product (id int PRIMARY KEY, price int, gross int GENERATED ALWAYS AS (price * 2) VIRTUAL);
         CREATE TABLE booking (room int, during daterange, who text, PRIMARY KEY (room, during WITHOUT OVERLAPS));
         CREATE TABLE legacy (code text UNIQUE); INSERT INTO legacy VALUES (NULL);
         ALTER TABLE legacy ADD CONSTRAINT known NOT NULL code NOT VALID",
    )
    .await;
    place.attach(&["product", "booking"], AttachOptions::default()).await;
    let created = place.event("INSERT INTO product VALUES (1, 5)").await;
    assert_eq!(values(created.new_values.as_ref()), json!({"id": 1, "price": 5}));
    let updated = place.event("UPDATE product SET price = 6").await;
    assert_eq!(values(updated.new_values.as_ref()), json!({"price": 6}));
    place
        .run("MERGE INTO product p USING (VALUES (2)) s (id) ON p.id = s.id WHEN NOT MATCHED BY SOURCE THEN DELETE
              WHEN NOT MATCHED THEN INSERT VALUES (s.id, 7) RETURNING *")
        .await;
    let merged: BTreeSet<_> = place.events().await.iter().map(named).collect();
    let product = |action: &str, id: &str| (action.to_owned(), "product".to_owned(), id.to_owned());
    assert_eq!(merged, [product("created", "2"), product("deleted", "1")].into());
    place.run("INSERT INTO booking VALUES (1, '[2026-01-01,2026-02-01)', 'Jo')").await;
    place.events().await;
    let updated = place.event("UPDATE booking SET who = 'Ada'").await;
    assert_eq!(updated.entity.id.as_deref(), Some("1,[2026-01-01%2C2026-02-01)"));
    // Rows of before may have no key.
    let legacy = ["legacy".to_owned()];
    let refused = attach(&place.url, &legacy, &AttachOptions::default(), Mode::Apply).await;
    assert!(refused.unwrap_err().to_string().contains("no primary key"));
}

on_each_release!(who_and_why_come_from_the_transaction);
async fn who_and_why_come_from_the_transaction(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let place = Place::with(server, "CREATE TABLE t (id int PRIMARY KEY, v int)").await;
    place.attach(&["t"], AttachOptions::default()).await;
    let plain = place.event("SET application_name = 'psql'; INSERT INTO t VALUES (1, 1)").await;
    assert_eq!(plain.actor, Some(Actor::new("role", "postgres")));
    assert_eq!(plain.context.service.as_deref(), Some("psql"));
    assert!(plain.context.transaction_id.is_some());
    assert_eq!(
        values(plain.metadata.as_ref()),
        json!({"session_user": "postgres", "table": "public.t"})
    );

    let scope = Scope::new().actor(Actor::user(7).named("Jo \"J\" Doe")).tenant("acme");
    let scope = scope.ip("203.0.113.9").request_id("r-1").reason("stocktaking");
    let mut tx = place.pool.begin().await.unwrap();
    scope.tell_triggers(&mut tx).await.unwrap();
    tx.execute("INSERT INTO t VALUES (2, 1), (3, 1)").await.unwrap();
    tx.commit().await.unwrap();
    let told = place.events().await;
    assert_eq!(told.len(), 2);
    for event in &told {
        assert_eq!(event.actor, Some(Actor::user(7).named("Jo \"J\" Doe")));
        assert_eq!(
            (event.tenant.as_deref(), event.reason.as_deref()),
            (Some("acme"), Some("stocktaking"))
        );
        assert_eq!(event.context.request_id.as_deref(), Some("r-1"));
        assert_eq!(event.context.transaction_id, told[0].context.transaction_id);
        assert_eq!(values(event.metadata.as_ref())["session_user"], "postgres");
    }
    // The scope ended with the transaction; the connection is the same.
    let later = place.event("UPDATE t SET v = 2 WHERE id = 1").await;
    assert_eq!(later.actor, Some(Actor::new("role", "postgres")));

    // What is told and makes no sense does not stop the change, and is kept.
    for told in ["{not json", "[]", r#"{"actor":"me"}"#, r#"{"tags":[],"tenant":5}"#] {
        let sql = format!(
            "SET annals.context = '{told}'; UPDATE t SET v = v + 1 WHERE id = 1; RESET annals.context"
        );
        let event = place.event(&sql).await;
        assert_eq!(values(event.metadata.as_ref())["unreadable_context"], told);
        assert_eq!(event.actor, Some(Actor::new("role", "postgres")));
    }
    // Nobody gets rid of the facts.
    let forged = place
        .event(r#"SET annals.context = '{"metadata":{"session_user":"nobody","x":1},"context":{"transaction_id":"0"}}';
            UPDATE t SET v = 0 WHERE id = 1; RESET annals.context"#)
        .await;
    assert_eq!(
        values(forged.metadata.as_ref()),
        json!({"session_user": "postgres", "table": "public.t", "x": 1})
    );
    assert_ne!(forged.context.transaction_id.as_deref(), Some("0"));
}

on_each_release!(a_role_that_may_only_write_the_table_is_captured);
async fn a_role_that_may_only_write_the_table_is_captured(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let place = Place::with(
        server,
        "CREATE TABLE t (id int PRIMARY KEY); CREATE ROLE clerk; GRANT INSERT, DELETE ON t TO clerk;
         CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO clerk",
    )
    .await;
    place.attach(&["t"], AttachOptions::default()).await;
    // Nor can it put something of its own in the way.
    let event = place
        .event(
            "SET ROLE clerk; CREATE FUNCTION evil.annals_envelope(text) RETURNS text LANGUAGE sql AS 'SELECT NULL';
             CREATE TABLE evil.annals_queue (id uuid, raw boolean, body bytea);
             SET search_path = evil, public; INSERT INTO public.t VALUES (1); RESET ROLE; RESET search_path",
        )
        .await;
    assert_eq!(event.actor, Some(Actor::new("role", "clerk")));
    place.run("DROP SCHEMA evil CASCADE; DROP OWNED BY clerk; DROP ROLE clerk").await;
}

on_each_release!(hidden_columns_stay_hidden_when_the_table_changes);
async fn hidden_columns_stay_hidden_when_the_table_changes(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let place = Place::with(
        server,
        "CREATE TABLE person (id int PRIMARY KEY, name text, password text, salary int)",
    )
    .await;
    let options = AttachOptions {
        exclude: vec!["password".into()],
        redact: vec!["salary".into()],
        ..AttachOptions::default()
    };
    place.attach(&["person"], options).await;
    let created = place.event("INSERT INTO person VALUES (1, 'Jo', 'hush', 5000)").await;
    let redacted = json!({"$annals": {"kind": "redacted"}});
    assert_eq!(
        values(created.new_values.as_ref()),
        json!({"id": 1, "name": "Jo", "salary": redacted})
    );
    place.run("UPDATE person SET password = 'psst'").await;
    assert!(place.events().await.is_empty());
    let raise = place.event("UPDATE person SET salary = 6000").await;
    assert_eq!(values(raise.old_values.as_ref()), json!({"salary": redacted}));

    assert!(attached(&place.url).await.unwrap()[0].current);
    place
        .run("ALTER TABLE person RENAME password TO pw; ALTER TABLE person RENAME salary TO pay;
              ALTER TABLE person ADD COLUMN phone text DEFAULT '1'; ALTER TABLE person DROP COLUMN name;
              ALTER TABLE person RENAME TO people")
        .await;
    assert!(!attached(&place.url).await.unwrap()[0].current);
    place.run("UPDATE people SET pw = 'x'").await;
    assert!(place.events().await.is_empty());
    let after = place.event("UPDATE people SET pay = 1, phone = '2'").await;
    assert_eq!(named(&after), ("updated".into(), "person".into(), "1".into()));
    assert_eq!(values(after.new_values.as_ref()), json!({"pay": redacted, "phone": "2"}));
    // Attached again it is as fast as at first.
    let options = AttachOptions {
        exclude: vec!["pw".into()],
        redact: vec!["pay".into()],
        ..AttachOptions::default()
    };
    place.attach(&["people"], options).await;
    let again = &attached(&place.url).await.unwrap()[0];
    assert!(again.current && again.entity_type == "people" && again.excluded == ["pw"]);
}

on_each_release!(long_values_are_cut_and_never_stop_the_change);
async fn long_values_are_cut_and_never_stop_the_change(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let columns: Vec<String> = (0..40).map(|n| format!("c{n} text")).collect();
    let place = Place::with(
        server,
        &format!(
            "CREATE TABLE wide (id text PRIMARY KEY, data bytea, doc json, {})",
            columns.join(", ")
        ),
    )
    .await;
    place.attach(&["wide"], AttachOptions::default()).await;
    let one = place
        .event("INSERT INTO wide (id, c0, c1) VALUES ('a', repeat('é', 40000), 'short')")
        .await;
    let cut = values(one.new_values.as_ref());
    assert_eq!(cut["c1"], "short");
    assert_eq!(cut["c0"]["$annals"]["kind"], "truncated");
    assert_eq!(cut["c0"]["$annals"]["length"], 80_000);
    assert_eq!(cut["c0"]["$annals"]["sha256"].as_str().unwrap().len(), 64);
    // Many that are long together; in JSON that PostgreSQL does not look into; a key.
    let sets: Vec<String> =
        (0..40).map(|n| format!("c{n} = repeat('{}', 60000)", n % 10)).collect();
    let many = place.event(&format!("UPDATE wide SET {}", sets.join(", "))).await;
    assert_eq!(values(many.new_values.as_ref())["c39"]["$annals"]["length"], 60_002);
    let odd = place.event(r#"UPDATE wide SET doc = '{"x":"\u0000"}', c0 = repeat('x', 60000), c1 = 'y', c2 = 'z', c3 = 'w', c4 = 'v', data = decode(repeat('ff', 200000), 'hex')"#).await;
    assert_eq!(values(odd.new_values.as_ref())["data"]["$annals"]["length"], 200_000);
    let key = place.event("INSERT INTO wide (id) VALUES (repeat('k', 2000))").await;
    assert!(key.entity.id.unwrap().len() <= 255);
    // 200 MB, which JSON would make longer.
    let huge =
        place.event("INSERT INTO wide (id, c0) VALUES ('huge', repeat(E'\\x01', 200000000))").await;
    assert_eq!(values(huge.new_values.as_ref())["c0"]["$annals"]["length"], 200_000_000);
    if is_full() {
        let insert = "INSERT INTO wide (id, c0) VALUES ('more', repeat('x', 1000000000))";
        let text = place.event(insert).await;
        assert_eq!(values(text.new_values.as_ref())["c0"]["$annals"]["length"], 1_000_000_000);
        // Bytes of which a text would be longer than any text may be.
        let insert = "INSERT INTO wide (id, data) VALUES ('bytes', repeat('x', 600000000)::bytea)";
        let bytes = place.event(insert).await;
        assert_eq!(values(bytes.new_values.as_ref())["data"]["$annals"]["length"], 600_000_000);
    }
}

on_each_release!(partitions_and_truncation_tell_once);
async fn partitions_and_truncation_tell_once(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let place = Place::with(
        server,
        "CREATE TABLE visit (day date, n int, note text, PRIMARY KEY (day, n)) PARTITION BY RANGE (day);
         CREATE TABLE visit_1 PARTITION OF visit FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
         CREATE TABLE visit_2 (note text, n int NOT NULL, day date NOT NULL);
         ALTER TABLE visit ATTACH PARTITION visit_2 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')",
    )
    .await;
    place.attach(&["visit"], AttachOptions::default()).await;
    place.run("INSERT INTO visit VALUES ('2026-01-05', 1, 'a'), ('2026-02-05', 2, 'b,%')").await;
    place.run("INSERT INTO visit_2 VALUES ('direct', 3, '2026-02-06')").await;
    place.run("UPDATE visit SET day = '2026-02-07' WHERE n = 1").await;
    let named: Vec<_> = place.events().await.iter().map(named).collect();
    let expected = [
        ("created", "2026-01-05,1"),
        ("created", "2026-02-05,2"),
        ("created", "2026-02-06,3"),
        ("created", "2026-02-07,1"),
        ("deleted", "2026-01-05,1"),
    ];
    let expected: BTreeSet<_> = expected
        .iter()
        .map(|(action, id)| ((*action).to_owned(), "visit".to_owned(), (*id).to_owned()))
        .collect();
    assert_eq!(named.into_iter().collect::<BTreeSet<_>>(), expected);
    let whole = place.event("TRUNCATE visit").await;
    assert_eq!((&*whole.action, whole.entity.id), ("truncated", None));
    let part = place.event("TRUNCATE visit_1").await;
    assert_eq!(values(part.metadata.as_ref())["table"], "public.visit_1");
}

on_each_release!(what_cannot_be_attached_is_refused_with_the_reason);
async fn what_cannot_be_attached_is_refused_with_the_reason(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let place = Place::with(
        server,
        "CREATE TABLE keyless (a int); CREATE TABLE almost (a int UNIQUE); CREATE VIEW seen AS SELECT 1 AS a;
         CREATE TABLE fine (id int PRIMARY KEY, a int); CREATE TABLE \"Quoted:Name\" (id int NOT NULL UNIQUE)",
    )
    .await;
    let refused = async |table: &str, options: AttachOptions| {
        let error =
            attach(&place.url, &["fine".to_owned(), table.to_owned()], &options, Mode::Apply).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
        assert!(error.advice().is_some(), "{error}");
        error.to_string()
    };
    let plain = AttachOptions::default;
    assert!(refused("keyless", plain()).await.contains("no primary key"));
    assert!(refused("almost", plain()).await.contains("no primary key"));
    assert!(refused("seen", plain()).await.contains("not a table"));
    assert!(refused("nothing", plain()).await.contains("no such table"));
    assert!(refused("annals_queue", plain()).await.contains("belongs to annals"));
    assert!(refused("Quoted:Name", plain()).await.contains("entity type"));
    let exclude = |column: &str| AttachOptions { exclude: vec![column.to_owned()], ..plain() };
    assert!(refused("fine", exclude("b")).await.contains("no column b"));
    assert!(refused("fine", exclude("id")).await.contains("in the key"));
    // All or none.
    assert_eq!(attached(&place.url).await.unwrap(), []);
    let shown = attach(&place.url, &["fine".to_owned()], &plain(), Mode::DryRun).await.unwrap();
    assert!(shown.iter().any(|sql| sql.starts_with("CREATE TRIGGER")), "{shown:?}");
    assert_eq!(attached(&place.url).await.unwrap(), []);

    let only = AttachOptions {
        entity_type: Some("goods".to_owned()),
        operations: vec![Operation::Update],
        ..plain()
    };
    place.attach(&["fine"], only.clone()).await;
    place
        .attach(
            &["\"Quoted:Name\""],
            AttachOptions { entity_type: Some("q".to_owned()), ..plain() },
        )
        .await;
    place.run("INSERT INTO fine VALUES (1, 1)").await;
    assert!(place.events().await.is_empty());
    let event = place.event("UPDATE fine SET a = 2").await;
    assert_eq!(named(&event), ("updated".into(), "goods".into(), "1".into()));
    detach(&place.url, &["fine".to_owned()], Mode::Apply).await.unwrap();
    place.run("UPDATE fine SET a = 3").await;
    assert!(place.events().await.is_empty());
    let twice = detach(&place.url, &["fine".to_owned()], Mode::Apply).await.unwrap_err();
    assert!(twice.to_string().contains("not attached"), "{twice}");
}

/// Tables of a shop, and a witness of the usual kind: a trigger a row.
const SHOP: &str = "
    CREATE TYPE state AS ENUM ('new', 'paid', 'sent');
    CREATE TABLE product (id int PRIMARY KEY, name text, price numeric(10,2), tags text[], attrs jsonb, changed timestamptz);
    CREATE TABLE purchase (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state state NOT NULL DEFAULT 'new', note varchar(40));
    CREATE TABLE line (purchase int, product int, quantity int, PRIMARY KEY (product, purchase));
    CREATE TABLE witness (n bigint GENERATED ALWAYS AS IDENTITY, kind text, action text, id text, old jsonb, new jsonb);
    CREATE FUNCTION key_of(kind text, r jsonb) RETURNS text LANGUAGE sql AS $$
        SELECT CASE kind WHEN 'line' THEN (r ->> 'product') || ',' || (r ->> 'purchase') ELSE r ->> 'id' END $$;
    CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE o jsonb := to_jsonb(old); n jsonb := to_jsonb(new); k text := tg_table_name;
    BEGIN
        IF tg_op = 'UPDATE' AND key_of(k, o) = key_of(k, n) THEN
            IF o::text IS DISTINCT FROM n::text THEN
                INSERT INTO witness (kind, action, id, old, new) VALUES (k, 'updated', key_of(k, n), o, n);
            END IF;
            RETURN NULL;
        END IF;
        -- Of a key that another row takes in the same statement both are one change.
        IF o IS NOT NULL THEN INSERT INTO witness (kind, action, id, old) VALUES (k, 'deleted', key_of(k, o), o); END IF;
        IF n IS NOT NULL THEN INSERT INTO witness (kind, action, id, new) VALUES (k, 'created', key_of(k, n), n); END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON product FOR EACH ROW EXECUTE FUNCTION see();
    CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON purchase FOR EACH ROW EXECUTE FUNCTION see();
    CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON line FOR EACH ROW EXECUTE FUNCTION see();";

/// Something that an application does.
fn statement(random: &mut Random) -> String {
    let (a, b) = (random.below(60), 1 + random.below(9));
    match random.below(17) {
        0 | 1 => format!("INSERT INTO product SELECT g, 'p' || g, g * 1.5, ARRAY['x', 'y{b}'], jsonb_build_object('n', g), now() FROM generate_series({a}, {a} + {b}) g ON CONFLICT DO NOTHING"),
        2 => format!("INSERT INTO product VALUES ({a}, 'up', 1, NULL, '{{}}') ON CONFLICT (id) DO UPDATE SET name = product.name || '{b}', price = EXCLUDED.price"),
        3 => format!("UPDATE product SET price = price + {b} WHERE id % {b} = 0"),
        4 => format!("UPDATE product SET attrs = attrs || '{{\"k{b}\": [{a}.50]}}' WHERE id > {a}"),
        5 => format!("UPDATE product SET name = name, price = price WHERE id < {a}"),
        6 => format!("UPDATE product SET id = id + 1000 WHERE id = {a} AND NOT EXISTS (SELECT FROM product WHERE id = {a} + 1000)"),
        7 => format!("DELETE FROM product WHERE id % 11 = {b}"),
        8 | 9 => format!("INSERT INTO purchase (note) SELECT repeat('n', {b}) FROM generate_series(1, {b})"),
        10 => "UPDATE purchase SET state = CASE state WHEN 'new' THEN 'paid'::state ELSE 'sent' END WHERE id % 3 = 0".to_owned(),
        11 => format!("INSERT INTO line SELECT p.id, q.id, {b} FROM (SELECT id FROM purchase ORDER BY id DESC LIMIT 3) p, (SELECT id FROM product ORDER BY id LIMIT {b}) q ON CONFLICT DO NOTHING"),
        12 => format!("WITH gone AS (DELETE FROM line WHERE product % 7 = {b} RETURNING *) UPDATE purchase SET note = 'shorter' WHERE id IN (SELECT purchase FROM gone)"),
        13 => format!("UPDATE line SET quantity = {b} WHERE purchase % 2 = 0"),
        14 => format!("UPDATE product SET changed = 'infinity', tags = array_append(tags, 'é\"{b}') WHERE id BETWEEN {a} AND {a} + {b}"),
        15 => format!("DELETE FROM purchase WHERE id = (SELECT min(id) FROM purchase) AND {b} > 3"),
        _ => format!("MERGE INTO product p USING generate_series({a}, {a} + 3) s (id) ON p.id = s.id WHEN MATCHED AND p.id % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET price = {b} WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, 'merged')"),
    }
}

on_each_release!(every_change_of_a_random_workload_has_exactly_its_event);
async fn every_change_of_a_random_workload_has_exactly_its_event(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let place = Place::with(server, SHOP).await;
    let tables = ["product", "purchase", "line"];
    place.attach(&tables, AttachOptions::default()).await;
    let merge = server.version() >= 15;
    let mut random = Random::seeded(11);
    for _ in 0..250 {
        let mut tx = place.pool.begin().await.unwrap();
        for _ in 0..=random.below(3) {
            let sql = statement(&mut random);
            if sql.starts_with("MERGE") && !merge {
                continue;
            }
            let undone = random.one_in(5);
            if undone {
                tx.execute("SAVEPOINT s").await.unwrap();
            }
            tx.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
            if undone {
                tx.execute("ROLLBACK TO s").await.unwrap();
            }
        }
        if random.one_in(4) {
            tx.rollback().await.unwrap();
        } else {
            tx.commit().await.unwrap();
        }
    }
    let events = place.events().await;

    // Each that the witness saw, no other, with the values that changed.
    let mut seen: BTreeMap<_, Vec<_>> = BTreeMap::new();
    type Row = (String, String, String, Option<String>, Option<String>);
    let rows: Vec<Row> =
        sqlx::query_as("SELECT action, kind, id, old::text, new::text FROM witness ORDER BY n")
            .fetch_all(&place.pool)
            .await
            .unwrap();
    for (action, kind, id, old, new) in rows {
        let object = |text: Option<String>| -> Map<String, Value> {
            text.map_or_else(Map::new, |text| serde_json::from_str(&text).unwrap())
        };
        let (mut old, mut new) = (object(old), object(new));
        if action == "updated" {
            let same: Vec<String> = old
                .iter()
                .filter(|(key, value)| new.get(*key) == Some(value))
                .map(|(key, _)| key.clone())
                .collect();
            for key in same {
                old.remove(&key);
                new.remove(&key);
            }
        }
        seen.entry((action, kind, id)).or_default().push((Value::Object(old), Value::Object(new)));
    }
    let mut told: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in &events {
        let or_empty = |value: Value| if value.is_null() { json!({}) } else { value };
        let change = (
            or_empty(values(event.old_values.as_ref())),
            or_empty(values(event.new_values.as_ref())),
        );
        told.entry(named(event)).or_default().push(change);
    }
    assert!(events.len() > 1_000, "{} events", events.len());
    for (what, changes) in &seen {
        assert_eq!(told.get(what), Some(changes), "{what:?}");
    }
    assert_eq!(told.len(), seen.len());

    // Replayed, they make the tables.
    let mut replayed: BTreeMap<(String, String), Map<String, Value>> = BTreeMap::new();
    for event in &events {
        let (action, kind, id) = named(event);
        let entry = replayed.entry((kind, id));
        match (action.as_str(), values(event.new_values.as_ref())) {
            ("created", Value::Object(new)) => drop(entry.insert_entry(new)),
            ("updated", Value::Object(new)) => entry.or_default().extend(new),
            _ => drop(replayed.remove(&(
                event.entity.kind.to_string(),
                event.entity.id.clone().unwrap().to_string(),
            ))),
        }
    }
    let mut stands = BTreeMap::new();
    for table in tables {
        let rows: Vec<(String, String)> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT key_of('{table}', to_jsonb(t)), to_jsonb(t)::text FROM {table} t"
        )))
        .fetch_all(&place.pool)
        .await
        .unwrap();
        for (id, row) in rows {
            stands.insert((table.to_owned(), id), serde_json::from_str(&row).unwrap());
        }
    }
    assert!(stands.len() > 20, "{} rows", stands.len());
    assert_eq!(replayed, stands);
}
