//! The transport, and what enqueues into it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use annals::conformance::transport::{CASES, TransportFactory};
use annals::store::postgres::PostgresStore;
use annals::transport::memory::MemoryTransport;
use annals::transport::postgres::{ENQUEUE, PostgresTransport};
use annals::transport::{Message, Transport, Want};
use annals::{Actor, Audit, AuditOptions, Entity, ErrorKind, Event, Scope};
use annals_testbed::outcome::{is_full, leave};
use annals_testbed::postgres::{Postgres, Release};
use annals_testbed::required;
use async_trait::async_trait;
use sqlx::postgres::PgPool;

pub(super) struct Place(pub(super) String);

#[async_trait]
impl TransportFactory for Place {
    async fn open(&self) -> Arc<dyn Transport> {
        Arc::new(PostgresTransport::open(&self.0).await.expect("open"))
    }
}

pub(super) fn batch(from: usize, count: usize) -> Arc<[Message]> {
    let message = |number| {
        let event = Event::new("updated", Entity::new("product", number));
        Message { id: event.id, body: event.encode().unwrap() }
    };
    (from..from + count).map(message).collect()
}

on_each_release!(postgres_conforms);
#[expect(clippy::print_stdout, reason = "names the case that fails")]
async fn postgres_conforms(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    for case in CASES {
        println!("postgres {}: {}", server.version(), case.name);
        (case.run)(&Place(server.database())).await;
    }
}

on_each_release!(the_tables_are_made_once_by_many_that_start_together);
async fn the_tables_are_made_once_by_many_that_start_together(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let url = server.database();
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { PostgresTransport::open(&url).await.map(drop) })
        })
        .collect();
    for opened in opening {
        opened.await.unwrap().unwrap();
    }
    let database = url.rsplit('/').next().unwrap();
    assert_eq!(server.sql(database, "SELECT count(*) FROM annals_queue_head"), "1");
    server.sql(database, "UPDATE annals_queue_head SET version = 99");
    let newer = PostgresTransport::open(&url).await.unwrap_err();
    assert_eq!(newer.kind(), ErrorKind::Usage);
    assert!(newer.to_string().contains("version 99") && newer.to_string().contains("newer Annals"));
}

on_each_release!(a_commit_brings_the_event_and_a_rollback_takes_it_along);
async fn a_commit_brings_the_event_and_a_rollback_takes_it_along(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let url = server.database();
    let audit = Audit::start(Arc::new(MemoryTransport::new()), AuditOptions::default()).unwrap();
    let application = PgPool::connect(&url).await.unwrap();
    let mut tx = application.begin().await.unwrap();
    let no_queue = audit.record_in(&mut *tx, Event::new("a", Entity::of_type("b"))).await;
    let no_queue = no_queue.unwrap_err();
    assert_eq!(no_queue.kind(), ErrorKind::Usage);
    assert!(no_queue.to_string().contains("annals migrate"), "{no_queue}");
    tx.rollback().await.unwrap();

    let queue = PostgresTransport::open(&url).await.unwrap();
    let mut kept = Vec::new();
    for number in 0..10 {
        let mut tx = application.begin().await.unwrap();
        let event = Event::new("updated", Entity::new("product", number));
        let scope = Scope::new().actor(Actor::user(7));
        let id = scope.around(audit.record_in(&mut *tx, event)).await.unwrap();
        if number % 3 == 0 {
            tx.rollback().await.unwrap();
        } else {
            tx.commit().await.unwrap();
            kept.push(id);
        }
    }
    // In a task of its own, as a server's handlers run.
    let (spawned, pool) = (audit.clone(), application.clone());
    let task = tokio::spawn(async move {
        let mut tx = pool.begin().await.unwrap();
        let event = Event::new("viewed", Entity::new("product", 7));
        let id = spawned.record_in(&mut tx, event).await.unwrap();
        tx.commit().await.unwrap();
        id
    });
    kept.push(task.await.unwrap());
    // With a driver of the application's own.
    let event = Event::new("deleted", Entity::new("product", 42));
    let prepared = audit.prepare(&event).unwrap();
    sqlx::query(ENQUEUE)
        .bind(prepared.id.as_bytes().to_vec())
        .bind(prepared.sent_at.as_micros())
        .bind(prepared.body)
        .execute(&application)
        .await
        .unwrap();
    kept.push(event.id);
    let got = queue.receive(Want::up_to(100)).await.unwrap();
    assert_eq!(got.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), kept);
    assert_eq!(Event::decode(&got[0].body).unwrap().actor, Some(Actor::user(7)));
    audit.shutdown(Duration::from_secs(5)).await.unwrap();
}

