//! Capture: the handle that applications record with.

use std::sync::Arc;
use std::time::Duration;

use crate::change::Auditable;
use crate::error::Result;
use crate::event::{Event, EventId, Text};
use crate::transport::Transport;

/// The handle that applications record with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Audit;

/// How a handle captures.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuditOptions {
    /// The application's name, put into the context of events that have none.
    pub service: Option<Text>,
    /// When `record` counts as done.
    pub delivery: Delivery,
    /// What happens when the buffer is full.
    pub when_full: WhenFull,
    /// Bytes of encoded events that the buffer holds, at most.
    pub buffer_bytes: usize,
    /// How long a buffered event may wait for company.
    pub linger: Duration,
    /// How long a caller may wait for room in the buffer.
    pub max_block: Duration,
    /// Where events go when the transport is away, if anywhere.
    pub spool: Option<Arc<dyn Transport>>,
}

impl Default for AuditOptions {
    fn default() -> Self {
        todo!()
    }
}

/// When the call counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// When it is in bounded memory.
    Buffered,
    /// When the transport has it on disk.
    Durable,
    /// As durable, and a failure must fail the caller's operation.
    Strict,
}

/// What a full buffer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// To the spool; then wait `max_block`; then drop and count.
    Spill,
    /// Wait until there is room.
    Block,
    /// Refuse the event.
    Fail,
    /// Drop the event and count it.
    Drop,
}

/// What a handle has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaptureStats {
    /// Events taken into the buffer.
    pub recorded: u64,
    /// Events that became durable.
    pub durable: u64,
    /// Events that went to the spool instead of the transport.
    pub spilled: u64,
    /// Events that were dropped.
    pub dropped: u64,
    /// Events that were refused: invalid, or no room under `fail`.
    pub refused: u64,
}

/// Resolves when the event is durable (or there was nothing to record).
#[derive(Debug)]
pub struct Receipt;

impl Audit {
    /// Starts capturing into `transport`, on a thread of its own; needs no async runtime.
    pub fn start(_transport: Arc<dyn Transport>, _options: AuditOptions) -> Result<Self> {
        todo!()
    }
    /// Records an event. Never blocks on I/O, never panics.
    pub fn record(&self, _event: Event) -> Receipt {
        todo!()
    }
    /// Records an event that another producer made, as it is: without scope, service and producer.
    pub fn forward(&self, _event: Event) -> Receipt {
        todo!()
    }
    /// Records that an entity came into being.
    pub fn created<T: Auditable + ?Sized>(&self, _value: &T) -> Receipt {
        todo!()
    }
    /// Records what changed; nothing if nothing did.
    pub fn updated<T: Auditable + ?Sized>(&self, _before: &T, _after: &T) -> Receipt {
        todo!()
    }
    /// Records that an entity is gone.
    pub fn deleted<T: Auditable + ?Sized>(&self, _value: &T) -> Receipt {
        todo!()
    }
    /// Resolves when everything recorded before it is durable.
    pub fn flush(&self) -> Receipt {
        todo!()
    }
    /// Stops taking events and waits until all are durable, at most `deadline`.
    pub async fn shutdown(&self, _deadline: Duration) -> Result<CaptureStats> {
        todo!()
    }
    /// As `shutdown`, for programs without an async runtime.
    pub fn shutdown_blocking(&self, _deadline: Duration) -> Result<CaptureStats> {
        todo!()
    }
    /// What it has done so far.
    pub fn stats(&self) -> CaptureStats {
        todo!()
    }
}

impl Receipt {
    /// The event's id; `None` if there was nothing to record, or it was refused.
    pub fn id(&self) -> Option<EventId> {
        todo!()
    }
    /// Waits on this thread.
    pub fn wait(self) -> Result<()> {
        todo!()
    }
}

impl std::future::Future for Receipt {
    type Output = Result<()>;
    fn poll(
        self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<()>> {
        todo!()
    }
}
