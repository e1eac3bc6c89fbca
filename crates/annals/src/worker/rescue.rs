//! Rescue: while the store is away, what waits in a source that could run full is
//! moved to the spool, which is on disk.
//!
//! An application that fills a Redis list goes on doing so whether anybody reads it or
//! not, and loses events when Redis is full. So once the store has been away for a
//! while, or that memory is nearly full, a lane moves events instead of sleeping
//! between two attempts: into the spool, synced, and only then out of the source. The
//! worker reads the spool as it reads any transport, so that they come back by
//! themselves. One that a crash leaves in both places is stored once.

use std::time::Duration;

use super::batch::{Batch, Settled};
use super::lane::Lane;
use crate::error::Result;
use crate::transport::{Message, Transport, Want};

/// From this part of its memory on, a source is not left to fill any further.
const NEARLY_FULL: f64 = 0.75;

/// Events that are moved at a time, with one sync.
const EVENTS: usize = 1_000;
const BYTES: usize = 4 * 1024 * 1024;

impl Lane {
    /// Moves some, if it is time to. Answers whether there may be more.
    pub(super) async fn rescue(&mut self) -> bool {
        let worker = &self.shared.worker;
        let (Some(spool), Some(since)) = (&worker.spool, self.store_away) else { return false };
        let Ok(Some(fullness)) = self.transport.fullness().await else { return false };
        if fullness < NEARLY_FULL && since.elapsed() < worker.options.rescue_after {
            return false;
        }
        match self.move_to(&**spool).await {
            Ok(moved) => {
                if self.rescued == 0 && moved > 0 {
                    tracing::warn!(
                        target: "annals::worker",
                        transport = self.transport.url(), spool = spool.url(),
                        "the store is away: moving what waits to the spool, until it is back"
                    );
                }
                self.rescued += moved;
                moved > 0
            }
            Err(error) => {
                if self.shared.waiting.is_news(spool.url(), &error) {
                    tracing::warn!(target: "annals::worker", %error, "cannot rescue events; they stay where they are");
                }
                false
            }
        }
    }

    /// Moves a batch; answers how many events it had.
    async fn move_to(&self, spool: &dyn Transport) -> Result<u64> {
        let (lease, wait) = (self.shared.lease(), Duration::ZERO);
        let want = Want { events: EVENTS, bytes: BYTES, lease, wait };
        let got = self.transport.receive(want).await?;
        let (received, mut batch) = (got.len() as u64, Batch::default());
        batch.extend(got);
        let Batch { tickets, records, unreadable, .. } = batch;
        let messages =
            records.iter().map(|record| Message { id: record.id, body: record.body().to_vec() });
        let (messages, rescued): (Vec<Message>, u64) = (messages.collect(), records.len() as u64);
        if let Err(error) = spool.send(messages.into()).await {
            let receipts: Vec<_> = tickets.iter().map(|ticket| ticket.receipt).collect();
            self.transport.release(&receipts).await?;
            return Err(error);
        }
        let receipts: Vec<_> = tickets.iter().map(|ticket| ticket.receipt).collect();
        self.transport.ack(&receipts).await?;
        if !unreadable.is_empty() {
            self.transport.bury(&unreadable).await?;
        }
        self.count(&Settled { burials: unreadable, ..Settled::default() });
        let mut gauge = self.shared.worker.gauge.lock();
        gauge.received += received;
        gauge.rescued += rescued;
        Ok(received)
    }
}
