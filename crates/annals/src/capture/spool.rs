//! The spool behind a handle: where events go while the transport is away or slow,
//! and from where they follow when it is back.
//!
//! Events stay in the order in which they were recorded. So from the first event in
//! the spool on, all go there, and none to the transport, until the last one has
//! been moved. A task beside the handle's own work moves them, oldest first, and
//! takes nothing more until what it has is sent. One that a crash left behind, or
//! another process on the same spool, may still have some in hand: those are waited
//! for, since they are older. A worker that reads the spool itself is not in the way.
//!
//! What was sent and not yet taken out of the spool is sent again after a crash; the
//! store knows it by its id.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Notify, watch};

use crate::error::{ErrorKind, Result};
use crate::transport::{Delivery, Message, Receipt, Transport, Want};

/// What is moved at a time.
const BATCH: Want = Want {
    events: 1_000,
    bytes: 4 * 1024 * 1024,
    lease: Duration::from_secs(30),
    wait: Duration::ZERO,
};

/// How long the transport may take for it: less than the lease.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Spool {
    spool: Arc<dyn Transport>,
    transport: Arc<dyn Transport>,
    /// Whether it holds events, behind which all others go. Whoever adds some holds
    /// the lock meanwhile, and so does who finds that there are none.
    holds: Mutex<bool>,
    filled: Notify,
    /// What is being moved.
    in_hand: StdMutex<Vec<Receipt>>,
    /// Whether nothing more is to be moved.
    stop: watch::Sender<bool>,
}

/// What came of an attempt to move some.
enum Moved {
    Some,
    /// The transport is away, or others have older ones in hand.
    None,
    /// The spool is empty.
    All,
}

impl Spool {
    pub(super) fn new(spool: Arc<dyn Transport>, transport: Arc<dyn Transport>) -> Self {
        Self {
            spool,
            transport,
            holds: Mutex::default(),
            filled: Notify::new(),
            in_hand: StdMutex::default(),
            stop: watch::Sender::new(false),
        }
    }

    /// Finds what an earlier process has left.
    pub(super) async fn look(&self) {
        let mut holds = self.holds.lock().await;
        match self.spool.stats().await {
            Ok(stats) => *holds = stats.ready + stats.leased > 0,
            Err(error) => {
                tracing::warn!(target: "annals::capture", %error, "the spool cannot be read");
            }
        }
        if *holds {
            self.filled.notify_one();
        }
    }

    /// Puts a batch behind what is in the spool; `None` if nothing is.
    pub(super) async fn follow(&self, batch: &Arc<[Message]>) -> Option<Result<()>> {
        let holds = self.holds.lock().await;
        if !*holds {
            return None;
        }
        Some(self.spool.send(Arc::clone(batch)).await)
    }

    /// Takes a batch that the transport did not.
    pub(super) async fn take(&self, batch: &Arc<[Message]>) -> Result<()> {
        let mut holds = self.holds.lock().await;
        self.spool.send(Arc::clone(batch)).await?;
        if !std::mem::replace(&mut *holds, true) {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Moves whatever comes into the spool, until it is stopped. What it has in hand
    /// then is given back.
    pub(super) async fn move_all(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.filled.notified() => {}
                () = self.stopped() => return,
            }
            let mut pause = FIRST_PAUSE;
            let mut others = None;
            loop {
                match self.move_some(&mut others).await {
                    Moved::All => break,
                    Moved::Some if *self.stop.borrow() => return,
                    Moved::Some => pause = FIRST_PAUSE,
                    Moved::None => {
                        tokio::select! {
                            () = tokio::time::sleep(pause) => {}
                            () = self.stopped() => return,
                        }
                        pause = LONGEST_PAUSE.min(pause * 2);
                    }
                }
            }
            tracing::info!(target: "annals::capture", transport = self.transport.url(), "the spool is empty, and events go to the transport again");
        }
    }

