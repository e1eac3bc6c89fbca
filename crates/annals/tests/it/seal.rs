//! Personal values: sealed before they are stored, and erased.

use std::sync::Arc;

use annals::attach::{AttachOptions, Mode, attach, attached, detach};
use annals::seal::{Declared, ERASED, MasterKey, Opened, Opener, Sealer, erase};
use annals::store::hold::{self, Scope};
use annals::store::{Appended, Record, Stored, Whose};
use annals::transport::memory::MemoryTransport;
use annals::transport::{Message, Transport};
use annals::worker::{Figures, Seal, Worker, WorkerOptions};
use annals::{ErrorKind, Event};
use serde_json::{Value, json};

use crate::proof::scene::{Database, Scene, on_each_database};

on_each_database! {
    what_is_personal_is_stored_sealed_and_opens_for_who_has_the_key
    a_redelivery_is_a_duplicate_even_after_an_erasure
    workers_that_race_for_a_subjects_first_key_agree
    what_comes_after_an_erasure_has_another_key_with_the_same_worker
    what_is_erased_reads_erased_and_every_proof_stays_right
    a_subject_that_is_held_is_not_erased
    erasing_while_events_come_in_loses_none
    personal_columns_of_attached_tables_are_stored_sealed
}

struct Sealing {
    scene: Scene,
    master: MasterKey,
    queue: Arc<MemoryTransport>,
}

impl Sealing {
    async fn set(database: Database) -> Option<Self> {
        let scene = Scene::set(database).await?;
        let master = MasterKey::generate().unwrap();
        Some(Self { scene, master, queue: Arc::new(MemoryTransport::new()) })
    }

    fn sealer(&self) -> Sealer {
        let declared = Declared::of(["customer.phone", "context.ip", "actor.name"]).unwrap();
        Sealer::new(Arc::clone(&self.scene.store), self.master.clone(), declared).unwrap()
    }

    async fn send(&self, events: &[Vec<u8>]) {
        let message = |body: &Vec<u8>| Message { id: id(body), body: body.clone() };
        self.queue.send(events.iter().map(message).collect()).await.unwrap();
    }

    async fn drain(&self) -> Figures {
        let worker = Worker::new(self.scene.store.clone(), draining())
            .transport(self.queue.clone())
            .sealer(Arc::new(self.sealer()));
        let gauge = worker.gauge();
        worker.run().await.unwrap();
        gauge.read()
    }

    async fn stored(&self) -> Vec<Stored> {
        self.scene.store.window(0, 1000).await.unwrap()
    }

    async fn opened(&self, stored: &[Stored]) -> Vec<Opened> {
        let opener = Opener::new(Arc::clone(&self.scene.store), self.master.clone()).unwrap();
        opener.open(stored).await.unwrap()
    }
}

fn draining() -> WorkerOptions {
    let mut options = WorkerOptions::default();
    options.drain = true;
    options
}

fn event(text: &Value) -> Vec<u8> {
    annals::event::accept(&text.to_string()).unwrap().event.encode().unwrap()
}

fn id(body: &[u8]) -> annals::EventId {
    Event::decode(body).unwrap().id
}

