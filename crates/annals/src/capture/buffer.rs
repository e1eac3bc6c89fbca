//! The bounded buffer between the callers and the handle's thread.
//!
//! Encoded events lie one behind the other in one allocation, which the thread
//! swaps for an empty one, so that recording copies some hundred bytes under a
//! short lock and allocates nothing.

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::receipt::Receipt;
use super::{AuditOptions, CaptureStats, Delivery, WhenFull};
use crate::error::{Error, ErrorKind};
use crate::event::{self, EventId};

thread_local! {
    /// Where a thread encodes, before it takes the lock.
    pub(super) static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What all clones of a handle and its thread share.
pub(super) struct Buffer {
    pub(super) options: AuditOptions,
    pub(super) producer: String,
    state: Mutex<State>,
    /// Callers that wait for room.
    room: Condvar,
    /// Wakes the handle's thread.
    wake: Notify,
}

/// What the lock protects.
#[derive(Default)]
pub(super) struct State {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Bytes that the thread has taken and not yet made durable.
    pub(super) in_flight: usize,
    /// Tickets given; an event's ticket is the number it made this.
    issued: u64,
    /// The producer's last sequence number.
    seq: u64,
    /// Every ticket up to this one is settled: durable, or in `failed`.
    settled: u64,
    /// Tickets that were settled without becoming durable.
    failed: Vec<Failed>,
    /// Whether an event failed out of turn, so that everyone must look.
    failures_untold: bool,
    wakers: Vec<(u64, Waker)>,
    thread: Thread,
    urgent: bool,
    closed: bool,
    deadline: Option<Instant>,
    pub(super) finished: bool,
    pub(super) last_error: Option<String>,
    /// Drops that no event tells of yet.
    pub(super) lost: Option<Lost>,
    pub(super) stats: CaptureStats,
}

/// Where an event lies, and what was promised.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) id: EventId,
    pub(super) end: usize,
    pub(super) ticket: u64,
    pub(super) strict: bool,
}

/// What the thread is doing, and so whether it must be woken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Thread {
    /// It looks at the buffer again before it sleeps.
    #[default]
    Busy,
    /// It waits for company for the first events.
    Lingering,
    /// It sleeps until there is an event.
    Asleep,
}

/// A run of tickets whose events did not become durable, and why.
struct Failed {
    first: u64,
    last: u64,
    kind: ErrorKind,
    why: String,
}

/// Events that were dropped, as their gap in the sequence numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    pub(super) events: u64,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
}

/// What the thread takes at a time.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) bytes: Vec<u8>,
    pub(super) entries: Vec<Entry>,
}

/// What the thread should do next.
pub(super) enum Next {
    Send,
    Linger,
    Sleep,
    Finish,
}

