//! SIGTERM, SIGINT and SIGQUIT finish what is in hand; a second one leaves at
//! once. SIGHUP opens files anew, after someone moved them away.

use std::process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::store::Appender;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;
use crate::session::shown_url;

/// A signal so soon after the first was sent together with it.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// Listens from the moment it is made, so that no signal is missed.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::failed(format!("listen for signals: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
        })
    }

    /// Waits for one of them; answers its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.quit.recv() => "SIGQUIT",
        }
    }

    /// Calls `stop` at the first signal and leaves at the second, in the
    /// background. What follows the first at once is the same signal again: a
    /// supervisor, or `timeout`, signals the process and then its whole group.
    pub(crate) fn spawn<F>(mut self, stop: F)
    where
        F: FnOnce() + 'static + Send,
    {
        tokio::spawn(async move {
            let name = self.next().await;
            tracing::info!("{name}: finishing what is in hand; once more to leave at once");
            stop();
            let told = Instant::now();
            loop {
                let name = self.next().await;
                if told.elapsed() >= SAME_SIGNAL {
                    tracing::warn!(
                        "{name}: leaving at once; what was not finished is still in the queue"
                    );
                    process::exit(1);
                }
            }
        });
    }
}

/// Reopens these at every SIGHUP, in the background.
pub(crate) fn reopen_on_hangup(appenders: Vec<Arc<dyn Appender>>) -> Result<(), Failure> {
    let mut hangup = signal(SignalKind::hangup())
        .map_err(|error| Failure::failed(format!("listen for SIGHUP: {error}")))?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            for appender in &appenders {
                match appender.reopen().await {
                    Ok(()) => tracing::info!("SIGHUP: reopened {}", shown_url(appender.url())),
                    Err(error) => tracing::warn!("SIGHUP: cannot {error}"),
                }
            }
        }
    });
    Ok(())
}
