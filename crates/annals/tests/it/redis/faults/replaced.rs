//! Another server answers, or the same one without what it knew.

use annals_testbed::redis::Redis;
use annals_testbed::required;

use super::scene::{Scene, until};

/// Lets the replica answer under the address of its primary.
fn takes_over(replica: &Redis, primary: &Redis) {
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    replica.cli(&["CONFIG", "SET", "port", &primary.port().to_string()]);
}

/// A primary and its replica, which follows.
fn pair() -> Option<(Redis, Redis)> {
    let primary = required(Redis::start(&[]))?;
    let replica = required(Redis::replica_of(&primary, &[]))?;
    while !primary.cli(&["INFO", "replication"]).contains("state=online") {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Some((primary, replica))
}

/// What its replica confirmed survives the primary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_a_replica_that_confirmed_everything() {
    let Some((primary, replica)) = pair() else { return };
    let scene = Scene::begin(&format!("{}?replicas=1", primary.url())).await;
    scene.worker.log.clear();
    primary.kill();
    scene.waits("refused", 2).await;
    let next = required(Redis::start(&[])).unwrap();
    takes_over(&replica, &primary);
    // From now on the replica needs one of its own.
    next.cli(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    scene.goes_on().await;
    assert_eq!(scene.worker.log.count("vanished"), 0);
    scene.settle().await;
}

/// A replica that has heard nothing for a while takes over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_a_replica_that_knew_less() {
    let Some((primary, replica)) = pair() else { return };
    let scene = Scene::begin(&primary.url()).await;
    scene.goes_well().await;
    // It knows the stream and that there were leases, and nothing of what comes now.
    let knows = || {
        replica.cli(&["EXISTS", "annals", "{annals}:count"]) == "2"
            && replica.cli(&["XINFO", "GROUPS", "annals"]).contains("annals")
    };
    until("the replica knows the stream", &scene.worker.log, knows).await;
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    scene.goes_well().await;
    scene.worker.log.clear();
    primary.kill();
    let lost = scene.recorded();
    scene.waits("refused", 2).await;
    takes_over(&replica, &primary);
    scene.goes_well().await;
    let log = &scene.worker.log;
    until("it is told", log, || log.count("the server has gone back") > 0).await;
    assert_eq!(log.count("the server has gone back"), 1, "{}", log.text());
    assert!(log.text().contains("ERROR"));
    scene.settle_but(lost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_one_that_was_emptied() {
    let Some(server) = required(Redis::start(&[])) else { return };
    let scene = Scene::begin(&server.url()).await;
    for command in [["FLUSHALL", "SYNC"].as_slice(), &["DEL", "annals"]] {
        scene.worker.log.clear();
        let lost = scene.recorded();
        server.cli(command);
        let log = &scene.worker.log;
        until("it is told", log, || log.count("has vanished") > 0).await;
        scene.goes_well().await;
        assert_eq!(log.count("has vanished"), 1, "{}", log.text());
        assert!(log.text().contains("ERROR the stream or its group has vanished"));
        assert!(scene.recorded() > lost);
    }
    let lost = scene.recorded();
    scene.settle_but(lost).await;
}

/// A server without any disk starts again with nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_itself_after_a_restart_without_a_log() {
    let Some(server) = required(Redis::start(&[])) else { return };
    let scene = Scene::begin(&server.url()).await;
    scene.worker.log.clear();
    server.kill();
    scene.waits("refused", 2).await;
    let lost = scene.recorded();
    server.resume().unwrap();
    scene.goes_well().await;
    assert_eq!(scene.worker.log.count("has vanished"), 1, "{}", scene.worker.log.text());
    scene.settle_but(lost).await;
}
