//! The worker against real stores, some of which misbehave on command.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use annals::query::{Filter, Query};
use annals::store::file::FileStore;
use annals::store::sqlite::SqliteStore;
use annals::store::{Appended, Appender, Record, Store};
use annals::transport::memory::MemoryTransport;
use annals::transport::sqlite::SqliteTransport;
use annals::transport::{Message, Transport};
use annals::worker::{Ended, Figures, Worker, WorkerOptions};
use annals::{Entity, Error, ErrorKind, Event, Result};
use async_trait::async_trait;

/// A SQLite store that can be taken away, and that chokes on some entities.
#[derive(Debug)]
struct Moody {
    store: SqliteStore,
    away: AtomicBool,
    appends: AtomicU64,
}

#[async_trait]
impl Appender for Moody {
    fn url(&self) -> &str {
        "moody:"
    }

    async fn append(&self, batch: Arc<[Record]>) -> Result<Vec<Appended>> {
        self.appends.fetch_add(1, Ordering::SeqCst);
        let fail = |kind, found: &str| Err(Error::new(kind, "append to moody:", found));
        if self.away.load(Ordering::SeqCst) {
            return fail(ErrorKind::Away, "it is switched off");
        }
        let holds = |kind: &str| batch.iter().any(|record| record.entity_type() == kind);
        if holds("poison") {
            return fail(ErrorKind::Event, "value too long for the column");
        }
        if holds("flaky") {
            return fail(ErrorKind::Transient, "deadlock detected");
        }
        self.store.append(batch).await
    }
}

struct Bench {
    directory: tempfile::TempDir,
    store: Arc<Moody>,
    queue: Arc<MemoryTransport>,
}

impl Bench {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let store = SqliteStore::open(&path.display().to_string()).await.unwrap();
        let store = Moody { store, away: AtomicBool::new(false), appends: AtomicU64::new(0) };
        Self { directory, store: Arc::new(store), queue: Arc::new(MemoryTransport::new()) }
    }

    async fn send(&self, events: &[Event]) {
        let message = |event: &Event| Message { id: event.id, body: event.encode().unwrap() };
        self.queue.send(events.iter().map(message).collect()).await.unwrap();
    }

    fn worker(&self, options: WorkerOptions) -> Worker {
        Worker::new(self.store.clone(), options).transport(self.queue.clone())
    }

    async fn drain(&self) -> Figures {
        let worker = self.worker(draining());
        let gauge = worker.gauge();
        assert_eq!(worker.run().await.unwrap(), Ended::Drained);
        gauge.read()
    }

    async fn stored(&self) -> u64 {
        self.store.store.stats().await.unwrap().events
    }
}

fn draining() -> WorkerOptions {
    let mut options = WorkerOptions::default();
    options.drain = true;
    options.first_retry = Duration::from_millis(5);
    options
}

fn events(kind: &'static str, count: usize) -> Vec<Event> {
    (0..count).map(|number| Event::new("updated", Entity::new(kind, number))).collect()
}

#[tokio::test]
async fn moves_everything_once_and_in_order() {
    let bench = Bench::new().await;
    let sent = events("product", 250);
    bench.send(&sent).await;
    bench.send(&sent[..30]).await;
    let figures = bench.drain().await;
    assert_eq!((figures.stored, figures.duplicates, figures.failed), (250, 30, 0));
    let window = bench.store.store.window(0, 1000).await.unwrap();
    let ids: Vec<_> = window.iter().map(|stored| stored.id).collect();
    assert_eq!(ids, sent.iter().map(|event| event.id).collect::<Vec<_>>());
    assert_eq!(bench.queue.stats().await.unwrap().ready, 0);
}

