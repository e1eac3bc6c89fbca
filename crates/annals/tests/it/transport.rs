//! Every transport passes the suite.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use annals::conformance::transport::{CASES, TransportFactory};
use annals::transport::memory::MemoryTransport;
use annals::transport::sqlite::SqliteTransport;
use annals::transport::{Message, Transport, Want};
use annals::{Audit, Delivery, Entity, ErrorKind, Event};
use async_trait::async_trait;

struct Memory(Arc<MemoryTransport>);

#[async_trait]
impl TransportFactory for Memory {
    async fn open(&self) -> Arc<dyn Transport> {
        self.0.clone()
    }

    fn durable(&self) -> bool {
        false
    }
}

struct Sqlite(PathBuf);

#[async_trait]
impl TransportFactory for Sqlite {
    async fn open(&self) -> Arc<dyn Transport> {
        let path = self.0.display().to_string();
        Arc::new(SqliteTransport::open(&path).await.expect("open"))
    }
}

#[tokio::test]
async fn memory_conforms() {
    for case in CASES {
        println!("memory: {}", case.name);
        (case.run)(&Memory(Arc::new(MemoryTransport::new()))).await;
    }
}

#[tokio::test]
async fn sqlite_conforms() {
    for case in CASES {
        println!("sqlite: {}", case.name);
        let directory = tempfile::tempdir().unwrap();
        (case.run)(&Sqlite(directory.path().join("queue.db"))).await;
    }
}

#[tokio::test]
async fn sync_goes_straight_to_the_store_and_says_what_it_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", directory.path().join("store.db").display());
    let audit = Audit::open(&format!("sync:{url}")).await.unwrap();
    let event = Event::new("updated", Entity::new("product", 42));
    audit.record_as(&event, Delivery::Durable).await.unwrap();
    let store = annals::store::open(&url).await.unwrap();
    let stored = store.get(event.id).await.unwrap().unwrap();
    assert_eq!(stored.event().unwrap().entity, event.entity, "readable as soon as it is durable");
    // The same id again, with another producer's number, is another event.
    let refused = audit.record(event).await.unwrap_err();
    assert!(refused.to_string().contains("conflict"), "{refused}");
    audit.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn an_unknown_url_says_what_there_is() {
    let error = annals::transport::open("nats://127.0.0.1").await.unwrap_err();
    assert!(error.to_string().contains("no such kind of transport in this build"), "{error}");
    assert!(error.to_string().contains("sqlite:PATH"), "{error}");
    for url in ["nats://u:hush@127.0.0.1/0", "nats://127.0.0.1/0?password=hush"] {
        let transport = annals::transport::open(url).await.unwrap_err().to_string();
        let store = annals::store::open(url).await.unwrap_err().to_string();
        let appender = annals::store::open_appender(url).await.unwrap_err().to_string();
        for said in [transport, store, appender] {
            assert!(said.contains("127.0.0.1") && !said.contains("hush"), "{said}");
        }
    }
}

#[tokio::test]
async fn the_queue_is_bounded_and_shrinks_while_it_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue.db");
    let transport =
        SqliteTransport::open(&format!("{}?max_bytes=30000000", path.display())).await.unwrap();
    let full = loop {
        let large = |_| {
            let event = Event::new("updated", Entity::new("product", 1));
            Message { id: event.id, body: vec![b'x'; 100_000] }
        };
        if let Err(error) = transport.send((0..10).map(large).collect()).await {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::Full);
    assert!(full.to_string().contains("of at most 30000000 bytes are in use"), "{full}");
    let grown = transport.stats().await.unwrap().bytes.unwrap();
    loop {
        let got = transport.receive(Want::up_to(20)).await.unwrap();
        if got.is_empty() {
            break;
        }
        let receipts: Vec<_> = got.iter().map(|delivery| delivery.receipt).collect();
        transport.ack(&receipts).await.unwrap();
    }
    // An idle queue gives the rest back, a piece at a look.
    for _ in 0..40 {
        transport.receive(Want::up_to(1)).await.unwrap();
    }
    let left = transport.stats().await.unwrap().bytes.unwrap();
    assert!(grown > 25_000_000 && left < 100_000, "{grown} bytes, then {left}");
}

/// A database that a newer version wrote, and one that is no database.
#[tokio::test]
async fn a_queue_of_a_newer_version_and_a_damaged_one_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queue.db").display().to_string();
    drop(SqliteTransport::open(&path).await.unwrap());
    let own = rusqlite::Connection::open(&path).unwrap();
    own.execute("UPDATE annals_queue_head SET version = 99", []).unwrap();
    drop(own);
    let newer = SqliteTransport::open(&path).await.unwrap_err();
    assert!(newer.to_string().contains("version 99, this program knows up to 1"), "{newer}");
    std::fs::write(&path, "this is no database, and long enough to look like one".repeat(50))
        .unwrap();
    let damaged = SqliteTransport::open(&path).await.unwrap_err();
    assert_eq!(damaged.kind(), ErrorKind::Damaged, "{damaged}");
}
