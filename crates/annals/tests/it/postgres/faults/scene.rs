//! A worker under load whose server has a bad day.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use annals::store::postgres::PostgresStore;
use annals::store::{Appender, Store};
use annals::transport::Transport;
use annals::transport::postgres::PostgresTransport;
use annals::worker::{Ended, Gauge, Stop, Worker, WorkerOptions};
use annals::{Audit, AuditOptions, Delivery, Entity, Event, EventId};
use annals_testbed::postgres::Postgres;
use tokio::task::JoinHandle as Task;
use tracing_subscriber::fmt::MakeWriter;

use crate::check::check;

/// After this, whatever is waited for counts as never coming.
const PATIENCE: Duration = Duration::from_secs(180);

/// What stands on the server with the fault; the rest is on a healthy one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    Queue,
    Store,
    /// In one database, from one to the other of which an event moves in one
    /// transaction.
    Both,
}

/// An application that records without pause, durably, and a worker that stores.
pub(super) struct Scene {
    /// On the server with the fault, as psql would reach it.
    pub(super) database: String,
    pub(super) worker: Working,
    queue: Arc<PostgresTransport>,
    store: Arc<PostgresStore>,
    quiet: Arc<AtomicBool>,
    application: Option<Task<Vec<EventId>>>,
}

impl Scene {
    /// Begins, and waits until the first events are stored.
    pub(super) async fn begin(server: &Postgres, on: On) -> Self {
        let url = server.database();
        Self::through(&url, on, &url).await
    }

    /// As [`Scene::begin`]; whoever works reaches the database through another URL.
    pub(super) async fn through(database: &str, on: On, url: &str) -> Self {
        let healthy = || Postgres::shared().unwrap().database();
        let (queue, store) = match on {
            On::Queue => (url.to_owned(), healthy()),
            On::Store => (healthy(), url.to_owned()),
            On::Both => (url.to_owned(), url.to_owned()),
        };
        Self::between(database, &queue, &store).await
    }

    /// As [`Scene::begin`], with the queue and the store where these URLs say.
    pub(super) async fn between(database: &str, queue: &str, store: &str) -> Self {
        let queue = Arc::new(PostgresTransport::open(queue).await.unwrap());
        let store = Arc::new(PostgresStore::open(store).await.unwrap());
        let quiet = Arc::new(AtomicBool::new(false));
        let application = tokio::spawn(record(Arc::clone(&queue), Arc::clone(&quiet)));
        let scene = Self {
            database: database.to_owned(),
            worker: Working::start(&queue, &store),
            queue,
            store,
            quiet,
            application: Some(application),
        };
        scene.goes_well().await;
        scene
    }

    /// Waits until more events are stored than there are now.
    pub(super) async fn goes_well(&self) {
        let goal = self.worker.gauge.read().stored + 40;
        until("more events are stored", &self.worker.log, || {
            self.worker.gauge.read().stored >= goal
        })
        .await;
    }

    /// Waits until the worker has said what it waits for, and has met it so many
    /// times more without a word.
    pub(super) async fn waits(&self, what: &str, times: usize) {
        let log = &self.worker.log;
        until(what, log, || {
            // While it comes about, the worker may have gone on once or twice.
            log.forget_what_is_past();
            let is_told = log.told().iter().any(|line| line.contains(what));
            is_told && log.count("still waiting") >= times
        })
        .await;
        assert_ne!(self.worker.gauge.read().waiting_for, None);
    }

    /// Waits until the worker goes on by itself. It has said each thing that was in
    /// its way once, and then counted.
    pub(super) async fn goes_on(&self) {
        let log = &self.worker.log;
        until("it goes on", log, || log.count("going on misses=") > 0).await;
        let mut told = log.told();
        let all = told.len();
        told.sort();
        told.dedup();
        assert!(told.len() == all && all <= 4, "told more than once:\n{}", log.text());
        self.goes_well().await;
    }

    /// Lets the application come to its end, and the worker store what is left:
    /// every event once, at positions without gaps; nobody was to blame.
    pub(super) async fn settle(mut self) {
        self.quiet.store(true, Ordering::SeqCst);
        let recorded = self.application.take().unwrap().await.unwrap();
        self.stores(&recorded).await;
        let figures = self.worker.end();
        assert_eq!((figures.failed, figures.conflicts), (0, 0), "{figures:?}");
    }

