//! The database is away, and the application goes on pushing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::store::{self, Appender};
use annals::transport::{self, Transport};
use annals::worker::{Ended, Gauge, Stop, Worker, WorkerOptions};
use annals_testbed::postgres::Postgres;
use annals_testbed::required;
use tokio::task::JoinHandle;

use super::fixture;
use super::list::{List, payload};

/// A list, a database of its own with the table, and a worker between them.
struct Scene {
    list: List,
    server: Postgres,
    database: String,
    source: Arc<dyn Transport>,
    spool: Arc<dyn Transport>,
    table: Arc<dyn Appender>,
    _directory: tempfile::TempDir,
}

struct Working {
    stop: Stop,
    gauge: Gauge,
    running: JoinHandle<annals::Result<Ended>>,
}

impl Scene {
    async fn set(redis: &[&str]) -> Option<Self> {
        let list = List::start(redis)?;
        let server = required(Postgres::start(&[]))?;
        let url = server.database();
        let database = url.rsplit('/').next().unwrap().to_owned();
        let ddl = std::fs::read_to_string(fixture("audits_ddl_pgsql.sql")).unwrap();
        server.sql(&database, &ddl);
        let directory = tempfile::tempdir().unwrap();
        let spool = format!("sqlite:{}", directory.path().join("spool.db").display());
        Some(Self {
            source: list.open().await,
            spool: transport::open(&spool).await.unwrap(),
            table: store::open_appender(&format!("{url}?layout=laravel")).await.unwrap(),
            list,
            server,
            database,
            _directory: directory,
        })
    }

    fn work(&self, rescue_after: Duration) -> Working {
        let mut options = WorkerOptions::default();
        options.flush_interval = Duration::ZERO;
        options.rescue_after = rescue_after;
        let worker = Worker::new(Arc::clone(&self.table), options)
            .transport(Arc::clone(&self.source))
            .spool(Arc::clone(&self.spool));
        let (stop, gauge) = (worker.stop_handle(), worker.gauge());
        Working { stop, gauge, running: tokio::spawn(worker.run()) }
    }

    /// Each row once, and which is the last.
    fn rows(&self) -> String {
        let sql = "SELECT count(*), count(DISTINCT id), max(auditable_id) FROM audits";
        self.server.sql(&self.database, sql)
    }

    async fn held(&self, transport: &Arc<dyn Transport>) -> u64 {
        let stats = transport.stats().await.unwrap();
        stats.ready + stats.leased
    }

    fn push(&self, numbers: std::ops::Range<usize>) {
        let texts: Vec<String> = numbers.map(|number| payload(number).to_string()).collect();
        self.list.push(texts.iter().map(String::as_str));
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "never {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_the_list_is_moved_to_the_spool_and_comes_back() {
    let Some(scene) = Scene::set(&[]).await else { return };
    let working = scene.work(Duration::from_millis(200));
    scene.push(0..50);
    until("stored", async || scene.rows() == "50|50|49").await;

    scene.server.stop();
    scene.push(50..3_000);
    scene.list.push(["no row"]);
    scene.push(3_000..3_050);
    until("moved", async || scene.held(&scene.spool).await == 3_000).await;
    until("emptied", async || scene.held(&scene.source).await == 0).await;
    assert_eq!(scene.source.stats().await.unwrap().failed, 1, "what is no row is not moved");
    assert!(working.gauge.read().rescued >= 3_000);

    scene.server.resume().unwrap();
    until("back", async || scene.rows() == "3050|3050|3049").await;
    until("settled", async || scene.held(&scene.spool).await == 0).await;
    working.stop.stop();
    working.running.await.unwrap().unwrap();
    let figures = working.gauge.read();
    assert_eq!((figures.stored + figures.duplicates, figures.failed), (3_050, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_left_alone_until_it_is_time_or_its_memory_is_nearly_full() {
    let settings = ["maxmemory 4mb", "maxmemory-policy noeviction"];
    let Some(scene) = Scene::set(&settings).await else { return };
    scene.server.stop();
    scene.push(0..500);
    let working = scene.work(Duration::from_secs(3600));
    until("tried", async || working.gauge.read().retried > 300).await;
    assert_eq!(scene.held(&scene.spool).await, 0, "there is room, and a short outage is no reason");

    // Half as much again as the whole memory would hold.
    for part in 1..40 {
        scene.push(part * 500..(part + 1) * 500);
        let full = async || scene.source.fullness().await.unwrap().unwrap() < 0.8;
        until("emptied", full).await;
    }
    assert!(working.gauge.read().rescued > 10_000);
    scene.server.resume().unwrap();
    until("back", async || scene.rows() == "20000|20000|19999").await;
    working.stop.stop();
    working.running.await.unwrap().unwrap();
}
