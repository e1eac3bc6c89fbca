//! Everything that the demo runs: shop, capture, worker, store.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::store::{self, Store};
use annals::transport::Transport;
use annals::worker::{Ended, Figures, Gauge, Stop, Worker};
use annals::{Audit, AuditOptions, CaptureStats, Error, ErrorKind};
use annals_shop::Shop;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::watch::Watch;
use crate::failure::Failure;
use crate::session::Session;

/// A batch that is not full waits for so long only, for the show's sake.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// How long capture and worker may take to finish after the last visit.
const FINISH: Duration = Duration::from_secs(10);

/// A running demo.
pub(super) struct Stage {
    pub(super) store: Arc<dyn Store>,
    /// The log's size before the play: the first position that is new.
    pub(super) from: u64,
    pub(super) address: SocketAddr,
    transports: Vec<Arc<dyn Transport>>,
    audit: Audit,
    stop_worker: Stop,
    gauge: Gauge,
    worker: JoinHandle<annals::Result<Ended>>,
    stop_shop: oneshot::Sender<()>,
    shop: JoinHandle<io::Result<()>>,
    begun: Instant,
    /// Held as long as the demo runs.
    _lock: File,
}

/// What is left of it.
pub(super) struct Played {
    pub(super) store: Arc<dyn Store>,
    pub(super) capture: CaptureStats,
    pub(super) worker: Figures,
    pub(super) took: Duration,
    /// Events in the store.
    pub(super) stored: u64,
    /// Events that are not there yet.
    pub(super) left: u64,
}

impl Stage {
    pub(super) async fn set(session: &Session) -> Result<Self, Failure> {
        session.refuse_memory()?;
        let lock = lock(session)?;
        let store = store::open(&session.config.store).await?;
        let from = store.stats().await?.size;
        let database = session.config.data_dir.join("shop.db");
        if from > 0 && !database.exists() {
            let directory = session.config.data_dir.display();
            return Err(Failure::failed(format!(
                "start the demo: {directory} holds a trail that is not the demo's"
            ))
            .hint("let the demo play elsewhere: --data-dir demo-data"));
        }
        let transports = session.transports().await?;
        let (audit, worker) = capture_and_work(session, &store, &transports)?;
        let (stop_worker, gauge) = (worker.stop_handle(), worker.gauge());
        let worker = tokio::spawn(worker.run());
        let opening = |error: String| {
            Failure::failed(format!("open the shop's database {}: {error}", database.display()))
        };
        private(&database).map_err(|error| opening(error.to_string()))?;
        let shop = Shop::open(&format!("sqlite:{}", database.display()), Some(audit.clone()))
            .await
            .map_err(|error| opening(error.to_string()))?;
        let listen = |error| Failure::failed(format!("listen on 127.0.0.1 for the shop: {error}"));
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let (stop_shop, stopped) = oneshot::channel();
        let shop = tokio::spawn(annals_shop::serve(listener, shop, async {
            // Told, or the demo is gone: both end the shop.
            let _ = stopped.await;
        }));
        let begun = Instant::now();
        Ok(Self {
            store,
            from,
            address,
            transports,
            audit,
            stop_worker,
            gauge,
            worker,
            stop_shop,
            shop,
            begun,
            _lock: lock,
        })
    }

    /// Ends the play in the order of the flow, so that nothing is left on the way.
    pub(super) async fn finish(self, watch: &mut Watch) -> Result<Played, Failure> {
        let Self { store, transports, audit, gauge, begun, .. } = self;
        // Nobody is left to tell if the shop ended by itself.
        let _ = self.stop_shop.send(());
        if let Ok(Ok(Err(error))) = tokio::time::timeout(FINISH, self.shop).await {
            return Err(Failure::failed(format!("serve the shop: {error}")));
        }
        let capture = audit.shutdown(FINISH).await?;
        let deadline = Instant::now() + FINISH;
        let mut left = waiting(&transports).await?;
        while left > 0 && Instant::now() < deadline && !self.worker.is_finished() {
            watch.step().await?;
            left = waiting(&transports).await?;
        }
        self.stop_worker.stop();
        let ended = self
            .worker
            .await
            .map_err(|error| Failure::failed(format!("run the worker: {error}")))?;
        ended?;
        let stored = store.stats().await?.events;
        Ok(Played { store, capture, worker: gauge.read(), took: begun.elapsed(), stored, left })
    }
}

fn capture_and_work(
    session: &Session,
    store: &Arc<dyn Store>,
    transports: &[Arc<dyn Transport>],
) -> Result<(Audit, Worker), Failure> {
    let nowhere = || Error::new(ErrorKind::Usage, "start the demo", "no transport is configured");
    let first = transports.first().ok_or_else(nowhere)?;
    let audit = Audit::start(Arc::clone(first), AuditOptions::default())?;
    let mut options = session.config.worker.clone();
    options.flush_interval = options.flush_interval.min(FLUSH_INTERVAL);
    let mut worker = Worker::new(Arc::clone(store) as _, options);
    for transport in transports {
        worker = worker.transport(Arc::clone(transport));
    }
    Ok((audit, worker))
}

/// Events that a worker has still to store.
async fn waiting(transports: &[Arc<dyn Transport>]) -> Result<u64, Failure> {
    let mut waiting = 0;
    for transport in transports {
        let stats = transport.stats().await?;
        waiting += stats.ready + stats.leased;
    }
    Ok(waiting)
}

/// Two demos would tell each other's story, so there is one a directory. Other
/// commands of this directory may run beside it.
fn lock(session: &Session) -> Result<File, Failure> {
    let directory = &session.config.data_dir;
    let path = directory.join("demo.lock");
    let doing = || format!("start the demo: {}", path.display());
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .and_then(|()| private(&path));
    let file = made.map_err(|error| {
        Failure::failed(format!("{}: {error}", doing()))
            .hint("choose a directory that you can write with --data-dir")
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Failure::failed(format!("{}: another demo runs in this directory", doing()))
                .hint("wait until it has ended, or play elsewhere: --data-dir demo-data"))
        }
        Err(TryLockError::Error(error)) => Err(Failure::failed(format!("{}: {error}", doing()))),
    }
}

/// Opens a file that only its owner may read, and makes it if it is not there.
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}
