//! Events inside the application's own transaction, through sqlx and rusqlite.

use annals::transport::memory::MemoryTransport;
use annals::transport::sqlite::{ENQUEUE, SqliteTransport};
use annals::transport::{Transport, Want};
use annals::{Actor, Audit, AuditOptions, Entity, ErrorKind, Event, Scope};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use std::sync::Arc;

fn handle() -> Audit {
    Audit::start(Arc::new(MemoryTransport::new()), AuditOptions::default()).unwrap()
}

async fn application(path: &std::path::Path) -> SqlitePool {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    sqlx::query("CREATE TABLE IF NOT EXISTS product (id INTEGER PRIMARY KEY, price INTEGER)")
        .execute(&pool)
        .await
        .unwrap();
    pool
}

fn changed(id: i64) -> Event {
    Event::new("updated", Entity::new("product", id))
}

#[tokio::test]
async fn a_commit_brings_the_event_and_a_rollback_takes_it_along() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.db");
    let pool = application(&path).await;
    let queue = SqliteTransport::open(&path.display().to_string()).await.unwrap();
    let audit = handle();
    let mut kept = Vec::new();
    for number in 0..20_i64 {
        let mut tx = pool.begin().await.unwrap();
        sqlx::query("INSERT INTO product VALUES (?, 1)")
            .bind(number)
            .execute(&mut *tx)
            .await
            .unwrap();
        let scope = Scope::new().actor(Actor::user(7));
        let id = scope.around(audit.record_in(&mut *tx, changed(number))).await.unwrap();
        if number % 3 == 0 {
            tx.rollback().await.unwrap();
        } else {
            tx.commit().await.unwrap();
            kept.push(id);
        }
    }
    let got = queue.receive(Want::up_to(100)).await.unwrap();
    assert_eq!(got.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), kept);
    let event = Event::decode(&got[0].body).unwrap();
    assert_eq!(event.actor, Some(Actor::user(7)));
    let producer = event.producer.unwrap();
    assert_eq!((&*producer.id, producer.seq), (audit.producer(), None));
    audit.shutdown(std::time::Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn an_open_transaction_and_the_handle_of_the_worker_do_not_clash() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.db");
    let pool = application(&path).await;
    let queue = SqliteTransport::open(&path.display().to_string()).await.unwrap();
    let audit = handle();
    for round in 0..3_i64 {
        let mut tx = pool.begin().await.unwrap();
        audit.record_in(&mut *tx, changed(round)).await.unwrap();
        assert!(queue.receive(Want::up_to(9)).await.unwrap().is_empty(), "not before the commit");
        tx.commit().await.unwrap();
        let got = queue.receive(Want::up_to(9)).await.unwrap();
        assert_eq!(got.len(), 1);
        // The queue is empty in between: numbers are still never used twice.
        assert_eq!(queue.ack(&[got[0].receipt]).await.unwrap(), 1);
    }
    audit.shutdown(std::time::Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_database_without_a_queue_is_told_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let pool = application(&directory.path().join("app.db")).await;
    let audit = handle();
    let error = audit.record_in(&mut *pool.acquire().await.unwrap(), changed(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("annals migrate --transport sqlite:PATH"), "{error}");
    audit.shutdown(std::time::Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn other_drivers_use_the_statement_and_its_values() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.db");
    let queue = SqliteTransport::open(&path.display().to_string()).await.unwrap();
    let audit = handle();
    let mut own = rusqlite::Connection::open(&path).unwrap();
    let mut enqueue = |commit: bool| {
        let event = audit.prepare(&changed(1)).unwrap();
        let tx = own.transaction().unwrap();
        let values = rusqlite::params![event.id.as_bytes(), event.sent_at.as_micros(), event.body];
        tx.execute(ENQUEUE, values).unwrap();
        if commit {
            tx.commit().unwrap();
        }
        event.id
    };
    enqueue(false);
    let id = enqueue(true);
    let got = queue.receive(Want::up_to(9)).await.unwrap();
    assert_eq!(got.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), [id]);
    audit.shutdown(std::time::Duration::from_secs(5)).await.unwrap();
}
