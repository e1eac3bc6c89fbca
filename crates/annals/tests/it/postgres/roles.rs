//! Each role may do its work, and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use annals::conformance::records;
use annals::query::{Filter, Query, Tenants};
use annals::retention::{Apply, Keep, Policy, Rule, apply};
use annals::rollup::{Counting, Dimension, Roller, count};
use annals::store::postgres::PostgresStore;
use annals::store::{Appended, Appender, Prune, Record, Store, prune, seen_by};
use annals::transport::postgres::PostgresTransport;
use annals::transport::{Message, Transport, Want};
use annals::{Entity, Event, Timestamp, roles};
use annals_testbed::postgres::{Postgres, Release};
use annals_testbed::required;
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Executor};

use crate::check::check;

/// A server of its own, since roles are the whole server's; the URL of each role.
async fn place(release: Release) -> Option<(Postgres, String, impl Fn(&str) -> String)> {
    let server = required(release.start(&[]))?;
    let owner = server.database();
    let queue = PostgresTransport::open(&owner).await.unwrap();
    let store = PostgresStore::open(&owner).await.unwrap();
    queue.stats().await.unwrap();
    store.append(records(0..5).unwrap().into()).await.unwrap();
    roles::make(&owner).await.unwrap();
    roles::make(&owner).await.unwrap();
    for (role, _) in roles::ROLES {
        let sql = format!("CREATE ROLE a_{role} LOGIN IN ROLE {role}");
        server.sql("postgres", &sql);
    }
    let url = owner.clone();
    Some((server, owner, move |role: &str| url.replace("postgres@", &format!("a_annals_{role}@"))))
}

/// Sees to it that each statement is refused for lack of a right.
async fn denied(url: &str, statements: &[&str]) {
    let pool = PgPool::connect(url).await.unwrap();
    for statement in statements {
        let error = pool.execute(AssertSqlSafe((*statement).to_owned())).await.unwrap_err();
        let code = error.as_database_error().and_then(|error| error.code()).unwrap().into_owned();
        assert_eq!(code, "42501", "{statement}: {error}");
    }
}

/// What nobody but the owner may do, whatever the role.
const NOBODY: &[&str] = &[
    "UPDATE annals_events SET body = '{}'",
    "DELETE FROM annals_events",
    "TRUNCATE annals_events",
    "DELETE FROM annals_events_default",
    "UPDATE annals_appends SET first = 0",
    "DELETE FROM annals_appends",
    "UPDATE annals_log_head SET size = 0",
    "UPDATE annals_log_tiles SET hashes = ''",
    "INSERT INTO annals_log_tiles VALUES (0, 0, '')",
    "DELETE FROM annals_tombstones",
    "INSERT INTO annals_tombstones VALUES (gen_random_uuid(), 0, '')",
    "UPDATE annals_partitions SET dropped_at = now()",
    "UPDATE annals_store_meta SET value = ''",
    "DROP TABLE annals_events_default",
    "ALTER TABLE annals_events DISABLE TRIGGER ALL",
    "UPDATE annals_queue SET body = ''",
    "CREATE TABLE annals_mine (a int)",
    "CREATE OR REPLACE FUNCTION annals_json(body text) RETURNS json LANGUAGE sql AS 'SELECT NULL::json'",
];

const READING: &[&str] = &[
    "SELECT body FROM annals_events",
    "SELECT * FROM annals_trail",
    "SELECT body FROM annals_queue",
];

