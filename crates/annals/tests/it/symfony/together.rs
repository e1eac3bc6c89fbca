//! PHP's workers and ours on one table, while it is written.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::Event;
use annals::query::{Filter, Query};
use annals::store::sqlite::SqliteStore;
use annals::store::{Appender, Store, file::FileStore};
use annals::transport::Transport;
use annals::worker::{Ended, Worker, WorkerOptions};
use serde_json::json;

use super::scene::Scene;

fn options() -> WorkerOptions {
    let mut options = WorkerOptions::default();
    options.batch_size = 20;
    options.flush_interval = Duration::from_millis(50);
    options.lease = Duration::from_secs(1);
    options
}

/// Waits until a table's queue is empty.
async fn emptied(transport: &dyn Transport) {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let stats = transport.stats().await.unwrap();
        if stats.ready + stats.leased == 0 {
            return;
        }
        assert!(Instant::now() < until, "still there: {stats:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn numbers(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_both_kinds_share_a_table_and_nothing_is_lost_or_doubled() {
    let scenes = [Scene::on_postgres(), Scene::on_mariadb()];
    for scene in scenes.into_iter().flatten() {
        share(scene).await;
    }
}

async fn share(scene: Scene) {
    const EACH: usize = 400;
    let handled = scene.php.path("handled");
    let consume = scene.with(json!({"file": handled}));
    let mut consumers: Vec<_> = (0..2).map(|_| scene.php.spawn("consume", &consume)).collect();
    let transport: Arc<dyn Transport> = Arc::new(scene.open(&["AuditEventMessage"], "").await);
    let stored = scene.php.path("audit.log");
    let store: Arc<dyn Appender> =
        Arc::new(FileStore::open(&stored.display().to_string()).await.unwrap());
    let workers: Vec<Worker> = (0..2)
        .map(|_| Worker::new(Arc::clone(&store), options()).transport(Arc::clone(&transport)))
        .collect();
    let stops: Vec<_> = workers.iter().map(Worker::stop_handle).collect();
    let running: Vec<_> = workers.into_iter().map(|worker| tokio::spawn(worker.run())).collect();
    let mut producers = Vec::new();
    for (place, serializer) in ["php", "php", "php"].into_iter().enumerate() {
        let told = json!({"from": place * EACH, "count": EACH, "serializer": serializer});
        producers.push(scene.php.spawn("produce", &scene.with(told)));
    }
    for mut producer in producers {
        assert!(producer.wait().unwrap().success());
    }
    emptied(&*transport).await;
    std::fs::write(scene.php.path("handled.stop"), "").unwrap();
    for consumer in &mut consumers {
        assert!(consumer.wait().unwrap().success());
    }
    for stop in &stops {
        stop.stop();
    }
    for run in running {
        assert_eq!(run.await.unwrap().unwrap(), Ended::Stopped);
    }
    let theirs = numbers(&handled);
    let ours: Vec<String> = numbers(&stored)
        .iter()
        .map(|line| Event::decode(line.as_bytes()).unwrap().entity.id.unwrap().into_owned())
        .collect();
    let all: BTreeSet<&String> = theirs.iter().chain(&ours).collect();
    assert_eq!(theirs.len() + ours.len(), 3 * EACH, "each once");
    assert_eq!(all.len(), 3 * EACH, "and all of them");
    assert!(!ours.is_empty());
}

/// What the process of the next test does until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_in_a_process_of_its_own() {
    let [Ok(url), Ok(store)] = ["ANNALS_TEST_SYMFONY", "ANNALS_TEST_STORE"].map(std::env::var)
    else {
        return;
    };
    let transport = annals::transport::open(&url).await.unwrap();
    let store: Arc<dyn Appender> = Arc::new(SqliteStore::open(&store).await.unwrap());
    let _ = Worker::new(store, options()).transport(transport).run().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_our_worker_is_killed() {
    const COUNT: usize = 1500;
    let Some(scene) = Scene::on_postgres() else { return };
    let url = scene.url(&["AuditEventMessage"], "&redeliver_timeout=2");
    let store_path = scene.php.path("store.db").display().to_string();
    let store = SqliteStore::open(&store_path).await.unwrap();
    let start = || {
        let mut worker = Command::new(std::env::current_exe().unwrap());
        worker
            .args(["--exact", "symfony::together::a_worker_in_a_process_of_its_own"])
            .env("ANNALS_TEST_SYMFONY", &url)
            .env("ANNALS_TEST_STORE", &store_path)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        worker.spawn().unwrap()
    };
    let mut producer = scene.php.spawn("produce", &scene.with(json!({"from": 0, "count": COUNT})));
    let everything = Query { limit: Query::MAX_LIMIT, ..Query::newest(Filter::default()) };
    let mut kills = 0;
    while producer.try_wait().unwrap().is_none() {
        let before = store.query(everything.clone()).await.unwrap().events.len();
        let mut worker = start();
        // In the middle of its work, as far as it came.
        let until = Instant::now() + Duration::from_secs(20);
        while store.query(everything.clone()).await.unwrap().events.len() == before
            && producer.try_wait().unwrap().is_none()
            && Instant::now() < until
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        worker.kill().unwrap();
        worker.wait().unwrap();
        kills += 1;
    }
    let mut worker = start();
    let transport = annals::transport::open(&url).await.unwrap();
    emptied(&*transport).await;
    worker.kill().unwrap();
    worker.wait().unwrap();
    let events = store.query(everything.clone()).await.unwrap().events;
    let ids: BTreeSet<_> = events.iter().map(|stored| stored.event().unwrap().entity.id).collect();
    println!("{kills} kills");
    assert_eq!((events.len(), ids.len()), (COUNT, COUNT));
    assert!(kills > 0);
}