impl Buffer {
    pub(super) fn new(options: AuditOptions) -> Self {
        Self {
            options,
            producer: format!("{:016x}", crate::transport::random_lease()),
            state: Mutex::default(),
            room: Condvar::new(),
            wake: Notify::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The event with the producer's field put in at `split`.
    pub(super) fn assemble(
        &self,
        encoded: &[u8],
        split: usize,
        seq: Option<u64>,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(&encoded[..split]);
        event::write_producer(&self.producer, seq, out);
        out.extend_from_slice(&encoded[split..]);
    }

    /// Takes an encoded event in. With `split` it gets this producer's next
    /// sequence number.
    pub(super) fn push(
        self: &Arc<Self>,
        id: EventId,
        encoded: &[u8],
        split: Option<usize>,
        delivery: Delivery,
    ) -> Receipt {
        let mut state = self.lock();
        if state.closed {
            state.stats.refused += 1;
            return Receipt::failed(closed());
        }
        if state.used() + encoded.len() > self.options.buffer_bytes {
            let fail = delivery == Delivery::Strict;
            match self.wait_for_room(state, encoded.len(), split.is_some(), fail) {
                Ok(roomy) => state = roomy,
                Err(error) => return Receipt::failed(error),
            }
        }
        let state = &mut *state;
        match split {
            None => state.bytes.extend_from_slice(encoded),
            Some(split) => {
                state.seq += 1;
                self.assemble(encoded, split, Some(state.seq), &mut state.bytes);
            }
        }
        state.issued += 1;
        state.stats.recorded += 1;
        let (ticket, end) = (state.issued, state.bytes.len());
        state.entries.push(Entry { id, end, ticket, strict: delivery == Delivery::Strict });
        let half_full = end > self.options.buffer_bytes / 2;
        if state.wants_wake(delivery != Delivery::Buffered || half_full) {
            self.wake.notify_one();
        }
        Receipt::pending(Arc::clone(self), ticket, Some(id))
    }

    #[cold]
    fn wait_for_room<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        bytes: usize,
        numbered: bool,
        fail: bool,
    ) -> Result<MutexGuard<'a, State>, Error> {
        let patience = match self.options.when_full {
            _ if fail => Some(Duration::ZERO),
            WhenFull::Fail | WhenFull::Drop => Some(Duration::ZERO),
            WhenFull::Spill => Some(self.options.max_block),
            WhenFull::Block => None,
        };
        // Longer than there is time is for ever.
        let until = patience.and_then(|patience| Instant::now().checked_add(patience));
        while state.used() + bytes > self.options.buffer_bytes && !state.closed {
            if state.wants_wake(true) {
                self.wake.notify_one();
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(self.no_room(&mut state, numbered, fail));
            }
            let left = left.unwrap_or(Duration::from_secs(1));
            let waited = self.room.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.closed {
            state.stats.refused += 1;
            return Err(closed());
        }
        Ok(state)
    }

    fn no_room(&self, state: &mut State, numbered: bool, fail: bool) -> Error {
        let found = format!("{} of {} bytes are taken", state.used(), self.options.buffer_bytes);
        let mut error = Error::new(ErrorKind::Full, "record an event into the buffer", found);
        if let Some(last) = &state.last_error {
            error = error.hint(format!("the transport: {last}"));
        }
        if fail || self.options.when_full == WhenFull::Fail {
            state.stats.refused += 1;
        } else {
            let seq = if numbered {
                state.seq += 1;
                state.seq
            } else {
                0
            };
            state.drop_one(seq);
        }
        error
    }

    /// A receipt for everything recorded so far.
    pub(super) fn flush(self: &Arc<Self>) -> Receipt {
        let issued = self.lock().issued;
        Receipt::pending(Arc::clone(self), issued, None)
    }

    /// Settles a receipt, or has `waker` woken when it is.
    pub(super) fn poll(&self, ticket: u64, waker: Option<&Waker>) -> Option<Result<(), Error>> {
        let mut state = self.lock();
        if let Some(outcome) = state.outcome(ticket) {
            return Some(outcome);
        }
        if state.finished {
            let lost = super::lost_at_shutdown(state.unsettled(), state.last_error.as_deref());
            return Some(Err(lost));
        }
        if let Some(waker) = waker {
            state.wakers.push((ticket, waker.clone()));
        }
        if state.wants_wake(true) {
            self.wake.notify_one();
        }
        None
    }

    /// Has `waker` woken when the thread has finished.
    pub(super) fn poll_finished(&self, waker: &Waker) -> Option<Result<CaptureStats, Error>> {
        let mut state = self.lock();
        if !state.finished {
            state.wakers.push((u64::MAX, waker.clone()));
            return None;
        }
        let lost = state.unsettled();
        if lost > 0 {
            return Some(Err(super::lost_at_shutdown(lost, state.last_error.as_deref())));
        }
        Some(Ok(state.stats))
    }

    /// Takes no more events. Answers how many are not durable yet, or `None` if
    /// it was closed before.
    pub(super) fn close(&self, within: Option<Duration>) -> Option<u64> {
        let mut state = self.lock();
        let before = std::mem::replace(&mut state.closed, true);
        state.deadline = state.deadline.or(within.map(|within| Instant::now() + within));
        self.wake.notify_one();
        self.room.notify_all();
        (!before).then_some(state.unsettled())
    }

    /// What the thread should do now.
    pub(super) fn next(&self, lingered: bool) -> Next {
        let mut state = self.lock();
        let nothing = state.entries.is_empty() && state.lost.is_none();
        let (next, thread) = match (nothing, state.closed) {
            (true, true) => (Next::Finish, Thread::Busy),
            (true, false) if lingered => (Next::Sleep, Thread::Asleep),
            (false, _) if lingered || state.urgent || state.closed => (Next::Send, Thread::Busy),
            _ => (Next::Linger, Thread::Lingering),
        };
        state.thread = thread;
        next
    }

    /// Until there is reason to look again.
    pub(super) async fn wait(&self, at_most: Option<Duration>) {
        match at_most {
            None => self.wake.notified().await,
            // Either way, the thread looks.
            Some(linger) => drop(tokio::time::timeout(linger, self.wake.notified()).await),
        }
    }

    /// Swaps what has gathered for the empty `taken`.
    pub(super) fn take(&self, taken: &mut Taken) -> Option<Lost> {
        let mut state = self.lock();
        std::mem::swap(&mut state.bytes, &mut taken.bytes);
        std::mem::swap(&mut state.entries, &mut taken.entries);
        state.in_flight = taken.bytes.len();
        state.urgent = false;
        state.lost.take()
    }

    /// When a shutdown gives up, if one was asked for.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.lock().deadline
    }

