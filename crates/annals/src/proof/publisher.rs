//! Puts the log's checkpoints where whoever holds the database cannot take them back.

mod syslog;
mod target;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::http::Http;
use super::witnessed::best;
use crate::error::Result;
use crate::log::SignedCheckpoint;
use crate::store::Store;

pub use target::Target;

/// Between two looks at the last checkpoint.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the last checkpoint may take to be published, when all is over.
const LAST: Duration = Duration::from_secs(10);

/// Publishes the checkpoints of one store. Nothing is lost in a crash: what was not
/// published then is contained in what is published next.
#[derive(Debug)]
pub struct Publisher {
    store: Arc<dyn Store>,
    targets: Vec<Target>,
    every: Duration,
    http: Http,
}

impl Publisher {
    /// Publishes to these targets, while the log grows, at most once in the time `every`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, targets: Vec<Target>, every: Duration) -> Arc<Self> {
        Arc::new(Self { store, targets, every, http: Http::new() })
    }

    /// Publishes one checkpoint to all targets, each on its own: which could not be
    /// reached, and why.
    pub async fn publish(&self, checkpoint: &SignedCheckpoint) -> Vec<(&Target, Result<()>)> {
        let mut published = Vec::new();
        for target in &self.targets {
            published.push((target, target.publish(&self.http, checkpoint).await));
        }
        published
    }

    /// Publishes while the log grows, until something is over; then the last one. A target
    /// that fails is logged once, and tried again.
    pub async fn run(self: Arc<Self>, over: impl Future<Output = ()>) {
        let (ending, ended) = watch::channel(false);
        let mut publishing = JoinSet::new();
        for index in 0..self.targets.len() {
            publishing.spawn(Arc::clone(&self).follow(index, ended.clone()));
        }
        over.await;
        ending.send_replace(true);
        while publishing.join_next().await.is_some() {}
    }

    async fn follow(self: Arc<Self>, index: usize, mut ended: watch::Receiver<bool>) {
        let Some(target) = self.targets.get(index) else { return };
        let (mut size, mut next, mut told) = (None, Instant::now(), None);
        loop {
            let last = tokio::select! {
                _ = ended.wait_for(|ended| *ended) => true,
                () = tokio::time::sleep(PAUSE) => false,
            };
            if !last && Instant::now() < next {
                continue;
            }
            let published = self.advance(target, &mut size);
            let published = if last {
                tokio::time::timeout(LAST, published).await.unwrap_or(Ok(false))
            } else {
                published.await
            };
            match published {
                Ok(true) => {
                    next = Instant::now() + self.every;
                    told = None;
                }
                Ok(false) => {}
                Err(error) => {
                    let text = error.to_string();
                    if told.as_ref() != Some(&text) {
                        tracing::warn!(target: "annals::proof", %error, "a checkpoint is not published");
                        told = Some(text);
                    }
                    next = Instant::now() + self.every.min(Duration::from_secs(30));
                }
            }
            if last {
                return;
            }
        }
    }

    /// Publishes what is beyond `size`, and says whether there was something.
    async fn advance(&self, target: &Target, size: &mut Option<u64>) -> Result<bool> {
        let from = size.map_or(0, |size| size + 1);
        let Some(checkpoint) = best(self.store.ledger()?, from).await? else { return Ok(false) };
        target.publish(&self.http, &checkpoint).await?;
        *size = Some(checkpoint.head().size);
        Ok(true)
    }
}