#[tokio::test]
async fn one_bad_event_fails_none_of_its_neighbours() {
    let bench = Bench::new().await;
    let mut sent = events("product", 100);
    sent[37] = Event::new("updated", Entity::new("poison", 1));
    bench.send(&sent).await;
    let broken = Message { id: events("product", 1)[0].id, body: b"{\"id\":".to_vec() };
    let twisted = Message { id: broken.id, body: sent[0].encode().unwrap() };
    bench.queue.send(Arc::from([broken.clone(), twisted])).await.unwrap();
    let mut conflict = sent[5].clone();
    conflict.action = "deleted".into();
    bench.send(&[conflict]).await;
    let figures = bench.drain().await;
    assert_eq!((figures.stored, figures.failed), (99, 4));
    let failed = bench.queue.buried(None, 10).await.unwrap();
    let mut reasons: Vec<&str> = failed.iter().map(|one| one.reason.as_str()).collect();
    reasons.sort_unstable();
    assert!(reasons[0].contains("value too long for the column"), "{reasons:?}");
    assert!(reasons.iter().any(|why| why.contains("conflict")), "{reasons:?}");
    assert!(reasons.iter().any(|why| why.starts_with("not an event")), "{reasons:?}");
    assert!(reasons.iter().any(|why| why.contains("says that it is")), "{reasons:?}");
    assert!(failed.iter().any(|one| one.body == broken.body), "kept with the bytes it came with");
}

#[tokio::test]
async fn a_failure_that_may_pass_is_retried_then_given_up_alone() {
    let bench = Bench::new().await;
    let mut sent = events("product", 20);
    sent[3] = Event::new("updated", Entity::new("flaky", 1));
    bench.send(&sent).await;
    let figures = bench.drain().await;
    assert_eq!((figures.stored, figures.failed), (19, 1));
    let failed = bench.queue.buried(None, 10).await.unwrap();
    assert_eq!(failed[0].id, sent[3].id);
    assert_eq!(failed[0].attempts, 4, "three retries");
    assert!(failed[0].reason.contains("given up after 4 attempts"), "{}", failed[0].reason);
    assert!(failed[0].reason.contains("deadlock detected"), "{}", failed[0].reason);
}

#[tokio::test]
async fn a_store_that_is_away_is_waited_for_and_nobody_is_blamed() {
    let bench = Bench::new().await;
    bench.store.away.store(true, Ordering::SeqCst);
    bench.send(&events("product", 250)).await;
    let worker = bench.worker(draining());
    let gauge = worker.gauge();
    let running = tokio::spawn(worker.run());
    while bench.store.appends.load(Ordering::SeqCst) < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(gauge.read().waiting_for.unwrap().contains("it is switched off"));
    bench.store.away.store(false, Ordering::SeqCst);
    assert_eq!(running.await.unwrap().unwrap(), Ended::Drained);
    let figures = gauge.read();
    assert_eq!((figures.stored, figures.failed, figures.waiting_for), (250, 0, None));
    assert_eq!(bench.queue.stats().await.unwrap().failed, 0);
}

#[tokio::test]
async fn while_it_waits_the_transport_holds_everything() {
    let bench = Bench::new().await;
    bench.store.away.store(true, Ordering::SeqCst);
    bench.send(&events("product", 10)).await;
    let worker = bench.worker(WorkerOptions::default());
    let (stop, gauge) = (worker.stop_handle(), worker.gauge());
    let running = tokio::spawn(worker.run());
    while gauge.read().waiting_for.is_none() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let stats = bench.queue.stats().await.unwrap();
    assert_eq!((stats.ready, stats.leased), (10, 0), "given back while waiting");
    stop.stop();
    assert_eq!(running.await.unwrap().unwrap(), Ended::Stopped);
    assert_eq!(bench.queue.stats().await.unwrap().ready, 10);
}

/// What was stored while the queue was locked is acknowledged when it is free
/// again: it is neither received a second time nor waited for until its lease ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_locked_is_told_later_what_was_stored() {
    let bench = Bench::new().await;
    let path = bench.directory.path().join("queue.db");
    let queue = Arc::new(SqliteTransport::open(&path.display().to_string()).await.unwrap());
    let message = |event: &Event| Message { id: event.id, body: event.encode().unwrap() };
    let sent = events("product", 20_000);
    queue.send(sent.iter().map(message).collect()).await.unwrap();
    let worker = Worker::new(bench.store.clone(), draining()).transport(queue.clone());
    let gauge = worker.gauge();
    let running = tokio::spawn(worker.run());
    while gauge.read().stored < 300 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let other = rusqlite::Connection::open(&path).unwrap();
    other.busy_timeout(Duration::from_secs(10)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    while gauge.read().waiting_for.is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let known = gauge.read().stored;
    assert!(known < bench.stored().await, "some are stored and not acknowledged");
    let waits_for = gauge.read().waiting_for.unwrap();
    assert!(waits_for.contains("queue.db"), "{waits_for}");
    other.execute_batch("ROLLBACK").unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), running).await;
    assert_eq!(ended.unwrap().unwrap().unwrap(), Ended::Drained);
    let figures = gauge.read();
    assert_eq!((figures.stored, figures.duplicates, figures.failed), (20_000, 0, 0));
    assert_eq!(bench.stored().await, 20_000);
    let left = queue.stats().await.unwrap();
    assert_eq!((left.ready, left.leased), (0, 0));
}