    /// Has nothing more moved.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    async fn stopped(&self) {
        // The sender is ours, so that this ends for one reason only.
        let _ = self.stop.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// Gives back what could not be moved.
    async fn give_back(&self) {
        let receipts = std::mem::take(&mut *self.hand());
        if !receipts.is_empty()
            && let Err(error) = self.spool.release(&receipts).await
        {
            tracing::debug!(target: "annals::capture", %error, "the spool keeps them for a while");
        }
    }

    fn hand(&self) -> std::sync::MutexGuard<'_, Vec<Receipt>> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `others` is since when somebody else has some in hand.
    async fn move_some(&self, others: &mut Option<Instant>) -> Moved {
        let deliveries = match self.spool.receive(BATCH).await {
            Ok(deliveries) => deliveries,
            Err(error) => {
                tracing::warn!(target: "annals::capture", %error, "the spool cannot be read");
                return Moved::None;
            }
        };
        *self.hand() = deliveries.iter().map(|delivery| delivery.receipt).collect();
        let holds = self.holds.lock().await;
        let Ok(stats) = self.spool.stats().await else {
            drop(holds);
            self.give_back().await;
            return Moved::None;
        };
        // What others have is older, unless it waits for its retry: that may take
        // long, and no order is worth it.
        if stats.leased > deliveries.len() as u64 {
            let since = *others.get_or_insert_with(Instant::now);
            if since.elapsed() < BATCH.lease {
                drop(holds);
                self.give_back().await;
                return Moved::None;
            }
        } else {
            *others = None;
        }
        if deliveries.is_empty() {
            let mut holds = holds;
            *holds = stats.ready > 0;
            return if *holds { Moved::None } else { Moved::All };
        }
        drop(holds);
        let moved = self.send(deliveries).await;
        self.give_back().await;
        moved
    }

    /// Sends them, and takes them out of the spool.
    async fn send(&self, deliveries: Vec<Delivery>) -> Moved {
        let receipts: Vec<Receipt> = deliveries.iter().map(|delivery| delivery.receipt).collect();
        let batch: Arc<[Message]> = deliveries
            .into_iter()
            .map(|delivery| Message { id: delivery.id, body: delivery.body })
            .collect();
        let sent = match self.try_send(&batch).await {
            Err(Some(ErrorKind::Event)) => self.send_singly(&receipts, &batch).await,
            sent => sent.map(|()| receipts),
        };
        let Ok(receipts) = sent else { return Moved::None };
        match self.spool.ack(&receipts).await {
            Ok(_) => {
                self.hand().clear();
                Moved::Some
            }
            Err(error) => {
                tracing::warn!(target: "annals::capture", %error, "what was moved stays in the spool, and is moved again");
                Moved::None
            }
        }
    }

    /// Sends each alone, so that one which is refused for itself holds up none of the
    /// others; it goes to the spool's failed. Answers what was sent.
    async fn send_singly(
        &self,
        receipts: &[Receipt],
        batch: &[Message],
    ) -> Result<Vec<Receipt>, Option<ErrorKind>> {
        let mut sent = Vec::with_capacity(receipts.len());
        for (receipt, message) in receipts.iter().zip(batch) {
            match self.transport.send(Arc::from([message.clone()])).await {
                Ok(()) => sent.push(*receipt),
                Err(error) if error.kind() == ErrorKind::Event => {
                    let burial = [(*receipt, error.to_string())];
                    self.spool.bury(&burial).await.map_err(|error| Some(error.kind()))?;
                }
                Err(error) => return Err(Some(error.kind())),
            }
        }
        Ok(sent)
    }

    /// The error is its kind, or none for an answer that did not come.
    async fn try_send(&self, batch: &Arc<[Message]>) -> Result<(), Option<ErrorKind>> {
        tokio::select! {
            sent = self.transport.send(Arc::clone(batch)) => {
                sent.map_err(|error| Some(error.kind()))
            }
            () = tokio::time::sleep(PATIENCE) => Err(None),
            () = self.stopped() => Err(None),
        }
    }
}
