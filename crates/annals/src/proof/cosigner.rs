//! Has the log's checkpoints cosigned by witnesses (C2SP tlog-witness).
//!
//! Each witness is asked on its own as soon as there is a checkpoint that it has not
//! cosigned; one that is slow or away delays nobody, and signing goes on without it. What
//! it answers is kept with the checkpoint. Several workers may ask at once: a witness
//! cosigns one checkpoint as often as it is asked.
//!
//! A witness is believed in what it shows, not in what it says. If it shows a checkpoint
//! that the log's own key signed and that the log does not contain, the log went back or
//! was made anew: the [`Signer`] learns of it, and signs no more. If it only claims to
//! have seen more, that is told, and nothing else: it could lie.

mod address;
mod ask;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use super::http::Http;
use super::signer::Signer;
use super::witnessed::read;
use crate::error::{Error, ErrorKind, Result};
use crate::log::Signature;
use crate::store::Store;

pub use address::WitnessAddress;

/// Between two looks at the last checkpoint.
const PAUSE: Duration = Duration::from_millis(500);

/// Between two questions to one that is in trouble, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long the last question may take, when all is over.
const LAST: Duration = Duration::from_secs(10);

/// How often a cosignature that another worker overwrote is put back at once; after that
/// the witness is asked again.
const TRIES: usize = 5;

/// Has the checkpoints of one store cosigned.
#[derive(Debug)]
pub struct Cosigner {
    store: Arc<dyn Store>,
    signer: Arc<Signer>,
    witnesses: Vec<WitnessAddress>,
    http: Http,
    /// Held by who adds a cosignature to what is kept.
    adding: Mutex<()>,
}

impl Cosigner {
    /// Asks these witnesses for the log that `signer` signs in `store`.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        signer: Arc<Signer>,
        witnesses: Vec<WitnessAddress>,
    ) -> Arc<Self> {
        let (http, adding) = (Http::new(), Mutex::default());
        Arc::new(Self { store, signer, witnesses, http, adding })
    }

    /// Asks until something is over; then once more. What a witness refuses, or that it is
    /// away, is logged once, and it is asked again, more and more rarely.
    pub async fn run(self: Arc<Self>, over: impl Future<Output = ()>) {
        let (ending, ended) = watch::channel(false);
        let mut asking = JoinSet::new();
        for index in 0..self.witnesses.len() {
            asking.spawn(Arc::clone(&self).follow(index, ended.clone()));
        }
        over.await;
        ending.send_replace(true);
        while asking.join_next().await.is_some() {}
    }

    async fn follow(self: Arc<Self>, index: usize, mut ended: watch::Receiver<bool>) {
        let Some(witness) = self.witnesses.get(index) else { return };
        let name = witness.key.name();
        let (mut old, mut pause, mut told) = (0, PAUSE, None);
        loop {
            let last = tokio::select! {
                _ = ended.wait_for(|ended| *ended) => true,
                () = tokio::time::sleep(pause) => false,
            };
            let asked = self.cosign(witness, &mut old);
            let asked = if last {
                tokio::time::timeout(LAST, asked).await.unwrap_or(Ok(()))
            } else {
                asked.await
            };
            match asked {
                Ok(()) => {
                    if told.take().is_some() {
                        tracing::info!(target: "annals::proof", witness = name, "the witness cosigns again");
                    }
                    pause = PAUSE;
                }
                Err(error) => {
                    let text = error.to_string();
                    if told.as_ref() != Some(&text) {
                        tell(name, &error);
                        told = Some(text);
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
            if last {
                return;
            }
        }
    }

    /// Has the last checkpoint cosigned, if this witness has not done so. `old` is the size
    /// that it has cosigned last, as far as is known.
    async fn cosign(&self, witness: &WitnessAddress, old: &mut u64) -> Result<()> {
        let ledger = self.store.ledger()?;
        let Some(kept) = ledger.last_checkpoints(1).await?.pop() else { return Ok(()) };
        let checkpoint = read(&kept)?;
        let cosigned = checkpoint.note.seen_by(&witness.key).map_err(|fault| {
            let doing = format!("read the log's checkpoint of size {}", kept.size);
            Error::new(ErrorKind::Damaged, doing, fault)
                .hint("the store was altered: `annals verify` says where")
        })?;
        if cosigned.is_some() {
            return Ok(());
        }
        match self.ask(witness, &checkpoint, old).await? {
            Some(signature) => self.keep(kept.size, &signature).await,
            // There is a later one already.
            None => Ok(()),
        }
    }

    /// Keeps a cosignature with its checkpoint, beside those of other witnesses.
    async fn keep(&self, size: u64, signature: &Signature) -> Result<()> {
        let ledger = self.store.ledger()?;
        let _adding = self.adding.lock().await;
        for _ in 0..TRIES {
            let kept = ledger.checkpoints(size, 1).await?.pop();
            let Some(kept) = kept.filter(|kept| kept.size == size) else { return Ok(()) };
            let mut note = read(&kept)?.note;
            if note.signatures().contains(signature) {
                return Ok(());
            }
            note.add(signature.clone());
            ledger.cosign(size, note.to_string()).await?;
        }
        Ok(())
    }
}

/// A log that contradicts itself is an error; all else may pass.
fn tell(witness: &str, error: &Error) {
    if error.kind() == ErrorKind::Damaged {
        tracing::error!(target: "annals::proof", witness, %error, "the log contradicts what was witnessed");
    } else {
        tracing::warn!(target: "annals::proof", witness, %error, "the log is not witnessed");
    }
}
