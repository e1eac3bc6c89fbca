//! The transport, and what enqueues into it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use annals::conformance::transport::{CASES, TransportFactory};
use annals::transport::memory::MemoryTransport;
use annals::transport::mysql::{ENQUEUE, MysqlTransport};
use annals::transport::{Message, Transport, Want, Which};
use annals::{Actor, Audit, AuditOptions, Entity, ErrorKind, Event, Scope};
use annals_testbed::mariadb::Mariadb;
use annals_testbed::outcome::{is_full, leave};
use annals_testbed::required;
use async_trait::async_trait;
use sqlx::mysql::MySqlPool;

pub(super) struct Place(pub(super) String);

#[async_trait]
impl TransportFactory for Place {
    async fn open(&self) -> Arc<dyn Transport> {
        annals::transport::open(&self.0).await.expect("open")
    }
}

pub(super) fn batch(from: usize, count: usize) -> Arc<[Message]> {
    let message = |number| {
        let event = Event::new("updated", Entity::new("product", number));
        Message { id: event.id, body: event.encode().unwrap() }
    };
    (from..from + count).map(message).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_conforms() {
    let Some(server) = required(Mariadb::shared()) else { return };
    for case in CASES {
        println!("mariadb: {}", case.name);
        (case.run)(&Place(server.database())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tables_are_made_once_by_many_that_start_together() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let url = server.database();
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { MysqlTransport::open(&url).await.map(drop) })
        })
        .collect();
    for opened in opening {
        opened.await.unwrap().unwrap();
    }
    assert_eq!(server.sql(&url, "SELECT count(*) FROM annals_queue_head"), "1");
    // Interrupted before its end, it is done again.
    server.sql(&url, "DROP TABLE annals_failed; DELETE FROM annals_queue_head");
    MysqlTransport::open(&url).await.unwrap().stats().await.unwrap();
    server.sql(&url, "UPDATE annals_queue_head SET version = 99");
    let newer = MysqlTransport::open(&url).await.unwrap_err();
    assert_eq!(newer.kind(), ErrorKind::Usage);
    assert!(newer.to_string().contains("version 99") && newer.to_string().contains("newer Annals"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_brings_the_event_and_a_rollback_takes_it_along() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let url = server.database();
    let audit = Audit::start(Arc::new(MemoryTransport::new()), AuditOptions::default()).unwrap();
    let application = MySqlPool::connect(&url).await.unwrap();
    let mut tx = application.begin().await.unwrap();
    let no_queue = audit.record_in(&mut *tx, Event::new("a", Entity::of_type("b"))).await;
    let no_queue = no_queue.unwrap_err();
    assert_eq!(no_queue.kind(), ErrorKind::Usage);
    assert!(no_queue.to_string().contains("annals migrate"), "{no_queue}");
    tx.rollback().await.unwrap();

    let queue = MysqlTransport::open(&url).await.unwrap();
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

/// An application that takes its time with a transaction holds up nobody: neither
/// those who enqueue nor any step of a worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_an_applications_transaction() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let url = server.database();
    let queue = MysqlTransport::open(&format!("{url}?lock_timeout=1s")).await.unwrap();
    let audit = Audit::start(Arc::new(MemoryTransport::new()), AuditOptions::default()).unwrap();
    let application = MySqlPool::connect(&url).await.unwrap();
    queue.send(batch(0, 3)).await.unwrap();
    let mut tx = application.begin().await.unwrap();
    audit.record_in(&mut *tx, Event::new("slow", Entity::of_type("x"))).await.unwrap();
    queue.send(batch(3, 3)).await.unwrap();
    let got = queue.receive(Want::up_to(100)).await.unwrap();
    assert_eq!(got.len(), 6);
    let receipts: Vec<_> = got.iter().map(|delivery| delivery.receipt).collect();
    assert_eq!(queue.ack(&receipts[..2]).await.unwrap(), 2);
    assert_eq!(queue.retry(&receipts[2..3], annals::Timestamp::now()).await.unwrap(), 1);
    assert_eq!(queue.release(&receipts[3..4]).await.unwrap(), 1);
    assert_eq!(queue.bury(&[(receipts[4], "no".to_owned())]).await.unwrap(), 1);
    assert_eq!(queue.revive(Which::All).await.unwrap(), 1);
    queue.stats().await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(queue.receive(Want::up_to(100)).await.unwrap().len(), 4);
    audit.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_worker_finds_what_another_process_sent() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let url = server.database();
    let (ours, theirs) =
        (MysqlTransport::open(&url).await.unwrap(), MysqlTransport::open(&url).await.unwrap());
    let waiting = tokio::spawn(async move {
        ours.receive(Want { wait: Duration::from_secs(20), ..Want::up_to(10) }).await
    });
    // It has begun to look.
    let looked = "SELECT count(*) FROM information_schema.processlist WHERE db = database()";
    while server.sql(&url, looked).parse::<u32>().unwrap() < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    theirs.send(batch(0, 1)).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().len(), 1);
}

/// What any language can do: a statement in its own transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_procedure_takes_events_as_json() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let url = server.database();
    let queue = MysqlTransport::open(&url).await.unwrap();
    let own = Event::new("seen", Entity::of_type("page"));
    let own = own.encode().map(|bytes| (own.id, bytes)).unwrap();
    server.sql(
        &url,
        &format!(
            r#"
            START TRANSACTION;
            CALL annals_record('{{"action":"taken back","entity":{{"type":"order"}}}}');
            ROLLBACK;
            CALL annals_record('{{"action":"paid", "entity":{{"type":"order","id":"42"}},
                "new_values":{{"note":"nul \\u0000, pair \\ud834\\udd1e é","total":1.50}}}}');
            CALL annals_record('{{"action":"x","entity":{{"type":"y"}},"unheard_of":1}}');
            CALL annals_record('{{"action":"imported","entity":{{"type":"order"}},"source_id":"7",
                "occurred_at":"2026-11-22T10:00:00Z"}}');
            CALL annals_record('{}');
            "#,
            String::from_utf8(own.1.clone()).unwrap()
        ),
    );
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
        let values = events[0].new_values.as_ref().unwrap();
        assert_eq!(values.as_str(), r#"{"note":"nul \u0000, pair \ud834\udd1e é","total":1.50}"#);
        assert_eq!((got[2].id, &got[2].body), (own.0, &own.1), "the bytes that it had");
        given.push(got.iter().map(|one| (one.id, one.body.clone())).collect::<Vec<_>>());
        let receipts: Vec<_> =
            got.iter().chain(&refused).map(|delivery| delivery.receipt).collect();
        queue.release(&receipts).await.unwrap();
    }
    assert_eq!(given[0], given[1]);
    let bad = queue.receive(Want::up_to(10)).await.unwrap().swap_remove(1);
    queue.bury(&[(bad.receipt, "no event".to_owned())]).await.unwrap();
    assert_eq!(queue.revive(Which::All).await.unwrap(), 1);
    let again = queue.receive(Want::up_to(10)).await.unwrap();
    assert_eq!(again.len(), 1);
    assert!(again[0].refused.is_some(), "refused again, and not stored raw");

    for (wrong, what) in [
        ("'[]'", "expected a JSON object"),
        ("'{'", "expected a JSON object"),
        ("NULL", "expected a JSON object"),
        (r#"'{"action":7,"entity":{}}'"#, "an event needs an action and an entity"),
        (r#"'{"action":"x"}'"#, "an event needs an action and an entity"),
        ("CONCAT('{\"a\":\"', REPEAT('x', 2000000), '\"}')", "over the limit of 1048576"),
    ] {
        let said = server.try_sql(&url, &format!("CALL annals_record({wrong})")).unwrap_err();
        assert!(said.contains(what), "{wrong}: {said}");
    }
}

/// Many at once, in the same places: nobody is told of a deadlock, and each event is
/// received by one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_in_a_circle() {
    const SENT: usize = 2_000;
    let Some(server) = required(Mariadb::start(&["innodb-print-all-deadlocks"])) else { return };
    let url = server.database();
    let queue = Arc::new(MysqlTransport::open(&url).await.unwrap());
    let settled = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..4)
        .map(|number| {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move {
                for round in 0..SENT / 4 / 10 {
                    queue.send(batch(number * SENT + round * 10, 10)).await.unwrap();
                }
            })
        })
        .collect();
    let workers: Vec<_> = (0..6)
        .map(|number| {
            let (queue, settled) = (Arc::clone(&queue), Arc::clone(&settled));
            tokio::spawn(async move {
                let mut ids = Vec::new();
                let mut turn: usize = number;
                while settled.load(Ordering::SeqCst) < SENT {
                    // Leases that end while they are settled, too.
                    let lease =
                        Duration::from_millis(if turn.is_multiple_of(5) { 5 } else { 60_000 });
                    let got = queue.receive(Want { lease, ..Want::up_to(37) }).await.unwrap();
                    for delivery in got.iter().rev() {
                        turn += 1;
                        let receipt = [delivery.receipt];
                        match turn % 4 {
                            0 => queue.release(&receipt).await.map(drop).unwrap(),
                            1 => {
                                let now = annals::Timestamp::now();
                                queue.retry(&receipt, now).await.map(drop).unwrap();
                            }
                            2 => {
                                let burial = (delivery.receipt, "for a moment".to_owned());
                                queue.bury(&[burial]).await.unwrap();
                                queue.revive(Which::Ids(&[delivery.id])).await.unwrap();
                            }
                            _ => {}
                        }
                    }
                    let receipts: Vec<_> = got.iter().map(|delivery| delivery.receipt).collect();
                    let acknowledged = queue.ack(&receipts).await.unwrap();
                    settled.fetch_add(acknowledged, Ordering::SeqCst);
                    ids.push(acknowledged);
                }
                ids.iter().sum::<usize>()
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    let mut sum = 0;
    for worker in workers {
        sum += worker.await.unwrap();
    }
    assert_eq!(sum, SENT);
    assert_eq!(queue.stats().await.unwrap().ready, 0);
    assert!(!server.log().contains("deadlock"), "{}", server.log());
}

/// Events go through at a steady rate: the tables do not grow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_steady_load_does_not_grow_the_tables() {
    const BATCH: usize = 500;
    let Some(server) = required(Mariadb::start(&[])) else { return };
    let total = if is_full() { 1_000_000 } else { 50_000 };
    let url = server.database();
    let queue = Arc::new(MysqlTransport::open(&url).await.unwrap());
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
    // The file, as the file system has it.
    let size = format!(
        "SELECT file_size FROM information_schema.innodb_sys_tablespaces WHERE name = '{}/annals_queue'",
        url.rsplit('/').next().unwrap()
    );
    let (mut sent, mut sizes) = (0, Vec::new());
    while sent < total {
        queue.send(batch(sent, BATCH)).await.unwrap();
        sent += BATCH;
        if sent.is_multiple_of(total / 20) {
            sizes.push(server.sql(&url, &size).parse::<u64>().unwrap());
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
    println!("{total} events; bytes of the queue's file: {sizes:?}");
    if is_full() {
        assert!(late < early * 3 / 2, "{sizes:?}");
        let outcome = format!(
            "{total} events through the queue; its file had at most {:.1} MiB in the first half \
             and {:.1} MiB in the second",
            early as f64 / f64::from(1 << 20),
            late as f64 / f64::from(1 << 20),
        );
        leave("steady-mariadb", "a steady load through MariaDB", &outcome);
    }
}

/// The server is killed and started again under senders and receivers: whatever
/// was acknowledged is received, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_server_is_killed() {
    let Some(server) = required(Mariadb::start(&[])) else { return };
    let queue = Arc::new(MysqlTransport::open(&server.database()).await.unwrap());
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
    let once: BTreeSet<_> = got.iter().collect();
    assert_eq!(once.len(), got.len(), "received once");
    assert!(sent.iter().all(|id| once.contains(id)), "acknowledged and lost");
    assert!(got.iter().all(|id| sent.contains(id) || doubtful.contains(id)), "never sent");
}