on_each_release!(each_role_may_do_its_work_and_nothing_else);
async fn each_role_may_do_its_work_and_nothing_else(release: Release) {
    let Some((_server, owner, url)) = place(release).await else { return };
    let message = || {
        let event = Event::new("seen", Entity::of_type("page"));
        [Message { id: event.id, body: event.encode().unwrap() }]
    };

    let enqueue = url("enqueue");
    let queue = PostgresTransport::open(&enqueue).await.unwrap();
    queue.send(message().into()).await.unwrap();
    let pool = PgPool::connect(&enqueue).await.unwrap();
    pool.execute(r#"SELECT annals_record('{"action":"a","entity":{"type":"b"}}')"#).await.unwrap();
    denied(&enqueue, NOBODY).await;
    denied(&enqueue, READING).await;
    denied(
        &enqueue,
        &["DELETE FROM annals_queue", "SELECT * FROM annals_partition_of(gen_random_uuid())"],
    )
    .await;

    let work = url("work");
    let queue = PostgresTransport::open(&work).await.unwrap();
    let got = queue.receive(Want::up_to(10)).await.unwrap();
    assert_eq!(got.len(), 2);
    queue.bury(&[(got[0].receipt, "why".to_owned())]).await.unwrap();
    queue.revive(annals::transport::Which::All).await.unwrap();
    queue.ack(&[got[1].receipt]).await.unwrap();
    let store = PostgresStore::open(&work).await.unwrap();
    let mut batch = records(3..8).unwrap();
    // Into a month that has no partition yet, and that only a function may make.
    let long_ago = Timestamp::now().before(std::time::Duration::from_secs(100 * 86_400));
    let event = Event::new("seen", Entity::of_type("page")).occurred_at(long_ago);
    batch.push(annals::store::Record::decode(event.encode().unwrap()).unwrap());
    let answers = store.append(batch.into()).await.unwrap();
    assert!(answers.iter().all(|answer| matches!(answer, Appended::Inserted(_))), "{answers:?}");
    denied(&work, NOBODY).await;
    denied(
        &work,
        &[
            "SELECT * FROM annals_prune(now(), 100, 10)",
            "SELECT * FROM annals_prune_partition(now(), 100)",
            "SELECT * FROM annals_prune_month('annals_events_default', 100)",
            "SELECT * FROM annals_prune_events(ARRAY[gen_random_uuid()])",
        ],
    )
    .await;
    // Nor is the log rewritten by the function that extends it.
    let pool = PgPool::connect(&work).await.unwrap();
    let forged = pool
        .execute("SELECT annals_log_extend(ARRAY[0]::int2[], ARRAY[0]::int8[], ARRAY[decode(repeat('00', 320), 'hex')])")
        .await;
    assert!(forged.unwrap_err().to_string().contains("would change"));

    let read = url("read");
    let store = PostgresStore::open_existing(&read).await.unwrap();
    assert_eq!(store.query(Query::newest(Filter::default())).await.unwrap().events.len(), 11);
    store.stats().await.unwrap();
    check(&read).await.unwrap();
    PgPool::connect(&read)
        .await
        .unwrap()
        .execute("SELECT event ->> 'action' FROM annals_trail")
        .await
        .unwrap();
    denied(&read, NOBODY).await;
    denied(
        &read,
        &[
            "INSERT INTO annals_queue (id, body) VALUES (gen_random_uuid(), '')",
            "DELETE FROM annals_queue",
            "SELECT nextval('annals_append_blocks')",
            "SELECT annals_log_extend(NULL, NULL, NULL)",
        ],
    )
    .await;

    own_rows(&read, &owner).await;

    // A server at which people sign in reads, and writes who may use it, and nothing else.
    let owner_of_all = PgPool::connect(&owner).await.unwrap();
    owner_of_all.execute("GRANT annals_read TO a_annals_admit").await.unwrap();
    denied(
        &read,
        &["INSERT INTO annals_access VALUES ('person', '1', 1, '{}', repeat('x', 32)::bytea)"],
    )
    .await;
    let admit = url("admit");
    let store = PostgresStore::open_existing(&admit).await.unwrap();
    let entry = annals::store::Entry {
        kind: "session".to_owned(),
        id: "1".to_owned(),
        revision: 0,
        body: "{}".to_owned(),
        mac: [1; 32],
    };
    let written = store.registry().unwrap().write(entry.clone()).await.unwrap().unwrap();
    let again = annals::store::Entry { revision: written, ..entry };
    assert!(store.registry().unwrap().write(again).await.unwrap() > Some(written));
    denied(&admit, NOBODY).await;
    denied(
        &admit,
        &[
            "DELETE FROM annals_access",
            "INSERT INTO annals_queue (id, body) VALUES (gen_random_uuid(), '')",
            "SELECT nextval('annals_append_blocks')",
        ],
    )
    .await;

    let pruner = url("prune");
    let store = PostgresStore::open(&pruner).await.unwrap();
    // By rules, of months that have tables of their own.
    let rule = |name: &str, days: u64, actions: &[&str]| Rule {
        name: name.to_owned(),
        actions: actions.iter().map(|action| (*action).to_owned()).collect(),
        keep: Keep::For(std::time::Duration::from_secs(days * 86_400)),
        ..Rule::default()
    };
    let policy = Policy::new(vec![rule("none", 1, &["login"]), rule("rest", 50, &[])]).unwrap();
    let applying = Apply::new(&policy);
    let applied = apply(&store, &applying, Timestamp::now(), |_| ()).await.unwrap();
    assert_eq!(applied[1].removed.events, 11);
    let months = store.retain().unwrap().months().await.unwrap();
    assert!(months.iter().all(|month| month.until > Timestamp::now()), "{months:?}");
    let pruned = prune(&store, &Prune::before(Timestamp::now()), |_| ()).await.unwrap();
    assert_eq!(pruned.removed.events, 4, "what came in meanwhile");
    check(&owner).await.unwrap();
    denied(&pruner, NOBODY).await;
    denied(&pruner, &["DELETE FROM annals_queue", "SELECT body FROM annals_queue"]).await;
}

/// Whatever a server asks for on behalf of somebody, the database hands out what that one may
/// see and nothing else.
async fn own_rows(read: &str, owner: &str) {
    let owned = PostgresStore::open(owner).await.unwrap();
    let at: Timestamp = Timestamp::now();
    let event = |tenant: Option<&str>, number: u64| {
        let event = Event::new("made", annals::Entity::new("secret", number)).occurred_at(at);
        match tenant {
            Some(tenant) => event.tenant(tenant.to_owned()),
            None => event,
        }
    };
    let names = [Some("acme"), Some("globex"), None, Some("o'neil, \"x\" \\")];
    let events: Vec<Event> =
        (0..).zip(names).map(|(number, tenant)| event(tenant, number)).collect();
    let record = |event: &Event| Record::decode(event.encode().unwrap()).unwrap();
    owned.append(events.iter().map(record).collect()).await.unwrap();
    let mut roller = Roller::new(Arc::new(PostgresStore::open(owner).await.unwrap())).unwrap();
    while roller.roll().await.unwrap() {}

    let store = PostgresStore::open_existing(read).await.unwrap();
    let secrets = |named: Option<&str>| Filter {
        entity: named.is_none().then(|| annals::Entity::new("secret", 1)),
        tenant: named.map(str::to_owned),
        ..Filter::default()
    };
    for seer in names.into_iter().flatten() {
        let only = || Tenants::Only(BTreeSet::from([seer.to_owned()]));
        for (event, tenant) in events.iter().zip(names) {
            let found = seen_by(only(), store.get(event.id)).await.unwrap();
            assert_eq!(found.is_some(), tenant == Some(seer), "{seer} of {tenant:?}");
            // As if the checks before it had let the wrong question through.
            let Some(tenant) = tenant else { continue };
            let page = seen_by(only(), store.query(Query::newest(secrets(Some(tenant)))));
            let found = page.await.unwrap().events.len();
            assert_eq!(found, usize::from(tenant == seer), "{seer} of {tenant}");
        }
        let page = seen_by(only(), store.query(Query::newest(secrets(None)))).await.unwrap();
        assert_eq!(page.events.len(), usize::from(seer == "globex"), "{seer} by entity");
        let counting =
            Counting { facets: vec![Dimension::Tenant], limit: 9, ..Counting::default() };
        let counts = seen_by(only(), count(&store, &counting)).await.unwrap();
        let values = &counts.facets[0].values;
        assert_eq!(values.len(), 1, "{seer}: {counts:?}");
        assert_eq!((values[0].value.as_deref(), values[0].events), (Some(seer), 1));
    }
    // For nobody in particular, and for whoever sees all, there is all.
    for tenants in [None, Some(Tenants::All)] {
        for event in &events {
            let found = match &tenants {
                None => store.get(event.id).await,
                Some(tenants) => seen_by(tenants.clone(), store.get(event.id)).await,
            };
            assert!(found.unwrap().is_some());
        }
    }
    // What was set for one statement is not set for the next.
    let nobody = Tenants::Only(BTreeSet::from(["nobody".to_owned()]));
    assert_eq!(seen_by(nobody, store.get(events[0].id)).await.unwrap(), None);
    assert!(store.get(events[0].id).await.unwrap().is_some());
    // Who owns the tables is not held by it.
    let nobody = Tenants::Only(BTreeSet::from(["nobody".to_owned()]));
    assert!(seen_by(nobody, owned.get(events[0].id)).await.unwrap().is_some());
}
