//! The transport in memory, for tests and for what may be lost.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Buried, Delivery, Message, Receipt, Transport, TransportStats, Want, Which};
use crate::error::Result;
use crate::event::Timestamp;

/// A bounded queue in memory.
#[derive(Debug)]
pub struct MemoryTransport;

impl MemoryTransport {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    fn url(&self) -> &str {
        todo!()
    }
    async fn send(&self, _batch: Arc<[Message]>) -> Result<()> {
        todo!()
    }
    async fn receive(&self, _want: Want) -> Result<Vec<Delivery>> {
        todo!()
    }
    async fn ack(&self, _receipts: &[Receipt]) -> Result<usize> {
        todo!()
    }
    async fn retry(&self, _receipts: &[Receipt], _at: Timestamp) -> Result<usize> {
        todo!()
    }
    async fn release(&self, _receipts: &[Receipt]) -> Result<usize> {
        todo!()
    }
    async fn bury(&self, _burials: &[(Receipt, String)]) -> Result<usize> {
        todo!()
    }
    async fn buried(&self, _after: Option<u64>, _limit: usize) -> Result<Vec<Buried>> {
        todo!()
    }
    async fn revive(&self, _which: Which<'_>) -> Result<usize> {
        todo!()
    }
    async fn remove(&self, _which: Which<'_>) -> Result<usize> {
        todo!()
    }
    async fn stats(&self) -> Result<TransportStats> {
        todo!()
    }
}