    /// Changes the state and wakes whoever that concerns.
    pub(super) fn settle(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let settled = state.settled;
        let everyone = std::mem::take(&mut state.failures_untold) || state.finished;
        let woken: Vec<Waker> = state
            .wakers
            .extract_if(.., |(ticket, _)| *ticket <= settled || everyone)
            .map(|(_, waker)| waker)
            .collect();
        drop(state);
        self.room.notify_all();
        woken.into_iter().for_each(Waker::wake);
    }
}

impl State {
    /// Runs of failed tickets that are told apart, at most; beyond that,
    /// neighbours are joined, which may fail a receipt whose event is durable
    /// and never the other way round.
    const MAX_FAILED: usize = 1024;

    /// Events that are neither durable nor given up.
    pub(super) fn unsettled(&self) -> u64 {
        self.issued - self.settled
    }

    fn used(&self) -> usize {
        self.bytes.len() + self.in_flight
    }

    /// Whether the thread has to be woken, and notes that it will be.
    fn wants_wake(&mut self, urgent: bool) -> bool {
        self.urgent |= urgent;
        let wake = match self.thread {
            Thread::Busy => false,
            Thread::Lingering => urgent,
            Thread::Asleep => true,
        };
        if wake {
            self.thread = Thread::Busy;
        }
        wake
    }

    pub(super) fn drop_one(&mut self, seq: u64) {
        self.stats.dropped += 1;
        self.lose(Lost { events: 1, first_seq: seq, last_seq: seq });
    }

    /// Notes drops that an event has to tell of.
    pub(super) fn lose(&mut self, lost: Lost) {
        self.lost = Some(match self.lost {
            None => lost,
            Some(known) => Lost {
                events: known.events + lost.events,
                first_seq: known.first_seq.min(lost.first_seq),
                last_seq: known.last_seq.max(lost.last_seq),
            },
        });
    }

    /// Notes that everything up to `ticket` is settled.
    pub(super) fn settled_up_to(&mut self, ticket: u64) {
        self.settled = self.settled.max(ticket);
    }

    /// Notes that the event of `ticket` will not become durable.
    pub(super) fn fail(&mut self, ticket: u64, kind: ErrorKind, why: &str) {
        self.failures_untold = true;
        if let Some(run) = self.failed.last_mut() {
            let adjoins = run.last + 1 == ticket && run.why == why;
            if adjoins || self.failed.len() >= Self::MAX_FAILED {
                let run = self.failed.last_mut();
                run.into_iter().for_each(|run| run.last = ticket);
                return;
            }
        }
        self.failed.push(Failed { first: ticket, last: ticket, kind, why: why.to_owned() });
    }

    /// What became of the event of `ticket`, once that is known.
    fn outcome(&self, ticket: u64) -> Option<Result<(), Error>> {
        let failed = self.failed.iter().find(|run| (run.first..=run.last).contains(&ticket));
        match failed {
            Some(run) => Some(Err(Error::new(run.kind, "record an event", &run.why))),
            None => (self.settled >= ticket).then_some(Ok(())),
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "record an event", "the handle was shut down")
        .hint("record before shutdown, or start another handle")
}
