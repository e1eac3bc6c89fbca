//! `annals up`: everything in one process.

use std::time::{Duration, Instant};

use annals::Timestamp;
use annals::config::{Flag, Origin, RetentionSettings};
use annals::proof::Signer;
use annals::store::{self, Prune};
use annals::worker::WorkerOptions;
use clap::Args;
use tokio::sync::oneshot;

use super::serve::{bind, tell};
use super::{prune, retention, work};
use crate::args::push;
use crate::failure::Failure;
use crate::render::size::plural;
use crate::session::Session;
use crate::signals::Signals;

/// How long to wait at the end for what was taken to become durable.
const DEADLINE: Duration = Duration::from_secs(30);

/// A batch waits no longer than this for company, unless someone set it: on one
/// machine people look at the store right after they sent an event.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);

/// Between two prunes.
const DAY: Duration = Duration::from_secs(86_400);

/// After a prune that failed.
const HOUR: Duration = Duration::from_secs(3_600);

/// Run everything in one process: ingest, worker, daily prune
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Where to listen [default: 127.0.0.1:4620]; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

impl Up {
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let mut flags = Vec::new();
        push(&mut flags, "ingest.listen", "--listen", self.listen.as_ref());
        flags
    }

    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let signals = Signals::listen()?;
        let (server, audit) = bind(session).await?;
        let store = session.store_with_log().await?;
        let worker = session.worker(options(session), store.as_ref()).await?;
        let transports = session.transports().await?;
        let worker = session.reading(worker, &transports);
        let keeper = session.keeper(store.as_ref())?;
        let signer = store.clone().map(|store| session.signer_of(store)).transpose()?;
        let watched = session.watched(&transports, store.clone())?;
        let first = session.first_link(store.as_ref(), server.local_addr()).await;
        let server = session.answering(server, &transports, store)?;
        let server = server.watching(watched.capture(audit.clone()).worker(worker.gauge()));
        tell(session, &server, first)?;
        let (worker_stop, gauge) = (worker.stop_handle(), worker.gauge());
        let (stop, stopped) = oneshot::channel::<()>();
        let (over, worker_over) = oneshot::channel::<()>();
        let stop_worker = worker_stop.clone();
        signals.spawn(move || {
            drop(stop);
            stop_worker.stop();
        });
        let pruner = tokio::spawn(Pruning::of(session, signer).daily());
        let begun = Instant::now();
        // A worker that leaves, for whatever reason, takes the rest along:
        // whoever supervises `up` starts both anew.
        let stopped = async {
            tokio::select! {
                _ = stopped => {}
                _ = worker_over => {}
            }
        };
        let working = async {
            let worked = work::keeping(keeper, worker.run()).await;
            drop(over);
            worked
        };
        let serving = async {
            let served = server.run(stopped).await;
            let ended = audit.shutdown(DEADLINE).await;
            worker_stop.stop();
            served.and(ended.map(drop))
        };
        let (served, worked) = tokio::join!(serving, working);
        pruner.abort();
        if !session.out.json() {
            session.out.line(work::summary(
                &gauge.read(),
                begun.elapsed(),
                worked.as_ref().ok().copied(),
            ))?;
        }
        served?;
        worked?;
        Ok(())
    }
}

fn options(session: &Session) -> WorkerOptions {
    let mut options = session.config.worker.clone();
    let by_default = |key| {
        let mut settings = session.config.settings.iter();
        settings.any(|resolved| resolved.setting.key == key && resolved.origin == Origin::Default)
    };
    if by_default("worker.flush_interval") {
        options.flush_interval = FLUSH_INTERVAL;
    }
    options
}

/// What goes every day.
struct Pruning {
    url: String,
    older_than: Option<Duration>,
    retention: RetentionSettings,
    signer: Option<Signer>,
}

impl Pruning {
    fn of(session: &Session, signer: Option<Signer>) -> Self {
        let config = &session.config;
        Self {
            url: config.store.clone(),
            older_than: config.prune_older_than,
            retention: config.retention.clone(),
            signer,
        }
    }

    /// Prunes once now and then every day, if that is wanted. A store that is away now
    /// is asked again: it keeps nobody from starting.
    async fn daily(self) {
        let by_rules = !self.retention.policy.rules().is_empty();
        if self.url.starts_with("file:") || !by_rules && self.older_than.is_none() {
            return;
        }
        loop {
            let pause = match self.once().await {
                Ok(told) => {
                    told.iter().for_each(|told| tracing::info!("{told}"));
                    DAY
                }
                Err(error) => {
                    tracing::warn!("cannot prune, trying again in an hour: {error}");
                    HOUR
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Says what was removed.
    async fn once(&self) -> annals::Result<Vec<String>> {
        let store = store::open(&self.url).await?;
        if let (Some(signer), [_, ..]) = (&self.signer, self.retention.policy.rules()) {
            let applied = retention::apply_once(signer, &*store, &self.retention, |_| ()).await?;
            let rules = self.retention.policy.rules().iter().zip(applied);
            let removed = rules.filter(|(_, applied)| applied.removed.events > 0);
            return Ok(removed
                .map(|(rule, applied)| retention::sentence(rule, applied.removed))
                .collect());
        }
        let Some(age) = self.older_than else { return Ok(Vec::new()) };
        let mut wanted = Prune::before(Timestamp::now().before(age)).by(prune::by());
        if let Some(signer) = &self.signer {
            wanted = wanted.signed_by(signer);
        }
        let pruned = store::prune(&*store, &wanted, |_| ()).await?;
        let events = pruned.removed.events;
        Ok((events > 0)
            .then(|| format!("pruned {}", plural(events, "event")))
            .into_iter()
            .collect())
    }
}
