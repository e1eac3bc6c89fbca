//! The transport in memory: for tests, and for what may be lost with the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::{
    Buried, Delivery, Message, Receipt, Transport, TransportStats, Want, Which, random_lease,
};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Timestamp;

/// A bounded queue in memory. Promises nothing across a crash of the process.
#[derive(Debug)]
pub struct MemoryTransport {
    state: Mutex<State>,
    arrived: Notify,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    /// What a worker could receive now, by number.
    ready: BTreeMap<u64, Item>,
    /// What a worker holds, or what waits for its retry, by number.
    held: BTreeMap<u64, Held>,
    buried: BTreeMap<u64, Buried>,
    bytes: usize,
}

#[derive(Debug)]
struct Item {
    message: Message,
    attempts: u32,
    sent_at: Timestamp,
}

#[derive(Debug)]
struct Held {
    item: Item,
    lease: u64,
    due: Timestamp,
}

impl MemoryTransport {
    /// Bytes of bodies that it holds, at most, unless told otherwise: 64 MiB.
    pub const MAX_BYTES: usize = 64 * 1024 * 1024;

    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self::bounded(Self::MAX_BYTES)
    }

    /// An empty queue that holds at most `max_bytes` of bodies.
    #[must_use]
    pub fn bounded(max_bytes: usize) -> Self {
        Self { state: Mutex::default(), arrived: Notify::new(), max_bytes }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change below is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the receipts still name and hands it to `then`.
    fn settle(&self, receipts: &[Receipt], mut then: impl FnMut(&mut State, u64, Item)) -> usize {
        let mut state = self.state();
        let mut valid = 0;
        for receipt in receipts {
            if let Some(held) = state.take(*receipt) {
                valid += 1;
                let number = u64::try_from(receipt.key).unwrap_or(0);
                then(&mut state, number, held.item);
            }
        }
        drop(state);
        self.arrived.notify_waiters();
        valid
    }
}

impl Default for MemoryTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn take(&mut self, receipt: Receipt) -> Option<Held> {
        let number = u64::try_from(receipt.key).ok()?;
        self.held.get(&number).filter(|held| held.lease == receipt.lease)?;
        self.held.remove(&number)
    }

    fn lease(&mut self, want: &Want, now: Timestamp) -> Vec<Delivery> {
        let ended = self.held.extract_if(.., |_, held| held.due <= now);
        self.ready.extend(ended.map(|(number, held)| (number, held.item)));
        let lease = random_lease();
        let (mut deliveries, mut bytes) = (Vec::new(), 0);
        while deliveries.len() < want.events && bytes < want.bytes {
            let Some((number, mut item)) = self.ready.pop_first() else { break };
            item.attempts += 1;
            bytes += item.message.body.len();
            deliveries.push(Delivery {
                id: item.message.id,
                body: item.message.body.clone(),
                attempts: item.attempts,
                receipt: Receipt { key: u128::from(number), lease },
                refused: None,
            });
            self.held.insert(number, Held { item, lease, due: now.after(want.lease) });
        }
        deliveries
    }

    fn pick(&self, which: Which<'_>) -> Vec<u64> {
        let chosen = self.buried.iter().filter(|(_, buried)| match which {
            Which::All => true,
            Which::Ids(ids) => ids.contains(&buried.id),
        });
        chosen.map(|(number, _)| *number).collect()
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    fn url(&self) -> &str {
        "memory:"
    }

    async fn send(&self, batch: Arc<[Message]>) -> Result<()> {
        let mut state = self.state();
        let bytes: usize = batch.iter().map(|message| message.body.len()).sum();
        if state.bytes + bytes > self.max_bytes {
            let found = format!("{} of {} bytes are taken", state.bytes, self.max_bytes);
            return Err(Error::new(ErrorKind::Full, "send to memory:", found)
                .hint("start a worker, or use a transport on disk"));
        }
        state.bytes += bytes;
        let sent_at = Timestamp::now();
        for message in batch.iter() {
            state.last += 1;
            let number = state.last;
            state.ready.insert(number, Item { message: message.clone(), attempts: 0, sent_at });
        }
        drop(state);
        self.arrived.notify_waiters();
        Ok(())
    }

    async fn receive(&self, want: Want) -> Result<Vec<Delivery>> {
        // What waits for its retry becomes ready without anyone arriving.
        const LOOK_AGAIN: Duration = Duration::from_millis(20);
        let until = Instant::now() + want.wait;
        loop {
            let arrived = self.arrived.notified();
            let deliveries = self.state().lease(&want, Timestamp::now());
            if !deliveries.is_empty() || Instant::now() >= until {
                return Ok(deliveries);
            }
            let next = until.min(Instant::now() + LOOK_AGAIN);
            // Either way, the next turn looks.
            let _ = timeout_at(next, arrived).await;
        }
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<usize> {
        Ok(self.settle(receipts, |state, _, item| state.bytes -= item.message.body.len()))
    }

    async fn retry(&self, receipts: &[Receipt], at: Timestamp) -> Result<usize> {
        Ok(self.settle(receipts, |state, number, item| {
            state.held.insert(number, Held { item, lease: 0, due: at });
        }))
    }

    async fn release(&self, receipts: &[Receipt]) -> Result<usize> {
        Ok(self.settle(receipts, |state, number, mut item| {
            item.attempts -= 1;
            state.ready.insert(number, item);
        }))
    }

    async fn bury(&self, burials: &[(Receipt, String)]) -> Result<usize> {
        let mut valid = 0;
        for (receipt, reason) in burials {
            valid += self.settle(&[*receipt], |state, _, item| {
                state.last += 1;
                let buried = Buried {
                    number: state.last,
                    id: item.message.id,
                    body: item.message.body,
                    reason: reason.clone(),
                    attempts: item.attempts,
                    failed_at: Timestamp::now(),
                };
                state.buried.insert(buried.number, buried);
            });
        }
        Ok(valid)
    }

    async fn buried(&self, after: Option<u64>, limit: usize) -> Result<Vec<Buried>> {
        let from = after.map_or(0, |after| after + 1);
        Ok(self.state().buried.range(from..).take(limit).map(|(_, b)| b.clone()).collect())
    }

    async fn revive(&self, which: Which<'_>) -> Result<usize> {
        let mut state = self.state();
        let chosen = state.pick(which);
        for number in &chosen {
            if let Some(Buried { id, body, .. }) = state.buried.remove(number) {
                let message = Message { id, body };
                let item = Item { message, attempts: 0, sent_at: Timestamp::now() };
                state.last += 1;
                let last = state.last;
                state.ready.insert(last, item);
            }
        }
        drop(state);
        self.arrived.notify_waiters();
        Ok(chosen.len())
    }

    async fn remove(&self, which: Which<'_>) -> Result<usize> {
        let mut state = self.state();
        let chosen = state.pick(which);
        for number in &chosen {
            if let Some(buried) = state.buried.remove(number) {
                state.bytes -= buried.body.len();
            }
        }
        Ok(chosen.len())
    }

    async fn stats(&self) -> Result<TransportStats> {
        let state = self.state();
        let now = Timestamp::now();
        let held = state.held.values().filter(|held| held.due > now).count();
        let waiting = state.ready.values().chain(state.held.values().map(|held| &held.item));
        Ok(TransportStats {
            ready: (state.ready.len() + state.held.len() - held) as u64,
            leased: held as u64,
            failed: state.buried.len() as u64,
            oldest: waiting.map(|item| item.sent_at).min(),
            bytes: Some(state.bytes as u64),
        })
    }
}
