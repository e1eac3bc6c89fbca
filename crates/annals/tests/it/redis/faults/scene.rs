//! A worker under load whose queue's server has a bad day.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use annals::store::sqlite::SqliteStore;
use annals::store::{Appender, Store};
use annals::transport::redis::RedisTransport;
use annals::transport::{Message, Transport};
use annals::worker::{Ended, Gauge, Stop, Worker, WorkerOptions};
use annals::{Audit, AuditOptions, Delivery, Entity, Event, EventId};
use tempfile::TempDir;
use tokio::task::JoinHandle as Task;
use tracing_subscriber::fmt::MakeWriter;

use crate::check::check;

/// After this, whatever is waited for counts as never coming.
const PATIENCE: Duration = Duration::from_secs(120);

/// An application that records without pause, durably, and a worker that stores into
/// a file.
pub(super) struct Scene {
    pub(super) worker: Working,
    pub(super) queue: Arc<RedisTransport>,
    store: Arc<SqliteStore>,
    _directory: TempDir,
    quiet: Arc<AtomicBool>,
    /// What was acknowledged as sent.
    recorded: Arc<Mutex<Vec<EventId>>>,
    application: Option<Task<()>>,
}

impl Scene {
    /// Begins, and waits until the first events are stored.
    pub(super) async fn begin(url: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let store = Arc::new(SqliteStore::open(path.to_str().unwrap()).await.unwrap());
        let queue = Arc::new(RedisTransport::open(url).await.unwrap());
        let quiet = Arc::new(AtomicBool::new(false));
        let recorded = Arc::default();
        // As in production, the application and the worker have nothing in common.
        let sending = Arc::new(RedisTransport::open(url).await.unwrap());
        let application = tokio::spawn(record(sending, Arc::clone(&quiet), Arc::clone(&recorded)));
        let scene = Self {
            worker: Working::start(&queue, &store),
            queue,
            store,
            _directory: directory,
            quiet,
            recorded,
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
        assert!(told.len() == all && all <= 5, "told more than once:\n{}", log.text());
        self.goes_well().await;
    }

    /// Sends events beside those of the application.
    pub(super) async fn send(&self, batch: Arc<[Message]>) -> annals::Result<()> {
        let ids: Vec<EventId> = batch.iter().map(|message| message.id).collect();
        self.queue.send(batch).await?;
        self.recorded.lock().unwrap().extend(ids);
        Ok(())
    }

    /// How many events were acknowledged as sent so far.
    pub(super) fn recorded(&self) -> usize {
        self.recorded.lock().unwrap().len()
    }

    /// Lets the application come to its end, and the worker store what is left: every
    /// event once; nobody was to blame.
    pub(super) async fn settle(self) {
        self.settle_but(0).await;
    }

    /// The same, but for the first so many events, which the server may have lost.
    pub(super) async fn settle_but(mut self, lost: usize) {
        self.quiet.store(true, Ordering::SeqCst);
        self.application.take().unwrap().await.unwrap();
        let recorded = self.recorded.lock().unwrap().clone();
        let begun = Instant::now();
        let stored = loop {
            let stored = self.stored().await;
            let left = self.queue.stats().await;
            if let Ok(left) = &left
                && left.ready + left.leased == 0
                && recorded[lost..].iter().all(|id| stored.contains(id))
            {
                assert_eq!(left.failed, 0, "no event was to blame");
                break stored;
            }
            assert!(begun.elapsed() < PATIENCE, "{left:?}\n{}", self.worker.log.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let known: BTreeSet<EventId> = recorded.iter().copied().collect();
        assert!(stored.is_subset(&known), "something was stored that nobody recorded");
        let report = check(self.store.url()).await.unwrap();
        assert_eq!(
            (report.size, report.events),
            (stored.len() as u64, report.size),
            "stored twice"
        );
        let figures = self.worker.end();
        assert_eq!((figures.failed, figures.conflicts), (0, 0), "{figures:?}");
    }

    async fn stored(&self) -> BTreeSet<EventId> {
        let mut stored = BTreeSet::new();
        loop {
            let window = self.store.window(stored.len() as u64, 1_000).await.unwrap();
            if window.is_empty() {
                return stored;
            }
            stored.extend(window.into_iter().map(|event| event.id));
        }
    }
}

/// Records until it is told to be quiet. A queue that is away is the library's to deal
/// with.
async fn record(
    queue: Arc<RedisTransport>,
    quiet: Arc<AtomicBool>,
    recorded: Arc<Mutex<Vec<EventId>>>,
) {
    let options = AuditOptions::default().delivery(Delivery::Durable);
    let audit = Audit::start(queue, options).unwrap();
    while !quiet.load(Ordering::SeqCst) {
        let event = |number| Event::new("updated", Entity::new("product", number));
        let events: Vec<Event> = (0..5).map(event).collect();
        let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
        let receipts: Vec<_> = events.into_iter().map(|event| audit.record(event)).collect();
        for receipt in receipts {
            receipt.await.unwrap();
        }
        recorded.lock().unwrap().extend(ids);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    audit.shutdown(PATIENCE).await.unwrap();
}

/// A worker on a thread of its own, and what it logs.
pub(super) struct Working {
    pub(super) gauge: Gauge,
    pub(super) log: Log,
    stop: Stop,
    thread: Option<JoinHandle<annals::Result<Ended>>>,
}

impl Working {
    pub(super) fn start(queue: &Arc<RedisTransport>, store: &Arc<SqliteStore>) -> Self {
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

    pub(super) fn count(&self, what: &str) -> usize {
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
