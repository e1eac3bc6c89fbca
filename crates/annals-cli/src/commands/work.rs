//! `annals work`: the worker.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::config::Flag;
use annals::transport::Transport;
use annals::worker::{Ended, Figures};
use annals_server::{Server, Watched};
use clap::Args;
use serde_json::json;
use tokio::sync::oneshot;

use crate::args::push;
use crate::failure::Failure;
use crate::keeper::Keeper;
use crate::progress::Progress;
use crate::render::size::{age, bytes, count, plural};
use crate::session::{Session, shown_url};
use crate::signals::Signals;

/// Move events from the queues to the store and its mirrors
#[derive(Debug, Args)]
pub(crate) struct Work {
    /// Events of a batch, at most [default: 100]
    #[arg(long, value_name = "N")]
    batch_size: Option<String>,
    /// How long a batch that is not full waits for more [default: 5s]
    #[arg(long, value_name = "TIME")]
    flush_interval: Option<String>,
    /// Batches at a time, for each queue [default: 1]
    #[arg(long, value_name = "N")]
    concurrency: Option<String>,
    /// How often an event is tried again before it goes to failed [default: 3]
    #[arg(long, value_name = "N")]
    retries: Option<String>,
    /// Leave after this time
    #[arg(long, value_name = "TIME")]
    time_limit: Option<String>,
    /// Leave after this many events
    #[arg(long, value_name = "N")]
    max_events: Option<String>,
    /// Leave when the process occupies more than this, such as 256MiB
    #[arg(long, value_name = "SIZE")]
    memory_limit: Option<String>,
    /// Leave when there is nothing left
    #[arg(long)]
    drain: bool,
    /// Answer Prometheus at /metrics here, such as at 127.0.0.1:9620
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<String>,
}

impl Work {
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let mut flags = Vec::new();
        push(&mut flags, "worker.batch_size", "--batch-size", self.batch_size.as_ref());
        push(&mut flags, "worker.flush_interval", "--flush-interval", self.flush_interval.as_ref());
        push(&mut flags, "worker.concurrency", "--concurrency", self.concurrency.as_ref());
        push(&mut flags, "worker.retries", "--retries", self.retries.as_ref());
        push(&mut flags, "worker.time_limit", "--time-limit", self.time_limit.as_ref());
        push(&mut flags, "worker.max_events", "--max-events", self.max_events.as_ref());
        push(&mut flags, "worker.memory_limit", "--memory-limit", self.memory_limit.as_ref());
        push(&mut flags, "metrics.listen", "--metrics", self.metrics.as_ref());
        flags
    }

    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        session.refuse_memory()?;
        // Before anything is opened, so that a signal is never fatal.
        let signals = Signals::listen()?;
        let mut options = session.config.worker.clone();
        options.drain = self.drain;
        let store = session.store_with_log().await?;
        let worker = session.worker(options, store.as_ref()).await?;
        let transports = session.transports().await?;
        let mut waiting = 0;
        for transport in transports.iter().filter(|_| self.drain) {
            waiting += transport.stats().await?.ready;
        }
        let worker = session.reading(worker, &transports);
        let gauge = worker.gauge();
        let watching = match session.config.metrics.listen {
            Some(address) => {
                let watched = session.watched(&transports, store.clone())?;
                Some(watching(address, watched.worker(gauge.clone())).await?)
            }
            None => None,
        };
        announce(session, &transports);
        let stop = worker.stop_handle();
        signals.spawn(move || stop.stop());
        let progress = self.is_watched(session).then(|| Progress::show(waiting));
        let begun = Instant::now();
        let working = async {
            match &progress {
                None => worker.run().await,
                Some(progress) => tokio::select! {
                    ended = worker.run() => ended,
                    never = progress.follow(&gauge) => match never {},
                },
            }
        };
        let ended = keeping(session.keeper(store.as_ref())?, working).await;
        drop(watching);
        drop(progress);
        let figures = gauge.read();
        report(session, &figures, begun.elapsed(), ended.as_ref().ok().copied())?;
        ended?;
        Ok(())
    }

    /// Whether someone drains and looks.
    fn is_watched(&self, session: &Session) -> bool {
        self.drain && !session.out.json() && std::io::stderr().is_terminal()
    }
}

/// Answers Prometheus, until what it gives is dropped.
async fn watching(address: SocketAddr, watched: Watched) -> Result<oneshot::Sender<()>, Failure> {
    let server = Server::bind_metrics(address, watched).await?;
    tracing::info!("metrics at http://{}/metrics", server.local_addr());
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(server.run(async { drop(stopped.await) }));
    Ok(stop)
}

fn announce(session: &Session, transports: &[Arc<dyn Transport>]) {
    for transport in transports {
        tracing::info!(
            "working {} into {}",
            shown_url(transport.url()),
            shown_url(&session.config.store)
        );
    }
}

fn report(
    session: &Session,
    figures: &Figures,
    took: Duration,
    ended: Option<Ended>,
) -> Result<(), Failure> {
    if session.out.json() {
        return session.out.object(&json!({
            "ended": ended.map(word), "seconds": took.as_secs_f64(), "received": figures.received,
            "stored": figures.stored, "duplicates": figures.duplicates, "failed": figures.failed,
            "retried": figures.retried, "rescued": figures.rescued, "redacted": figures.redacted, "batches": figures.batches, "bytes": figures.bytes,
        }));
    }
    session.out.line(summary(figures, took, ended))
}

/// Keeps the log, if there is one, while something works at it.
pub(crate) async fn keeping<T>(keeper: Option<Keeper>, working: impl Future<Output = T>) -> T {
    match keeper {
        Some(keeper) => keeper.beside(working).await,
        None => working.await,
    }
}

/// The worker's figures in one line.
pub(crate) fn summary(figures: &Figures, took: Duration, ended: Option<Ended>) -> String {
    let mut text = format!(
        "stored {} ({}) in {} and {}",
        plural(figures.stored, "event"),
        bytes(figures.bytes),
        plural(figures.batches, "batch").replace("batchs", "batches"),
        age(took),
    );
    for (number, what) in [
        (figures.duplicates, "stored before"),
        (figures.retried, "tried again"),
        (figures.rescued, "moved to the spool"),
        (figures.redacted, "redacted"),
        (figures.failed, "failed (see `annals failed list`)"),
    ] {
        if number > 0 {
            text.push_str(&format!(", {} {what}", count(number)));
        }
    }
    if let Some(ended) = ended {
        text.push_str("; ");
        text.push_str(match ended {
            Ended::Stopped => "stopped by a signal",
            Ended::Drained => "nothing is left",
            Ended::TimeLimit => "its time was up",
            Ended::MaxEvents => "it had its number of events",
            Ended::MemoryLimit => "it had grown too large",
        });
    }
    text
}

fn word(ended: Ended) -> &'static str {
    match ended {
        Ended::Stopped => "stopped",
        Ended::Drained => "drained",
        Ended::TimeLimit => "time-limit",
        Ended::MaxEvents => "max-events",
        Ended::MemoryLimit => "memory-limit",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_in_a_line() {
        let mut figures = Figures::default();
        figures.stored = 1;
        figures.bytes = 512;
        figures.batches = 1;
        let quiet = summary(&figures, Duration::from_millis(40), Some(Ended::Drained));
        figures.stored = 12_345;
        figures.batches = 124;
        figures.duplicates = 3;
        figures.failed = 1;
        let busy = summary(&figures, Duration::from_secs(75), None);
        insta::assert_snapshot!(format!("{quiet}\n{busy}"));
    }
}
