//! How many requests somebody may send, and whose they are.

use annals_server::{Limits, Wire};
use serde_json::json;

use crate::http::{Reply, Request};
use crate::reading::Scene;

async fn scene(per_key: u32, per_address: u32) -> Scene {
    let limits = Limits::default().requests(per_key, per_address);
    Scene::bounded("127.0.0.1:0", Wire::Loopback, true, limits).await
}

fn is_told_to_wait(reply: &Reply, who: &str) -> bool {
    let wait: u64 = reply.header("retry-after").map_or(0, |wait| wait.parse().unwrap());
    assert!(reply.status != 429 || (wait > 0 && reply.detail().contains(who)), "{reply:?}");
    reply.status == 429
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_when_to_come_again() {
    let scene = scene(2, 5_000).await;
    let (key, other) = (scene.reader().await, scene.reader().await);
    let mut told = 0;
    for _ in 0..12 {
        told += usize::from(is_told_to_wait(&scene.get("/v1/checkpoint", &key).await, "this key"));
    }
    assert!((1..=8).contains(&told), "{told}");
    assert_eq!(scene.get("/v1/checkpoint", &other).await.status, 404, "another key's own");
    tokio::time::sleep(std::time::Duration::from_millis(1_000)).await;
    assert_eq!(scene.get("/v1/checkpoint", &key).await.status, 404);
}

#[tokio::test]
async fn an_address_that_asks_too_often_is_told_when_to_come_again() {
    let scene = scene(5_000, 2).await;
    let key = scene.reader().await;
    let from = async |address: &str| {
        let request = Request::get(scene.address, "/v1/checkpoint").key(&key);
        request.with("X-Forwarded-For", address).send(scene.address).await
    };
    let mut told = 0;
    for _ in 0..12 {
        told += usize::from(is_told_to_wait(&from("192.0.2.1").await, "this address"));
    }
    assert!((1..=8).contains(&told), "{told}");
    assert_eq!(from("192.0.2.2").await.status, 404);
    // What this machine's own programs send has no such bound.
    let event = json!({"action": "made", "entity": {"type": "thing"}}).to_string();
    for _ in 0..12 {
        let near = Request::post(scene.address, event.clone()).send(scene.address).await;
        assert_eq!(near.status, 202);
    }
}

/// Who tries keys is slowed down, and keeps nobody out who has one.
#[tokio::test]
async fn trying_keys_is_slow_and_keeps_nobody_out() {
    let scene = scene(5_000, 5_000).await;
    let key = scene.reader().await;
    assert_eq!(scene.get("/v1/checkpoint", &key).await.status, 404);
    scene.keyring().revoke(&key[7..23], None).await.unwrap();
    let good = scene.reader().await;
    // Both are seen.
    assert_eq!(scene.get("/v1/checkpoint", &good).await.status, 404);
    let mut told = 0;
    for _ in 0..80 {
        let reply = scene.get("/v1/checkpoint", &key).await;
        told += usize::from(is_told_to_wait(&reply, "keys that let nobody in"));
        assert!(matches!(reply.status, 401 | 429), "{reply:?}");
    }
    assert!(told > 0);
    assert_eq!(scene.get("/v1/checkpoint", &good).await.status, 404);
}

/// The trail has who sent a request, by the word of proxies that are trusted and of nobody
/// else.
#[tokio::test]
async fn the_trail_has_the_address_behind_trusted_proxies() {
    let scene = scene(5_000, 5_000).await;
    let key = scene.reader().await;
    let request = Request::get(scene.address, "/v1/checkpoint").key(&key);
    // What the client itself wrote stands to the left of what the proxy added.
    request.with("X-Forwarded-For", "10.9.9.9, 203.0.113.9").send(scene.address).await;
    let events = scene.work().await;
    assert_eq!(events[0].context.ip.as_deref(), Some("203.0.113.9"));
}