fn personal(value: &Value) -> Value {
    // In this order: what stands first is what a worker looks for.
    let text = format!(r#"{{"$annals":{{"kind":"personal","value":{value}}}}}"#);
    Value::from(text)
}

/// An event about `user:NUMBER`; its values are clear texts that hold `needle`.
fn about(number: usize, needle: &str) -> Vec<u8> {
    let text = json!({
        "action": "updated", "tenant": "acme", "subject": format!("user:{number}"),
        "entity": {"type": "customer", "id": "9"},
        "actor": {"type": "clerk", "id": "3", "name": format!("{needle} clerk")},
        "context": {"ip": format!("{needle} ip")},
        "old_values": {"email": "@1", "plan": "basic", "lines": [{"to": "@2"}]},
        "new_values": {"email": "@3", "plan": "gold", "phone": format!("{needle} phone")},
    });
    let mut text = text.to_string();
    for (place, value) in [("@1", "old"), ("@2", "line"), ("@3", "new")] {
        let value = personal(&json!(format!("{needle} {value}")));
        text = text.replace(&format!("\"{place}\""), value.as_str().unwrap());
    }
    annals::event::accept(&text).unwrap().event.encode().unwrap()
}

fn whose(subject: &str) -> Whose {
    Whose { tenant: "acme".to_owned(), subject: subject.to_owned() }
}

fn read(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

async fn what_is_personal_is_stored_sealed_and_opens_for_who_has_the_key(database: Database) {
    let Some(sealing) = Sealing::set(database).await else { return };
    let plain = event(&json!({"action": "paid", "entity": {"type": "order", "id": "1"}}));
    let nobody = r#"{"action":"x","entity":{"type":"t"},"new_values":{"a":{"$annals":{"kind":"personal","value":1}}}}"#;
    let nobody = annals::event::accept(nobody).unwrap().event.encode().unwrap();
    sealing.send(&[about(7, "needle"), plain.clone(), nobody]).await;
    let figures = sealing.drain().await;
    assert_eq!((figures.stored, figures.failed), (2, 1), "one is about nobody");
    let buried = sealing.queue.buried(None, 10).await.unwrap();
    assert!(buried[0].reason.contains("neither a subject nor an entity's id"), "{buried:?}");

    let stored = sealing.stored().await;
    let text = String::from_utf8(stored[0].body.clone()).unwrap();
    assert!(!text.contains("needle"), "{text}");
    let shut = read(&stored[0].body);
    assert_eq!(shut["new_values"]["plan"], "gold");
    assert_eq!(shut["new_values"]["email"]["$annals"]["kind"], "sealed");
    assert_eq!(stored[1].body, plain, "what is not personal is left to the byte");

    let opened = sealing.opened(&stored).await;
    let clear = read(&opened[0].body);
    assert_eq!(clear["old_values"]["email"], "needle old");
    assert_eq!(clear["old_values"]["lines"][0]["to"], "needle line");
    assert_eq!(
        clear["new_values"],
        json!({"email": "needle new", "plan": "gold", "phone": "needle phone"})
    );
    assert_eq!(
        (&clear["actor"]["name"], &clear["context"]["ip"]),
        (&json!("needle clerk"), &json!("needle ip"))
    );
    assert_eq!((opened[0].erased, opened[0].altered.len()), (0, 0));

    let other = MasterKey::generate().unwrap();
    let opener = Opener::new(Arc::clone(&sealing.scene.store), other).unwrap();
    assert_eq!(opener.open(&stored).await.unwrap_err().kind(), ErrorKind::Usage);

    // To another event, another tenant, another field; and with a bit turned.
    let moved = |from: &str, to: &str| {
        let mut copy = stored[0].clone();
        copy.body = text.replacen(from, to, 1).into_bytes();
        copy
    };
    let mut elsewhere = stored[0].clone();
    elsewhere.id = stored[1].id;
    let altered = [
        elsewhere,
        moved(r#""tenant":"acme""#, r#""tenant":"ecma""#),
        moved(r#""new_values":{"email""#, r#""new_values":{"other""#),
        moved(r#""text":""#, r#""text":"AAAA"#),
    ];
    let opened = sealing.opened(&altered).await;
    assert_eq!(opened[0].altered.len(), 6, "{opened:?}");
    assert_eq!(opened[1].altered.len(), 6);
    assert_eq!(opened[2].altered, ["/new_values/other"]);
    assert_eq!(opened[3].altered.len(), 1);
}

async fn a_redelivery_is_a_duplicate_even_after_an_erasure(database: Database) {
    let Some(sealing) = Sealing::set(database).await else { return };
    let event = about(7, "needle");
    sealing.send(std::slice::from_ref(&event)).await;
    assert_eq!(sealing.drain().await.stored, 1);
    sealing.send(std::slice::from_ref(&event)).await;
    let again = sealing.drain().await;
    assert_eq!((again.duplicates, again.failed), (1, 0));

    erase(&*sealing.scene.store, &whose("user:7"), "asked", None).await.unwrap().unwrap();
    sealing.send(std::slice::from_ref(&event)).await;
    let again = sealing.drain().await;
    assert_eq!((again.duplicates, again.failed), (1, 0), "no clear text goes to failed");
    // Other bytes are a conflict still.
    let other = String::from_utf8(event).unwrap().replace("gold", "iron").into_bytes();
    sealing.send(&[other]).await;
    assert_eq!(sealing.drain().await.failed, 1);
}

async fn what_comes_after_an_erasure_has_another_key_with_the_same_worker(database: Database) {
    let Some(sealing) = Sealing::set(database).await else { return };
    let sealer = sealing.sealer();
    let mut all = Vec::new();
    // The second time the keys are known, and one of them is destroyed before the third.
    for round in 0..4 {
        if round == 2 {
            let erased = erase(&*sealing.scene.store, &whose("user:7"), "asked", None).await;
            assert_eq!(erased.unwrap().unwrap().keys, 1);
        }
        let batch = [7, 8, 7].map(|number| Record::decode(about(number, "needle")).unwrap());
        let sealed = sealer.seal(Arc::from(batch)).await.unwrap();
        all.extend(sealed.into_iter().map(|sealed| sealed.unwrap().unwrap()));
    }
    sealing.scene.store.append(all.into()).await.unwrap();
    let mut stored = sealing.stored().await;
    stored.retain(|one| one.event().unwrap().action == "updated");
    let opened = sealing.opened(&stored).await;
    let erased: Vec<bool> = opened.iter().map(|one| one.erased > 0).collect();
    let (gone, there) = (true, false);
    assert_eq!(
        erased,
        [gone, there, gone, gone, there, gone, there, there, there, there, there, there]
    );
    assert!(opened.iter().all(|one| one.altered.is_empty()));
}

async fn workers_that_race_for_a_subjects_first_key_agree(database: Database) {
    let Some(sealing) = Sealing::set(database).await else { return };
    let sealers: Vec<Sealer> = (0..4).map(|_| sealing.sealer()).collect();
    let batch = |_| -> Vec<Record> {
        (0..20).map(|number| Record::decode(about(number, "needle")).unwrap()).collect()
    };
    let (one, two, three, four) = tokio::join!(
        sealers[0].seal(batch(0).into()),
        sealers[1].seal(batch(1).into()),
        sealers[2].seal(batch(2).into()),
        sealers[3].seal(batch(3).into()),
    );
    let all = [one, two, three, four].into_iter().flat_map(Result::unwrap);
    let all: Vec<Record> = all.map(|sealed| sealed.unwrap().unwrap()).collect();
    let subjects: Vec<Whose> = (0..20).map(|number| whose(&format!("user:{number}"))).collect();
    let live = sealing.scene.store.vault().unwrap().live(subjects).await.unwrap();
    assert_eq!(live.len(), 20);
    let appended = sealing.scene.store.append(all.into()).await.unwrap();
    assert!(appended.iter().all(|one| matches!(one, Appended::Inserted(_))));
    let opened = sealing.opened(&sealing.stored().await).await;
    assert_eq!(opened.len(), 80);
    assert!(opened.iter().all(|one| one.altered.is_empty() && one.erased == 0));
}

async fn what_is_erased_reads_erased_and_every_proof_stays_right(database: Database) {
    let Some(sealing) = Sealing::set(database).await else { return };
    let store = &sealing.scene.store;
    sealing.send(&[about(7, "needle"), about(8, "other")]).await;
    sealing.drain().await;
    sealing.scene.signer().sign().await.unwrap().unwrap();
    let nobody = erase(&**store, &whose("user:9"), "asked", None).await.unwrap();
    assert_eq!(nobody, None, "nothing is sealed for them");
    let key = store.vault().unwrap().live(vec![whose("user:7")]).await.unwrap().remove(0);
    let erased = erase(&**store, &whose("user:7"), "asked by letter", None).await.unwrap().unwrap();
    assert_eq!(erased.keys, 1);
    assert_eq!(erase(&**store, &whose("user:7"), "again", None).await.unwrap(), None);
    let left = store.vault().unwrap().with_ids(vec![key.id]).await.unwrap().remove(0);
    assert!(left.wrapped.is_none() && left.erased_at.is_some());

    sealing.send(&[about(7, "later")]).await;
    assert_eq!(sealing.drain().await.stored, 1);
    let stored = sealing.stored().await;
    let opened = sealing.opened(&stored).await;
    let gone = read(&opened[0].body);
    let mark = json!({"$annals": {"kind": "erased"}});
    assert_eq!((&gone["old_values"]["email"], &gone["new_values"]["phone"]), (&mark, &mark));
    assert_eq!(gone["actor"]["name"], "needle clerk", "who acted is another subject");
    assert_eq!((opened[0].erased, opened[0].altered.len()), (4, 0));
    assert_eq!(read(&opened[1].body)["new_values"]["email"], "other new");
    assert_eq!(read(&opened[3].body)["new_values"]["email"], "later new", "under another key");
    let told = stored[2].event().unwrap();
    assert_eq!((&*told.action, told.subject.as_deref()), (ERASED, Some("user:7")));
    assert_eq!(told.reason.as_deref(), Some("asked by letter"));

    sealing.scene.signer().sign().await.unwrap().unwrap();
    let report = sealing.scene.verify().await;
    assert_eq!((report.findings, report.signed), (vec![], Some(4)));
}

async fn a_subject_that_is_held_is_not_erased(database: Database) {
    let Some(sealing) = Sealing::set(database).await else { return };
    let store = &sealing.scene.store;
    sealing.send(&[about(7, "needle"), about(8, "other")]).await;
    sealing.drain().await;
    let event = sealing.stored().await[0].event().unwrap();
    let scope = Scope { entity: Some(event.entity), ..Scope::default() };
    let held = hold::place(&**store, scope, "a case", None).await.unwrap();
    let refused = erase(&**store, &whose("user:7"), "asked", None).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Usage);
    assert!(refused.to_string().contains(&held.id.to_string()), "{refused}");
    let opened = sealing.opened(&sealing.stored().await[..1]).await;
    assert_eq!(opened[0].erased, 0);
    hold::release(&**store, held.id, "closed", None).await.unwrap();
    assert!(erase(&**store, &whose("user:7"), "asked", None).await.unwrap().is_some());
}

async fn erasing_while_events_come_in_loses_none(database: Database) {
    let Some(sealing) = Sealing::set(database).await else { return };
    let (store, user) = (&sealing.scene.store, whose("user:7"));
    let sent = async {
        for round in 0..20 {
            let events: Vec<Vec<u8>> = (0..5).map(|_| about(7, &format!("{round}"))).collect();
            sealing.send(&events).await;
            assert_eq!(sealing.drain().await.failed, 0);
        }
    };
    let erased = async {
        for _ in 0..10 {
            erase(&**store, &user, "asked", None).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(sent, erased);
    let stored = sealing.stored().await;
    let events = stored.iter().filter(|one| one.event().unwrap().action == "updated").count();
    assert_eq!(events, 100);
    let opened = sealing.opened(&stored).await;
    assert!(opened.iter().all(|one| one.altered.is_empty()), "each opens, or is erased");
    assert_eq!(sealing.scene.verify().await.findings, []);
}

#[tokio::test]
async fn without_a_master_key_nothing_personal_is_stored() {
    let Some(sealing) = Sealing::set(Database::Sqlite).await else { return };
    sealing.send(&[about(7, "needle")]).await;
    let worker =
        Worker::new(sealing.scene.store.clone(), draining()).transport(sealing.queue.clone());
    worker.run().await.unwrap();
    assert!(sealing.stored().await.is_empty());
    let buried = sealing.queue.buried(None, 10).await.unwrap();
    assert!(buried[0].reason.contains("no master key"), "{buried:?}");
}

#[tokio::test]
async fn a_command_may_wrap_the_keys() {
    let Some(mut sealing) = Sealing::set(Database::Sqlite).await else { return };
    // What it prints is not what it got: each byte is another.
    let turn = r"tr '\000-\177\200-\377' '\200-\377\000-\177'";
    let command = format!("turn() {{ base64 -d | {turn} | base64 -w0; }}; turn");
    sealing.master = MasterKey::from_command(command);
    sealing.send(&[about(7, "needle")]).await;
    assert_eq!(sealing.drain().await.stored, 1);
    let opened = sealing.opened(&sealing.stored().await).await;
    assert_eq!(read(&opened[0].body)["new_values"]["email"], "needle new");
    sealing.master = MasterKey::from_command("false #");
    let opener = Opener::new(Arc::clone(&sealing.scene.store), sealing.master.clone()).unwrap();
    let error = opener.open(&sealing.stored().await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Away, "{error}");
}

#[cfg(feature = "derive")]
#[test]
fn a_field_that_is_derived_personal_is_marked() {
    #[derive(annals::Auditable)]
    struct Customer {
        #[auditable(id)]
        id: i64,
        #[auditable(personal)]
        email: &'static str,
        plan: &'static str,
    }
    let customer = |email, plan| Customer { id: 9, email, plan };
    let event = Event::updated(&customer("a", "x"), &customer("b\"", "y")).unwrap().unwrap();
    let marked = |value: &str| format!(r#"{{"$annals":{{"kind":"personal","value":{value}}}}}"#);
    let values = |email, plan| format!(r#"{{"email":{},"plan":"{plan}"}}"#, marked(email));
    assert_eq!(event.old_values.as_ref().unwrap().as_str(), values(r#""a""#, "x"));
    assert_eq!(event.new_values.as_ref().unwrap().as_str(), values(r#""b\"""#, "y"));
    let same = Event::updated(&customer("a", "x"), &customer("a", "y")).unwrap().unwrap();
    assert_eq!(same.changed_fields(), ["plan"]);
}

#[test]
fn nobody_sends_sealed_or_erased_values() {
    for mark in [
        r#"{"$annals":{"kind":"sealed","key":"","nonce":"","text":""}}"#,
        r#"{"$annals":{"kind":"erased"}}"#,
        r#"{"$annals":{"value":1,"kind":"personal"}}"#,
        r#"{"$annals":{"kind":"personal"}}"#,
    ] {
        let event =
            format!(r#"{{"action":"x","entity":{{"type":"t"}},"new_values":{{"a":{mark}}}}}"#);
        let fault = annals::event::accept(&event).unwrap_err();
        assert!(fault.to_string().contains("reserved for the marks"), "{mark}: {fault}");
    }
}

#[test]
fn a_master_key_is_its_owners_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys/master.key");
    assert_eq!(MasterKey::from_file(&path, false).unwrap_err().kind(), ErrorKind::Usage);
    let made = MasterKey::from_file(&path, true).unwrap().to_secret_text();
    assert_eq!(MasterKey::from_file(&path, true).unwrap().to_secret_text(), made);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = MasterKey::from_file(&path, true).unwrap_err();
        assert!(error.to_string().contains("others may read it"), "{error}");
    }
}

/// Columns of attached tables that are personal wait in the queue in clear and are stored
/// sealed, whatever they hold.
async fn personal_columns_of_attached_tables_are_stored_sealed(database: Database) {
    let Some(sealing) = Sealing::set(database).await else { return };
    let scene = &sealing.scene;
    // SQLite's queue and store have files of their own.
    let url = match database {
        Database::Sqlite => {
            let path = scene.directory.path().join("shop.db");
            let shop = rusqlite::Connection::open(&path).unwrap();
            shop.execute_batch(
                "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, plan TEXT)",
            )
            .unwrap();
            format!("sqlite:{}", path.display())
        }
        _ => {
            scene.sql("CREATE TABLE users (id INT PRIMARY KEY, email TEXT, plan TEXT)");
            scene.url.clone()
        }
    };
    let run = |sql: &str| match database {
        Database::Sqlite => {
            let shop = rusqlite::Connection::open(url.strip_prefix("sqlite:").unwrap()).unwrap();
            shop.execute_batch(sql).unwrap();
        }
        _ => drop(scene.sql(sql)),
    };
    // What an earlier version has made is brought up to date.
    match database {
        Database::Sqlite => run(include_str!("../../migrations/sqlite/capture_1.sql")),
        Database::Postgres => run(concat!(
            include_str!("../../migrations/postgres/queue_1.sql"),
            include_str!("../../migrations/postgres/capture_1.sql")
        )),
        // Its procedures cannot be sent as one text: what version 2 added is taken away.
        Database::Mariadb => {
            let table = ["users".to_owned()];
            attach(&url, &table, &AttachOptions::default(), Mode::Apply).await.unwrap();
            detach(&url, &table, Mode::Apply).await.unwrap();
            run("ALTER TABLE annals_attached DROP COLUMN personal");
            run("UPDATE annals_capture_head SET version = 1");
        }
    }
    assert!(attached(&url).await.unwrap().is_empty());
    let personal = |column: &str| AttachOptions {
        personal: vec![column.to_owned()],
        ..AttachOptions::default()
    };
    let options = personal("email");
    attach(&url, &["users".to_owned()], &options, Mode::Apply).await.unwrap();
    let attached = attached(&url).await.unwrap();
    assert_eq!((&*attached[0].personal, attached[0].current), (&["email".to_owned()][..], true));
    let key = attach(&url, &["users".to_owned()], &personal("id"), Mode::Apply).await.unwrap_err();
    assert!(key.to_string().contains("in the key"), "{key}");

    run("INSERT INTO users VALUES (1, 'needle@\"example', 'basic'), (2, NULL, 'basic')");
    let long = "needle ".repeat(8_000);
    run(&format!("UPDATE users SET email = '{long}' WHERE id = 1"));
    run("UPDATE users SET plan = 'gold' WHERE id = 2");
    run("DELETE FROM users WHERE id = 2");
    let queue = annals::transport::open(&url).await.unwrap();
    let worker = Worker::new(scene.store.clone(), draining())
        .transport(queue)
        .sealer(Arc::new(sealing.sealer()));
    let gauge = worker.gauge();
    worker.run().await.unwrap();
    assert_eq!((gauge.read().stored, gauge.read().failed), (5, 0));

    let stored = sealing.stored().await;
    let clear: Vec<Value> =
        sealing.opened(&stored).await.iter().map(|opened| read(&opened.body)).collect();
    for stored in &stored {
        let text = String::from_utf8(stored.body.clone()).unwrap();
        assert!(!text.contains("needle") && !text.contains("personal"), "{text}");
    }
    let find = |action: &str, id: &str| {
        let event = clear.iter().find(|one| one["action"] == action && one["entity"]["id"] == id);
        event.unwrap_or_else(|| panic!("{action} {id}: {clear:?}"))
    };
    assert_eq!(find("created", "1")["new_values"]["email"], "needle@\"example");
    assert_eq!(find("created", "2")["new_values"]["email"], Value::Null);
    assert_eq!(find("updated", "1")["new_values"], json!({"email": long}));
    assert_eq!(find("updated", "2")["old_values"], json!({"plan": "basic"}));
    assert_eq!(find("deleted", "2")["old_values"]["email"], Value::Null);
    // Without a key to be sealed under, the worker keeps its hands off.
    erase(
        &*scene.store,
        &Whose { tenant: String::new(), subject: "users:1".to_owned() },
        "asked",
        None,
    )
    .await
    .unwrap();
    let clear = sealing.opened(&stored).await;
    assert!(clear.iter().any(|opened| opened.erased > 0));
}
