//! Futures that resolve when events are durable, under any runtime or none.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use super::CaptureStats;
use super::buffer::Buffer;
use crate::error::{Error, Result};
use crate::event::EventId;

/// Resolves when the event is durable, or there was nothing to record.
///
/// Dropping it changes nothing: the event is on its way. Polling it, or
/// [`Receipt::wait`], asks for durability at once instead of within `linger`.
///
/// # Errors
/// The event's fault, a full buffer, or under [`super::Delivery::Strict`] what
/// the transport said.
pub struct Receipt {
    state: State,
    id: Option<EventId>,
}

enum State {
    Nothing,
    Failed(Option<Error>),
    Pending { buffer: Arc<Buffer>, ticket: u64 },
}

impl Receipt {
    pub(super) fn nothing() -> Self {
        Self { state: State::Nothing, id: None }
    }

    pub(super) fn failed(error: Error) -> Self {
        Self { state: State::Failed(Some(error)), id: None }
    }

    pub(super) fn pending(buffer: Arc<Buffer>, ticket: u64, id: Option<EventId>) -> Self {
        Self { state: State::Pending { buffer, ticket }, id }
    }

    /// The event's id; `None` if nothing was recorded.
    #[must_use]
    pub fn id(&self) -> Option<EventId> {
        self.id
    }

    /// What already stands against the event: its fault, or a full buffer.
    /// `None` says nothing about whether it is durable.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        match &self.state {
            State::Failed(error) => error.as_ref(),
            State::Nothing | State::Pending { .. } => None,
        }
    }

    /// Waits on this thread, for programs without an async runtime.
    ///
    /// # Errors
    /// As the future.
    pub fn wait(self) -> Result<()> {
        block_on(self)
    }

    fn settle(&mut self, waker: &Waker) -> Poll<Result<()>> {
        match &mut self.state {
            State::Nothing => Poll::Ready(Ok(())),
            State::Failed(error) => Poll::Ready(error.take().map_or(Ok(()), Err)),
            State::Pending { buffer, ticket } => {
                buffer.poll(*ticket, Some(waker)).map_or(Poll::Pending, Poll::Ready)
            }
        }
    }
}

impl Future for Receipt {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.settle(cx.waker())
    }
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Nothing => "nothing to record",
            State::Failed(_) => "failed",
            State::Pending { .. } => "pending",
        };
        f.debug_struct("Receipt").field("id", &self.id).field("state", &state).finish()
    }
}

/// Resolves when the handle's thread has finished.
#[must_use = "a shutdown is complete when it is awaited"]
pub struct Shutdown(Arc<Buffer>);

impl Shutdown {
    pub(super) fn new(buffer: Arc<Buffer>) -> Self {
        Self(buffer)
    }
}

impl Future for Shutdown {
    type Output = Result<CaptureStats>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_finished(cx.waker()).map_or(Poll::Pending, Poll::Ready)
    }
}

impl std::fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shutdown")
    }
}

/// Wakes a parked thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Drives a future on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park();
    }
}
