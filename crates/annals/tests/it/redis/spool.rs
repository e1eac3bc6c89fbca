//! Capturing while Redis is down or slow: the application goes on, and its events
//! follow by themselves, in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::transport::redis::RedisTransport;
use annals::transport::sqlite::SqliteTransport;
use annals::transport::{Transport, Want};
use annals::{Audit, AuditOptions, Delivery, Entity, Event, EventId};
use annals_testbed::redis::{DURABLE, Redis};
use annals_testbed::required;
use tempfile::TempDir;

use super::transport::receipts;

const PATIENCE: Duration = Duration::from_secs(60);

/// An application that captures into a Redis, with a spool beside it.
struct Application {
    directory: TempDir,
    url: String,
    audit: Audit,
    recorded: Vec<EventId>,
}

impl Application {
    async fn start(url: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let audit = capture(&directory, url).await;
        Self { directory, url: url.to_owned(), audit, recorded: Vec::new() }
    }

    /// Records some, and waits until they are durable somewhere.
    async fn record(&mut self, events: usize) {
        for _ in 0..events {
            let event = Event::new("updated", Entity::new("product", self.recorded.len()));
            self.recorded.push(event.id);
            drop(self.audit.record(event));
        }
        self.audit.flush().await.unwrap();
    }

    async fn restart(&mut self) {
        self.audit.shutdown(PATIENCE).await.unwrap();
        self.audit = capture(&self.directory, &self.url).await;
    }

    /// Waits until the spool is empty, and compares what has come with what was
    /// recorded. What came twice is known by its id.
    async fn check(self) {
        let spool = spool(&self.directory).await;
        let begun = Instant::now();
        loop {
            let left = spool.stats().await.unwrap();
            if left.ready + left.leased + left.failed == 0 {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{left:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.audit.shutdown(PATIENCE).await.unwrap();
        let queue = RedisTransport::open(&self.url).await.unwrap();
        let mut came: Vec<EventId> = Vec::new();
        loop {
            let some = queue.receive(Want::up_to(1_000)).await.unwrap();
            if some.is_empty() {
                break;
            }
            for delivery in &some {
                if !came.contains(&delivery.id) {
                    came.push(delivery.id);
                }
            }
            queue.ack(&receipts(&some)).await.unwrap();
        }
        assert_eq!(came.len(), self.recorded.len(), "something is missing");
        assert!(came == self.recorded, "not in the order in which they were recorded");
    }
}

async fn spool(directory: &TempDir) -> Arc<SqliteTransport> {
    let path = directory.path().join("spool.db");
    Arc::new(SqliteTransport::open(path.to_str().unwrap()).await.unwrap())
}

async fn capture(directory: &TempDir, url: &str) -> Audit {
    let mut options = AuditOptions::default().delivery(Delivery::Buffered);
    options.spool = Some(spool(directory).await);
    Audit::start(Arc::new(RedisTransport::open(url).await.unwrap()), options).unwrap()
}

/// Waits until some have gone to the spool.
async fn spilled(application: &mut Application) {
    let begun = Instant::now();
    while application.audit.stats().spilled == 0 {
        assert!(begun.elapsed() < PATIENCE);
        application.record(5).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_while_redis_was_down_follows_in_order() {
    let Some(server) = required(Redis::start(&DURABLE)) else { return };
    let mut application = Application::start(&server.url()).await;
    application.record(100).await;
    assert_eq!(application.audit.stats().spilled, 0);
    for _ in 0..2 {
        server.stop();
        application.record(3_000).await;
        server.resume().unwrap();
        // It goes on while the spool is emptied.
        for _ in 0..20 {
            application.record(20).await;
        }
    }
    let stats = application.audit.stats();
    assert!(stats.spilled >= 6_000 && stats.dropped == 0, "{stats:?}");
    application.check().await;
}

/// It answers nothing for a while, and then all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_while_redis_stood_still_follows_in_order() {
    let Some(server) = required(Redis::start(&[])) else { return };
    let url = format!("{}?response_timeout=1s&connect_timeout=1s", server.url());
    let mut application = Application::start(&url).await;
    application.record(100).await;
    server.freeze();
    spilled(&mut application).await;
    let begun = Instant::now();
    application.record(2_000).await;
    assert!(begun.elapsed() < PATIENCE);
    server.thaw();
    application.record(200).await;
    application.check().await;
}

/// What an earlier process left in the spool comes before what the next one records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_the_order() {
    let Some(server) = required(Redis::start(&DURABLE)) else { return };
    let mut application = Application::start(&server.url()).await;
    application.record(50).await;
    server.stop();
    application.record(2_500).await;
    application.restart().await;
    application.record(50).await;
    server.resume().unwrap();
    application.restart().await;
    application.record(500).await;
    application.check().await;
}

/// One that was killed has some in hand; its successor waits for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_had_in_hand_is_not_overtaken() {
    let Some(server) = required(Redis::start(&DURABLE)) else { return };
    let mut application = Application::start(&server.url()).await;
    server.stop();
    application.record(300).await;
    application.audit.shutdown(PATIENCE).await.unwrap();
    let dead = spool(&application.directory).await;
    let lease = Duration::from_secs(2);
    let held = dead.receive(Want { lease, ..Want::up_to(100) }).await.unwrap();
    assert_eq!(held.len(), 100);
    drop(dead);
    server.resume().unwrap();
    application.audit = capture(&application.directory, &server.url()).await;
    application.record(100).await;
    application.check().await;
}
