//! The server itself has a bad day.

use std::time::Duration;

use annals::ErrorKind;
use annals::transport::Transport;
use annals_testbed::redis::{DURABLE, Redis, RedisCluster};
use annals_testbed::required;

use super::super::transport::batch;
use super::scene::{Scene, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_killed_under_load() {
    let Some(server) = required(Redis::start(&DURABLE)) else { return };
    let scene = Scene::begin(&server.url()).await;
    for _ in 0..3 {
        scene.worker.log.clear();
        server.kill();
        scene.waits("refused", 2).await;
        server.resume().unwrap();
        scene.goes_on().await;
    }
    scene.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stands_still() {
    let Some(server) = required(Redis::start(&[])) else { return };
    let url = format!("{}?response_timeout=500ms&connect_timeout=500ms", server.url());
    let scene = Scene::begin(&url).await;
    scene.worker.log.clear();
    server.freeze();
    scene.waits("no answer within", 1).await;
    server.thaw();
    scene.goes_on().await;
    scene.settle().await;
}

/// Nothing can be sent; what is there is stored and acknowledged, which makes room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_full() {
    let Some(server) = required(Redis::start(&["maxmemory-policy noeviction"])) else { return };
    let scene = Scene::begin(&server.url()).await;
    // It is full with events that nobody has stored yet.
    scene.send(batch(0, 500)).await.unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let full = loop {
        match scene.send(batch(0, 1)).await {
            Ok(()) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(full) => break full,
        }
    };
    assert_eq!(full.kind(), ErrorKind::Full, "{full}");
    assert!(full.to_string().contains("maxmemory"), "{full}");
    let begun = std::time::Instant::now();
    loop {
        let left = scene.queue.stats().await.unwrap();
        if (left.ready, left.leased) == (0, 0) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", scene.worker.log.text());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    scene.goes_well().await;
    scene.settle().await;
}

/// It is made a replica of nobody, and answers as one until that is taken back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_read_only() {
    let Some(server) = required(Redis::start(&[])) else { return };
    let scene = Scene::begin(&server.url()).await;
    scene.worker.log.clear();
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    scene.waits("read-only replica", 3).await;
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    scene.goes_on().await;
    scene.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takes_rights_and_the_password_away() {
    let Some(server) = required(Redis::start(&[])) else { return };
    server.cli(&["ACL", "SETUSER", "worker", "on", ">sesame", "~*", "&*", "+@all"]);
    let url = server.url().replace("redis://", "redis://worker:sesame@");
    let scene = Scene::begin(&url).await;
    for (taken, given, told) in [
        ("-xreadgroup", "+xreadgroup", "docs/redis.md"),
        ("resetkeys", "~*", "docs/redis.md"),
        ("resetpass", ">sesame", "password"),
    ] {
        scene.worker.log.clear();
        server.cli(&["ACL", "SETUSER", "worker", taken]);
        // Those who are in stay in, until then.
        let _ = server.try_cli(&["CLIENT", "KILL", "USER", "worker"]);
        scene.waits(told, 3).await;
        server.cli(&["ACL", "SETUSER", "worker", given]);
        scene.goes_on().await;
    }
    scene.settle().await;
}

/// The master with the stream is killed: the cluster is down until it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_a_cluster_without_one_of_its_masters() {
    let Some(cluster) = required(RedisCluster::start(&DURABLE)) else { return };
    let scene = Scene::begin(&format!("{}&response_timeout=2s", cluster.url())).await;
    let own = |node: &&Redis| node.cli(&["KEYS", "annals"]) == "annals";
    let master = cluster.nodes.iter().find(own).unwrap();
    scene.worker.log.clear();
    master.kill();
    let log = &scene.worker.log;
    until("it waits", log, || log.count("still waiting") >= 2).await;
    master.resume().unwrap();
    scene.goes_on().await;
    scene.settle().await;
}
