//! Rows that are locked while they are stored, where that is quick.

use std::time::{Duration, Instant};

use annals::transport::{Transport, Want};
use serde_json::json;

use super::scene::{Scene, ids, receipts, receive};

/// What is leased, as everybody sees it.
fn leased(scene: &Scene) -> usize {
    scene.rows("async").iter().filter(|row| row["delivered_at"].is_some()).count()
}

async fn until_leased(scene: &Scene, count: usize) {
    let begun = Instant::now();
    while leased(scene) < count {
        assert!(begun.elapsed() < Duration::from_secs(30), "only {} are leased", leased(scene));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn what_is_settled_soon_is_never_leased_and_what_takes_longer_is() {
    let Some(scene) = Scene::on_postgres() else { return };
    scene.produce(1, 4, json!({}));
    let ours = scene.open(&["AuditEventMessage"], "").await;
    let theirs = scene.open(&["AuditEventMessage"], "").await;
    let quick = ours.receive(Want::up_to(2)).await.unwrap();
    assert_eq!(ids(&quick), ["1", "2"]);
    let stats = ours.stats().await.unwrap();
    assert_eq!((stats.ready, stats.leased), (2, 2));
    let other = theirs.receive(Want::up_to(4)).await.unwrap();
    assert_eq!(ids(&other), ["3", "4"], "nobody else has what is locked");
    assert_eq!(leased(&scene), 0);
    assert_eq!(ours.ack(&receipts(&quick)).await.unwrap(), 2);
    assert_eq!(ours.ack(&receipts(&quick)).await.unwrap(), 0, "a receipt works once");

    until_leased(&scene, 2).await;
    assert!(ours.receive(Want::up_to(4)).await.unwrap().is_empty());
    assert_eq!(theirs.ack(&receipts(&other)).await.unwrap(), 2);
    assert!(scene.rows("async").is_empty());
}

#[tokio::test]
async fn of_what_is_locked_together_each_goes_its_own_way() {
    let Some(scene) = Scene::on_postgres() else { return };
    scene.produce(1, 4, json!({}));
    let transport = scene.open(&["AuditEventMessage"], "").await;
    let got = transport.receive(Want::up_to(4)).await.unwrap();
    let all = receipts(&got);
    assert_eq!(transport.ack(&all[..1]).await.unwrap(), 1);
    assert_eq!(transport.bury(&[(all[1], "broken".to_owned())]).await.unwrap(), 1);
    assert_eq!(leased(&scene), 2, "the others are ours as before");
    assert_eq!(transport.release(&all[2..]).await.unwrap(), 2);
    assert_eq!(scene.counted(), (2, 1));
    let again = transport.receive(Want::up_to(4)).await.unwrap();
    assert_eq!(ids(&again), ["3", "4"]);
    // All of them at once are given back without having been leased.
    assert_eq!(transport.release(&receipts(&again)).await.unwrap(), 2);
    assert_eq!(leased(&scene), 0);
}

#[tokio::test]
async fn what_a_dead_worker_had_locked_is_free_at_once() {
    let Some(scene) = Scene::on_postgres() else { return };
    scene.produce(1, 3, json!({}));
    let dead = scene.open(&["AuditEventMessage"], "").await;
    assert_eq!(dead.receive(Want::up_to(3)).await.unwrap().len(), 3);
    drop(dead);
    let alive = scene.open(&["AuditEventMessage"], "").await;
    assert_eq!(ids(&receive(&alive, 3).await), ["1", "2", "3"]);
}

/// To the letter of Messenger's protocol, for who wants that.
#[tokio::test]
async fn with_hold_no_each_row_is_leased_at_once() {
    let Some(scene) = Scene::on_postgres() else { return };
    scene.produce(1, 2, json!({}));
    let transport = scene.open(&["AuditEventMessage"], "&hold=no").await;
    let got = transport.receive(Want::up_to(2)).await.unwrap();
    assert_eq!((got.len(), leased(&scene)), (2, 2));
    assert_eq!(transport.ack(&receipts(&got)).await.unwrap(), 2);
}
