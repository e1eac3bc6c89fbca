//! The transport on streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use annals::conformance::transport::{CASES, TransportFactory};
use annals::transport::redis::RedisTransport;
use annals::transport::{Delivery, Message, Receipt, Transport, Want};
use annals::{Entity, ErrorKind, Event};
use annals_testbed::redis::{DURABLE, Redis, RedisCluster};
use annals_testbed::required;
use async_trait::async_trait;

struct Place(String);

#[async_trait]
impl TransportFactory for Place {
    async fn open(&self) -> Arc<dyn Transport> {
        Arc::new(RedisTransport::open(&self.0).await.expect("open"))
    }
}

pub(super) fn batch(from: usize, count: usize) -> Arc<[Message]> {
    let message = |number| {
        let event = Event::new("updated", Entity::new("product", number));
        Message { id: event.id, body: event.encode().unwrap() }
    };
    (from..from + count).map(message).collect()
}

/// The URL with a stream of its own.
fn stream(url: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mark = if url.contains('?') { '&' } else { '?' };
    format!("{url}{mark}stream=audit{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

pub(super) fn receipts(deliveries: &[Delivery]) -> Vec<Receipt> {
    deliveries.iter().map(|delivery| delivery.receipt).collect()
}

#[expect(clippy::print_stdout, reason = "names the case that fails")]
async fn conforms(what: &str, url: &str) {
    for case in CASES {
        println!("{what}: {}", case.name);
        (case.run)(&Place(stream(url))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_conforms() {
    let Some(server) = required(Redis::start(&DURABLE)) else { return };
    conforms("redis", &server.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_conforms() {
    let Some(cluster) = required(RedisCluster::start(&[])) else { return };
    conforms("cluster", &cluster.url()).await;
}

/// What is acknowledged is gone, and nothing of its lease is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_flat_under_steady_load() {
    let Some(server) = required(Redis::start(&[])) else { return };
    let queue = RedisTransport::open(&server.url()).await.unwrap();
    let memory = || {
        let info = server.cli(&["INFO", "memory"]);
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory_dataset:"));
        used.unwrap().trim().parse::<u64>().unwrap()
    };
    let pass = async |events: usize| {
        for from in (0..events).step_by(500) {
            queue.send(batch(from, 500)).await.unwrap();
            let got = queue.receive(Want::up_to(500)).await.unwrap();
            assert_eq!(queue.ack(&receipts(&got)).await.unwrap(), 500);
        }
    };
    pass(5_000).await;
    let before = memory();
    pass(50_000).await;
    let after = memory();
    assert!(after < before + 256 * 1024, "{before} bytes became {after}");
    assert_eq!(server.cli(&["XLEN", "annals"]), "0");
    assert_eq!(server.cli(&["EXISTS", "{annals}:leases"]), "0");
    assert_eq!(server.cli(&["XINFO", "CONSUMERS", "annals", "annals"]), "");
}

/// A worker that died leaves no lease, consumer or event behind, whoever takes over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_worker_held_is_taken_over_in_order() {
    let Some(server) = required(Redis::start(&[])) else { return };
    let sent = batch(0, 1_200);
    let dead = RedisTransport::open(&server.url()).await.unwrap();
    dead.send(sent.clone()).await.unwrap();
    let lease = Duration::from_secs(2);
    for _ in 0..3 {
        let want = Want { lease, ..Want::up_to(300) };
        assert_eq!(dead.receive(want).await.unwrap().len(), 300);
    }
    drop(dead);
    let heir = RedisTransport::open(&server.url()).await.unwrap();
    while heir.stats().await.unwrap().leased > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut got = Vec::new();
    for _ in 0..12 {
        let some = heir.receive(Want::up_to(100)).await.unwrap();
        got.extend(some.iter().map(|one| (one.id, one.attempts)));
        heir.ack(&receipts(&some)).await.unwrap();
    }
    let again = |place| if place < 900 { 2 } else { 1 };
    let expected: Vec<_> = (0..1_200).map(|place| (sent[place].id, again(place))).collect();
    assert!(got == expected, "not in the stream's order");
    assert_eq!(server.cli(&["XINFO", "CONSUMERS", "annals", "annals"]).matches("name").count(), 1);
    assert_eq!(server.cli(&["EXISTS", "{annals}:leases"]), "0");
}

/// The set of leases is gone, as after an eviction: what was held is not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_without_a_lease_come_again() {
    let Some(server) = required(Redis::start(&[])) else { return };
    let queue = RedisTransport::open(&server.url()).await.unwrap();
    queue.send(batch(0, 5)).await.unwrap();
    let held = queue.receive(Want::up_to(5)).await.unwrap();
    server.cli(&["DEL", "{annals}:leases"]);
    assert_eq!(queue.ack(&receipts(&held)).await.unwrap(), 0);
    let next = RedisTransport::open(&server.url()).await.unwrap();
    let again = next.receive(Want::up_to(5)).await.unwrap();
    assert_eq!(again.iter().map(|one| one.attempts).collect::<Vec<_>>(), [2; 5]);
    assert_eq!(next.ack(&receipts(&again)).await.unwrap(), 5);
}

/// What others put into the stream is no event, and goes to failed whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_of_somebody_else_is_kept_whole_when_it_is_buried() {
    let Some(server) = required(Redis::start(&[])) else { return };
    let queue = RedisTransport::open(&server.url()).await.unwrap();
    server.cli(&["XADD", "annals", "*", "sensor", "12", "b", "warm"]);
    let got = queue.receive(Want::up_to(5)).await.unwrap();
    assert_eq!((got.len(), got[0].body.as_slice()), (1, b"warm".as_slice()));
    queue.bury(&[(got[0].receipt, "no event".to_owned())]).await.unwrap();
    let kept = server.cli(&["XRANGE", "{annals}:failed", "-", "+"]);
    assert!(kept.contains("sensor") && kept.contains("12") && kept.contains("no event"), "{kept}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_confirm_what_is_sent() {
    let Some(primary) = required(Redis::start(&[])) else { return };
    let queue = RedisTransport::open(&format!("{}?replicas=1", primary.url())).await.unwrap();
    let alone = queue.send(batch(0, 2)).await.unwrap_err();
    assert_eq!(alone.kind(), ErrorKind::Away);
    assert!(alone.to_string().contains("0 of 1 replicas"), "{alone}");
    let replica = Redis::replica_of(&primary, &[]).unwrap();
    while !primary.cli(&["INFO", "replication"]).contains("state=online") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    queue.send(batch(2, 3)).await.unwrap();
    assert_eq!(replica.cli(&["XLEN", "annals"]), "5");
}