#[tokio::test]
async fn leaves_at_its_limits_and_gives_back_what_it_held() {
    let bench = Bench::new().await;
    bench.send(&events("product", 500)).await;
    let mut options = WorkerOptions::default();
    options.max_events = Some(130);
    let worker = bench.worker(options);
    assert_eq!(worker.run().await.unwrap(), Ended::MaxEvents);
    assert_eq!(bench.stored().await, 130);
    let mut options = WorkerOptions::default();
    options.time_limit = Some(Duration::ZERO);
    assert_eq!(bench.worker(options).run().await.unwrap(), Ended::TimeLimit);
    let mut options = WorkerOptions::default();
    options.memory_limit = Some(1);
    assert_eq!(bench.worker(options).run().await.unwrap(), Ended::MemoryLimit);
    let stats = bench.queue.stats().await.unwrap();
    assert_eq!((stats.ready, stats.leased), (370, 0));
}

#[tokio::test]
async fn an_idle_queue_is_picked_up_at_once_and_a_busy_one_in_batches() {
    let bench = Bench::new().await;
    let mut options = WorkerOptions::default();
    options.flush_interval = Duration::from_secs(3600);
    let worker = bench.worker(options);
    let (stop, gauge) = (worker.stop_handle(), worker.gauge());
    let running = tokio::spawn(worker.run());
    bench.send(&events("product", 1)).await;
    while gauge.read().stored < 1 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // Within the interval a batch waits until it is full.
    let more = events("product", 100);
    for event in &more {
        bench.send(std::slice::from_ref(event)).await;
    }
    while gauge.read().stored < 101 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(gauge.read().batches, 2);
    stop.stop();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn mirrors_get_a_copy_of_what_is_stored() {
    let bench = Bench::new().await;
    let path = bench.directory.path().join("audit.log");
    let mirror = FileStore::open(&path.display().to_string()).await.unwrap();
    let mut sent = events("product", 120);
    sent[9] = Event::new("updated", Entity::new("poison", 1));
    bench.send(&sent).await;
    bench.send(&sent[..5]).await;
    let worker = bench.worker(draining()).mirror(Arc::new(mirror));
    assert_eq!(worker.run().await.unwrap(), Ended::Drained);
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<Event> =
        text.lines().map(|line| Event::decode(line.as_bytes()).unwrap()).collect();
    sent.remove(9);
    assert_eq!(
        lines.iter().map(|e| e.id).collect::<Vec<_>>(),
        sent.iter().map(|e| e.id).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn several_transports_lanes_and_workers_share_the_work() {
    let bench = Bench::new().await;
    let other = Arc::new(MemoryTransport::new());
    let (ours, theirs) = (events("product", 700), events("order", 300));
    bench.send(&ours).await;
    let message = |event: &Event| Message { id: event.id, body: event.encode().unwrap() };
    other.send(theirs.iter().map(message).collect()).await.unwrap();
    let mut options = draining();
    options.concurrency = 3;
    options.batch_size = 7;
    let one = bench.worker(options.clone()).transport(other.clone());
    let two = bench.worker(options);
    let (one, two) = tokio::join!(tokio::spawn(one.run()), tokio::spawn(two.run()));
    assert_eq!((one.unwrap().unwrap(), two.unwrap().unwrap()), (Ended::Drained, Ended::Drained));
    assert_eq!(bench.stored().await, 1000);
    let orders = Filter { entity_type: Some("order".to_owned()), ..Filter::default() };
    let page = bench.store.store.query(Query::newest(orders).limit(1000)).await.unwrap();
    assert_eq!(page.events.len(), 300);
}