    async fn stores(&self, recorded: &[EventId]) {
        let begun = Instant::now();
        loop {
            let (left, stored) = (self.queue.stats().await, self.store.stats().await);
            if let (Ok(left), Ok(stored)) = (&left, &stored)
                && left.ready + left.leased == 0
                && stored.events >= recorded.len() as u64
            {
                assert_eq!(left.failed, 0, "no event was to blame");
                break;
            }
            let log = || self.worker.log.text();
            assert!(begun.elapsed() < PATIENCE, "{left:?} {stored:?}\n{}", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut stored = Vec::new();
        loop {
            let window = self.store.window(stored.len() as u64, 1_000).await.unwrap();
            if window.is_empty() {
                break;
            }
            for event in window {
                assert_eq!(event.position, stored.len() as u64, "positions have a gap");
                stored.push(event.id);
            }
        }
        assert_eq!(stored.len(), recorded.len(), "an event is there twice, or was never recorded");
        assert_eq!(stored.iter().collect::<BTreeSet<_>>(), recorded.iter().collect());
        let report = check(self.store.url()).await.unwrap();
        assert_eq!((report.size, report.events), (stored.len() as u64, report.size));
    }
}

/// Records until it is told to be quiet; answers what was acknowledged as durable.
/// A queue that is away is the library's to deal with.
async fn record(queue: Arc<PostgresTransport>, quiet: Arc<AtomicBool>) -> Vec<EventId> {
    let options = AuditOptions::default().delivery(Delivery::Durable);
    let audit = Audit::start(queue, options).unwrap();
    let mut recorded = Vec::new();
    while !quiet.load(Ordering::SeqCst) {
        let event = |number| Event::new("updated", Entity::new("product", number));
        let events: Vec<Event> = (0..5).map(event).collect();
        recorded.extend(events.iter().map(|event| event.id));
        let receipts: Vec<_> = events.into_iter().map(|event| audit.record(event)).collect();
        for receipt in receipts {
            receipt.await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    audit.shutdown(PATIENCE).await.unwrap();
    recorded
}

/// A worker on a thread of its own, and what it logs.
pub(super) struct Working {
    pub(super) gauge: Gauge,
    pub(super) log: Log,
    stop: Stop,
    thread: Option<JoinHandle<annals::Result<Ended>>>,
}

impl Working {
    pub(super) fn start(queue: &Arc<PostgresTransport>, store: &Arc<PostgresStore>) -> Self {
        let mut options = WorkerOptions::default();
        options.batch_size = 20;
        options.flush_interval = Duration::ZERO;
        // Five seconds, the least that a worker takes.
        options.lease = Duration::from_secs(1);
        let worker = Worker::new(store.clone(), options).transport(queue.clone());
        let (gauge, stop, log) = (worker.gauge(), worker.stop_handle(), Log::default());
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(log.clone())
            .finish();
        let thread = std::thread::spawn(move || {
            let _logging = tracing::subscriber::set_default(subscriber);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(worker.run())
        });
        Self { gauge, log, stop, thread: Some(thread) }
    }

    /// Stops it, and answers what it has done.
    pub(super) fn end(mut self) -> annals::worker::Figures {
        self.stop.stop();
        let ended = self.thread.take().unwrap().join().unwrap();
        assert_eq!(ended.unwrap(), Ended::Stopped, "{}", self.log.text());
        self.gauge.read()
    }

    /// Waits until it has given up, and answers why.
    pub(super) async fn gives_up(mut self) -> annals::Error {
        let thread = self.thread.take().unwrap();
        until("it gives up", &self.log, || thread.is_finished()).await;
        thread.join().unwrap().unwrap_err()
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a worker has logged.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    fn count(&self, what: &str) -> usize {
        self.text().matches(what).count()
    }

    /// What it has told of whatever is wrong, until it went on.
    fn told(&self) -> Vec<String> {
        let text = self.text();
        let lines = text.lines().map(str::trim_start);
        let lines = lines.take_while(|line| !line.contains("going on"));
        let told = lines.filter(|line| line.starts_with("WARN") || line.starts_with("ERROR"));
        told.map(str::to_owned).collect()
    }

    /// Forgets what was logged until it went on last.
    fn forget_what_is_past(&self) {
        let mut text = self.0.lock().unwrap();
        let shown = String::from_utf8_lossy(&text).into_owned();
        let Some(last) = shown.rfind("going on misses=") else { return };
        let end = shown[last..].find('\n').map_or(shown.len(), |line| last + line + 1);
        text.drain(..end);
    }

    /// Forgets what was logged so far.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Each line is one write. One for each batch would be too many.
        if !String::from_utf8_lossy(bytes).starts_with("DEBUG batch") {
            self.0.lock().unwrap().extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

pub(super) async fn until(what: &str, log: &Log, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}\n{}", log.text());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