on_each_release!(a_waiting_worker_is_woken_by_another_process_and_a_busy_one_is_not);
async fn a_waiting_worker_is_woken_by_another_process_and_a_busy_one_is_not(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let url = server.database();
    let database = url.rsplit('/').next().unwrap();
    let (ours, theirs) = (
        PostgresTransport::open(&url).await.unwrap(),
        PostgresTransport::open(&url).await.unwrap(),
    );
    let known = "SELECT count(*) FROM annals_idle WHERE until > clock_timestamp()";
    let waiting = tokio::spawn(async move {
        let got = ours.receive(Want { wait: Duration::from_secs(20), ..Want::up_to(10) }).await;
        (ours, got.unwrap())
    });
    while server.sql(database, known) != "1" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    theirs.send(batch(0, 1)).await.unwrap();
    let (ours, got) = waiting.await.unwrap();
    assert_eq!(got.len(), 1);
    assert_eq!(server.sql(database, known), "0", "whoever has work is not to be notified");
    drop(ours);
}

on_each_release!(a_function_takes_events_as_json);
/// What any language can do: a statement in its own transaction.
async fn a_function_takes_events_as_json(release: Release) {
    let Some(server) = required(release.shared()) else { return };
    let url = server.database();
    let database = url.rsplit('/').next().unwrap();
    let queue = PostgresTransport::open(&url).await.unwrap();
    let own = Event::new("seen", Entity::of_type("page"));
    let own = own.encode().map(|bytes| (own.id, bytes)).unwrap();
    let label = server.sql(
        database,
        &format!(
            r#"
            BEGIN;
            SELECT annals_record('{{"action":"taken back","entity":{{"type":"order"}}}}');
            ROLLBACK;
            SELECT annals_record('{{"action":"paid", "entity":{{"type":"order","id":"42"}},
                "new_values":{{"note":"nul \u0000, pair \ud834\udd1e","total":1.50}}}}');
            SELECT annals_record('{{"action":"x","entity":{{"type":"y"}},"unheard_of":1}}');
            SELECT annals_record('{{"action":"imported","entity":{{"type":"order"}},"source_id":"7",
                "occurred_at":"2026-11-22T10:00:00Z"}}');
            SELECT annals_record('{}');
            "#,
            String::from_utf8(own.1.clone()).unwrap()
        ),
    );
    let labels: Vec<&str> = label.lines().collect();
    let mut given = Vec::new();
    // However often it is received, it is the same event.
    for _ in 0..2 {
        let (refused, got): (Vec<_>, Vec<_>) = queue
            .receive(Want::up_to(10))
            .await
            .unwrap()
            .into_iter()
            .partition(|delivery| delivery.refused.is_some());
        let reasons: Vec<&str> =
            refused.iter().filter_map(|delivery| delivery.refused.as_deref()).collect();
        assert_eq!(reasons.len(), 1);
        assert!(reasons[0].contains("unheard_of: unknown field"), "{reasons:?}");
        assert!(refused[0].body.starts_with(br#"{"action":"x""#), "as it was written");
        let events: Vec<Event> =
            got.iter().map(|delivery| Event::decode(&delivery.body).unwrap()).collect();
        assert!(got.iter().zip(&events).all(|(delivery, event)| delivery.id == event.id));
        let actions: Vec<&str> = events.iter().map(|event| &*event.action).collect();
        assert_eq!(actions, ["paid", "imported", "seen"]);
        assert_eq!(events[0].id.to_string(), labels[1]);
        let values = events[0].new_values.as_ref().unwrap();
        assert_eq!(values.as_str(), r#"{"note":"nul \u0000, pair \ud834\udd1e","total":1.50}"#);
        assert_eq!((got[2].id, &got[2].body), (own.0, &own.1), "the bytes that it had");
        given.push(got.iter().map(|one| (one.id, one.body.clone())).collect::<Vec<_>>());
        let receipts: Vec<_> =
            got.iter().chain(&refused).map(|delivery| delivery.receipt).collect();
        queue.release(&receipts).await.unwrap();
    }
    assert_eq!(given[0], given[1]);
    let bad = queue.receive(Want::up_to(10)).await.unwrap().swap_remove(1);
    queue.bury(&[(bad.receipt, "no event".to_owned())]).await.unwrap();
    assert_eq!(queue.revive(annals::transport::Which::All).await.unwrap(), 1);
    let again = queue.receive(Want::up_to(10)).await.unwrap();
    assert_eq!(again.len(), 1);
    assert!(again[0].refused.is_some(), "refused again, and not stored raw");

    for (wrong, what) in [
        ("'[]'", "expected a JSON object, found array"),
        ("NULL", "expected a JSON object, found NULL"),
        (r#"'{"action":"","entity":{}}'"#, "an event needs an action and an entity"),
        ("json_build_object('action', repeat('x', 2000000))", "over the limit of 1048576"),
    ] {
        let said = std::panic::catch_unwind(|| {
            server.sql(database, &format!("SELECT annals_record({wrong})"))
        });
        let said = said.unwrap_err().downcast::<String>().unwrap();
        assert!(said.contains(what), "{wrong}: {said}");
    }
}

/// Events go through at a steady rate: the tables do not grow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_steady_load_does_not_grow_the_tables() {
    const BATCH: usize = 500;
    let Some(server) = required(Postgres::start(&["autovacuum_naptime = 1s"])) else { return };
    let total = if is_full() { 1_000_000 } else { 50_000 };
    let queue = Arc::new(PostgresTransport::open(&server.database()).await.unwrap());
    let received = Arc::new(AtomicUsize::new(0));
    let receivers: Vec<_> = (0..2)
        .map(|_| {
            let (queue, received) = (Arc::clone(&queue), Arc::clone(&received));
            tokio::spawn(async move {
                while received.load(Ordering::SeqCst) < total {
                    let want = Want { wait: Duration::from_millis(50), ..Want::up_to(BATCH) };
                    let got = queue.receive(want).await.unwrap();
                    let receipts: Vec<_> = got.iter().map(|delivery| delivery.receipt).collect();
                    assert_eq!(queue.ack(&receipts).await.unwrap(), receipts.len());
                    received.fetch_add(receipts.len(), Ordering::SeqCst);
                }
            })
        })
        .collect();
    let (mut sent, mut sizes) = (0, Vec::new());
    while sent < total {
        queue.send(batch(sent, BATCH)).await.unwrap();
        sent += BATCH;
        if sent.is_multiple_of(total / 20) {
            sizes.push(queue.stats().await.unwrap().bytes.unwrap());
        }
        while sent - received.load(Ordering::SeqCst) > 10 * BATCH {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    for receiver in receivers {
        receiver.await.unwrap();
    }
    let largest = |sizes: &[u64]| sizes.iter().copied().max().unwrap();
    let (early, late) = (largest(&sizes[..10]), largest(&sizes[10..]));
    println!("{total} events; bytes of the tables: {sizes:?}");
    if is_full() {
        assert!(late < early * 3 / 2, "{sizes:?}");
        let outcome = format!(
            "{total} events through the queue; its tables had at most {:.1} MiB in the first half \
             and {:.1} MiB in the second",
            early as f64 / f64::from(1 << 20),
            late as f64 / f64::from(1 << 20),
        );
        leave("steady-postgres", "a steady load through PostgreSQL", &outcome);
    }
}

/// The server is killed and started again under senders and receivers: whatever
/// was acknowledged is received, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_server_is_killed() {
    let Some(server) = required(Postgres::start(&[])) else { return };
    let url = server.database();
    let queue = Arc::new(PostgresTransport::open(&url).await.unwrap());
    let sender = {
        let queue = Arc::clone(&queue);
        tokio::spawn(async move {
            let (mut sent, mut doubtful) = (Vec::new(), Vec::new());
            for round in 0..200 {
                let batch = batch(round * 5, 5);
                let ids = batch.iter().map(|message| message.id);
                match queue.send(Arc::clone(&batch)).await {
                    Ok(()) => sent.extend(ids),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Away, "{error}");
                        doubtful.extend(ids);
                    }
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            (sent, doubtful)
        })
    };
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.kill();
        let away = queue.stats().await.unwrap_err();
        assert_eq!(away.kind(), ErrorKind::Away, "{away}");
        server.resume().unwrap();
    }
    let (sent, doubtful) = sender.await.unwrap();
    assert!(!doubtful.is_empty() && sent.len() > 100, "{} {}", sent.len(), doubtful.len());
    let mut got = Vec::new();
    loop {
        match queue.receive(Want::up_to(100)).await {
            Ok(some) if some.is_empty() => break,
            Ok(some) => {
                got.extend(some.iter().map(|delivery| delivery.id));
                let receipts: Vec<_> = some.iter().map(|delivery| delivery.receipt).collect();
                assert_eq!(queue.ack(&receipts).await.unwrap(), receipts.len());
            }
            // A connection of before the last kill.
            Err(error) => assert_eq!(error.kind(), ErrorKind::Away, "{error}"),
        }
    }
    let once: std::collections::BTreeSet<_> = got.iter().collect();
    assert_eq!(once.len(), got.len(), "received once");
    assert!(sent.iter().all(|id| once.contains(id)), "acknowledged and lost");
    assert!(got.iter().all(|id| sent.contains(id) || doubtful.contains(id)), "never sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_too_old_is_refused() {
    let Some(server) = required(Release::TooOld.start(&[])) else { return };
    let url = server.url("postgres");
    for refused in [
        PostgresTransport::open(&url).await.map(drop).unwrap_err(),
        PostgresStore::open(&url).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(refused.kind(), ErrorKind::Usage);
        assert!(refused.to_string().contains("the server is PostgreSQL 12"), "{refused}");
        assert_eq!(refused.advice(), Some("use PostgreSQL 13 or newer"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_said_in_one_sentence_without_secrets() {
    let Some(server) = required(Postgres::start(&[])) else { return };
    let port = server.port();
    let said = |url: String| async move {
        let error = match PostgresTransport::open(&url).await {
            Ok(away) => away.stats().await.unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(!error.contains("hush"), "{error}");
        error
    };
    let missing = said(format!("postgres://postgres:hush@127.0.0.1:{port}/nowhere")).await;
    assert!(missing.contains("\"nowhere\" does not exist") && missing.contains("correct its name"));
    let unknown = said(format!("postgres://nobody:hush@127.0.0.1:{port}/postgres")).await;
    assert!(unknown.contains("\"nobody\"") && unknown.contains("PGPASSWORD"), "{unknown}");
    let nobody = said("postgres://postgres:hush@127.0.0.1:1/postgres".to_owned()).await;
    assert!(nobody.contains("check that the server runs"), "{nobody}");
    let plain =
        said(format!("postgres://postgres:hush@127.0.0.1:{port}/postgres?sslmode=require")).await;
    assert!(plain.contains("sslmode"), "{plain}");
    let wrong = said("postgres://u:hush@h:no-port/d".to_owned()).await;
    assert!(wrong.contains("postgres://USER@HOST"), "{wrong}");

    // Tables that somebody changed, a right that is missing, a read-only server.
    let url = server.database();
    let database = url.rsplit('/').next().unwrap().to_owned();
    let queue = PostgresTransport::open(&url).await.unwrap();
    server.sql(&database, "ALTER TABLE annals_queue RENAME COLUMN body TO corpse");
    let changed = queue.send(batch(0, 1)).await.unwrap_err();
    assert!(changed.to_string().contains("annals migrate"), "{changed}");
    server.sql(&database, "ALTER TABLE annals_queue RENAME COLUMN corpse TO body");
    server.sql(&database, "CREATE ROLE reader LOGIN");
    let reader = url.replace("postgres@", "reader@");
    let reader = PostgresTransport::open(&reader).await.unwrap();
    let reader = reader.stats().await.unwrap_err();
    assert!(reader.to_string().contains("permission denied"), "{reader}");
    server.sql(
        &database,
        &format!("ALTER DATABASE {database} SET default_transaction_read_only = on"),
    );
    let queue = PostgresTransport::open(&url).await.unwrap();
    let read_only = queue.send(batch(0, 1)).await.unwrap_err();
    assert!(read_only.to_string().contains("connect to the primary"), "{read_only}");
}
