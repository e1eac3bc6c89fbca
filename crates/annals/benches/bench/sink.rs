//! Where recorded events end, on both sides: they are counted and dropped.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals::transport::memory::MemoryTransport;
use annals::transport::{
    Buried, Delivery, Message, Receipt, Transport, TransportStats, Want, Which,
};
use annals::{Audit, AuditOptions, Result, Timestamp};
use async_trait::async_trait;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

use crate::Outcome;

/// How many events arrived.
#[derive(Clone, Debug, Default)]
pub struct Arrived(Arc<AtomicU64>);

impl Arrived {
    /// Waits until that many have arrived.
    pub fn wait_for(&self, events: u64) {
        while self.0.load(Ordering::Acquire) < events {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// A handle whose events are counted and dropped.
pub fn ours() -> Outcome<(Audit, Arrived)> {
    let arrived = Arrived::default();
    let nowhere = Nowhere { arrived: arrived.clone(), nothing: MemoryTransport::new() };
    Ok((Audit::start(Arc::new(nowhere), AuditOptions::default())?, arrived))
}

/// tracing-appender's writer, whose lines are counted and dropped.
pub fn reference() -> (NonBlocking, WorkerGuard, Arrived) {
    let arrived = Arrived::default();
    let (writer, guard) = NonBlockingBuilder::default().finish(Count(arrived.clone()));
    (writer, guard, arrived)
}

struct Count(Arrived);

impl io::Write for Count {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.0.fetch_add(1, Ordering::Release);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct Nowhere {
    arrived: Arrived,
    /// Answers whatever nobody asks.
    nothing: MemoryTransport,
}

#[async_trait]
impl Transport for Nowhere {
    fn url(&self) -> &str {
        "nowhere:"
    }

    async fn send(&self, batch: Arc<[Message]>) -> Result<()> {
        self.arrived.0.fetch_add(batch.len() as u64, Ordering::Release);
        Ok(())
    }

    async fn receive(&self, want: Want) -> Result<Vec<Delivery>> {
        self.nothing.receive(want).await
    }

    async fn ack(&self, receipts: &[Receipt]) -> Result<usize> {
        self.nothing.ack(receipts).await
    }

    async fn retry(&self, receipts: &[Receipt], at: Timestamp) -> Result<usize> {
        self.nothing.retry(receipts, at).await
    }

    async fn release(&self, receipts: &[Receipt]) -> Result<usize> {
        self.nothing.release(receipts).await
    }

    async fn bury(&self, burials: &[(Receipt, String)]) -> Result<usize> {
        self.nothing.bury(burials).await
    }

    async fn buried(&self, after: Option<u64>, limit: usize) -> Result<Vec<Buried>> {
        self.nothing.buried(after, limit).await
    }

    async fn revive(&self, which: Which<'_>) -> Result<usize> {
        self.nothing.revive(which).await
    }

    async fn remove(&self, which: Which<'_>) -> Result<usize> {
        self.nothing.remove(which).await
    }

    async fn stats(&self) -> Result<TransportStats> {
        self.nothing.stats().await
    }
}
