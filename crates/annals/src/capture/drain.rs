//! The handle's thread: takes what has gathered and makes it durable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::buffer::{Buffer, Entry, Lost, Next, Taken};
use super::spool::Spool;
use super::{WhenFull, dropped_event};
use crate::error::{Error, ErrorKind, Result};
use crate::transport::{Message, Transport};

/// Events sent at once, at most, so that a receipt never waits for a whole buffer.
const MAX_BATCH: usize = 2_000;

/// How long a transport may take before its events go to the spool.
const SPILL_AFTER: Duration = Duration::from_secs(2);

/// Between two attempts on a transport that is away.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Starts the thread.
pub(super) fn start(buffer: Arc<Buffer>, transport: Arc<dyn Transport>) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Transient, "start the capture thread", &error).caused_by(error)
    };
    // Its own small runtime, so that any backend works in a program without one.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    std::thread::Builder::new()
        .name("annals-capture".to_owned())
        .spawn(move || runtime.block_on(Drain::new(buffer, transport).run()))
        .map(drop)
        .map_err(failed)
}

struct Drain {
    buffer: Arc<Buffer>,
    transport: Arc<dyn Transport>,
    spool: Option<Arc<Spool>>,
    /// The outage that was reported last, so that it is reported once.
    reported: Option<String>,
}

/// What became of an attempt to send.
enum Sent {
    Durable { spilled: bool },
    Failed(Error),
}

impl Drain {
    fn new(buffer: Arc<Buffer>, transport: Arc<dyn Transport>) -> Self {
        let spool = buffer.options.spool.as_ref();
        let spool = spool.filter(|_| buffer.options.when_full == WhenFull::Spill);
        let spool = spool.map(|spool| Spool::new(Arc::clone(spool), Arc::clone(&transport)));
        Self { spool: spool.map(Arc::new), buffer, transport, reported: None }
    }

    async fn run(mut self) {
        match self.spool.clone() {
            None => self.drain().await,
            Some(spool) => {
                spool.look().await;
                let moving = tokio::spawn(Arc::clone(&spool).move_all());
                self.drain().await;
                spool.stop();
                // One that panicked has nothing in hand that a lease does not end.
                let _ = moving.await;
            }
        }
        self.buffer.settle(|state| state.finished = true);
    }

    /// Sends until the handle is shut down.
    async fn drain(&mut self) {
        let mut taken = Taken::default();
        let mut lingered = false;
        loop {
            match self.buffer.next(lingered) {
                Next::Finish => break,
                Next::Sleep => {
                    self.buffer.wait(None).await;
                    lingered = false;
                }
                Next::Linger => {
                    self.buffer.wait(Some(self.buffer.options.linger)).await;
                    lingered = true;
                }
                Next::Send => {
                    lingered = false;
                    if !self.send_all(&mut taken).await {
                        break;
                    }
                }
            }
        }
    }

    /// Sends what has gathered; answers whether to go on.
    async fn send_all(&mut self, taken: &mut Taken) -> bool {
        if let Some(lost) = self.buffer.take(taken) {
            self.tell_of(lost, taken.entries.is_empty()).await;
        }
        let mut start = 0;
        let entries = std::mem::take(&mut taken.entries);
        for part in entries.chunks(MAX_BATCH) {
            let from = start;
            start = part.last().map_or(start, |entry| entry.end);
            if !self.send_part(&taken.bytes, from, part).await {
                return false;
            }
            let freed = start - from;
            self.buffer.settle(|state| state.in_flight -= freed.min(state.in_flight));
        }
        taken.bytes.clear();
        taken.entries = entries;
        taken.entries.clear();
        true
    }

    /// Sends the event that tells of drops. Nobody waits for it; if it fails it
    /// goes with the next events, unless there will be none.
    async fn tell_of(&mut self, lost: Lost, alone: bool) {
        let Some(message) = dropped_event(&self.buffer.producer, &lost) else { return };
        let Sent::Failed(error) = self.try_send(&Arc::from([message])).await else { return };
        let closing = self.buffer.deadline().is_some();
        tracing::error!(target: "annals::capture", %error, ?lost, "dropped events");
        if !closing {
            self.buffer.settle(|state| state.lose(lost));
            if alone {
                self.buffer.wait(Some(LONGEST_PAUSE)).await;
            }
        }
    }

    /// Sends one batch, for as long as it takes; answers whether it is settled,
    /// which it is not if the deadline of a shutdown came first.
    async fn send_part(&mut self, bytes: &[u8], from: usize, part: &[Entry]) -> bool {
        let mut entries = part.to_vec();
        let mut starts: Vec<usize> = Vec::with_capacity(part.len());
        part.iter().fold(from, |start, entry| {
            starts.push(start);
            entry.end
        });
        let message = |index: usize, entry: &Entry| Message {
            id: entry.id,
            body: bytes[starts[index]..entry.end].to_vec(),
        };
        let mut batch: Arc<[Message]> =
            part.iter().enumerate().map(|(index, entry)| message(index, entry)).collect();
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.try_send(&batch).await {
                Sent::Durable { spilled } => {
                    self.recovered();
                    self.settle(part, entries.len(), spilled);
                    return true;
                }
                Sent::Failed(error) => error,
            };
            if error.kind() == ErrorKind::Event {
                self.send_singly(&entries, &batch).await;
                self.settle(part, 0, false);
                return true;
            }
            self.report(&error);
            // Who asked for strictness is told now, and the event is not sent later.
            if entries.iter().any(|entry| entry.strict) {
                let keep: Vec<usize> =
                    (0..entries.len()).filter(|index| !entries[*index].strict).collect();
                self.fail(entries.iter().filter(|entry| entry.strict), &error);
                batch = keep.iter().map(|index| batch[*index].clone()).collect();
                entries = keep.iter().map(|index| entries[*index]).collect();
                if entries.is_empty() {
                    self.settle(part, 0, false);
                    return true;
                }
            }
            let deadline = self.buffer.deadline();
            if deadline.is_some_and(|deadline| Instant::now() + pause >= deadline) {
                self.give_up();
                return false;
            }
            self.buffer.wait(Some(pause)).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    async fn try_send(&self, batch: &Arc<[Message]>) -> Sent {
        if let Some(spool) = &self.spool
            && let Some(followed) = spool.follow(batch).await
        {
            return match followed {
                Ok(()) => Sent::Durable { spilled: true },
                Err(error) => Sent::Failed(error),
            };
        }
        let remaining =
            self.buffer.deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let patience = match (&self.spool, remaining) {
            (Some(_), _) => Some(SPILL_AFTER),
            (None, remaining) => remaining,
        };
        let sending = self.transport.send(Arc::clone(batch));
        let sent = match patience {
            None => sending.await,
            Some(patience) => tokio::time::timeout(patience, sending).await.unwrap_or_else(|_| {
                let doing = format!("send {} events to {}", batch.len(), self.transport.url());
                Err(Error::new(ErrorKind::Away, doing, format!("no answer within {patience:?}")))
            }),
        };
        match (sent, &self.spool) {
            (Ok(()), _) => Sent::Durable { spilled: false },
            (Err(error), Some(spool)) if error.kind() != ErrorKind::Event => {
                // The transport may have them all the same; the store knows
                // duplicates by their id.
                match spool.take(batch).await {
                    Ok(()) => {
                        tracing::warn!(target: "annals::capture", %error, "events go to the spool");
                        Sent::Durable { spilled: true }
                    }
                    Err(spool_error) => {
                        let found = format!("{error}; and the spool: {spool_error}");
                        Sent::Failed(Error::new(error.kind(), "make events durable", found))
                    }
                }
            }
            (Err(error), _) => Sent::Failed(error),
        }
    }

    /// Some event of the batch is refused for itself: sends each alone, so that
    /// it fails none of its neighbours.
    async fn send_singly(&self, entries: &[Entry], batch: &[Message]) {
        for (entry, message) in entries.iter().zip(batch) {
            match self.try_send(&Arc::from([message.clone()])).await {
                Sent::Durable { spilled } => self.buffer.settle(|state| {
                    state.stats.durable += 1;
                    state.stats.spilled += u64::from(spilled);
                }),
                Sent::Failed(error) => {
                    tracing::error!(target: "annals::capture", id = %entry.id, %error, "refused an event");
                    self.fail(std::iter::once(entry), &error);
                }
            }
        }
    }

    fn settle(&self, part: &[Entry], durable: usize, spilled: bool) {
        let last = part.last().map_or(0, |entry| entry.ticket);
        self.buffer.settle(|state| {
            state.stats.durable += durable as u64;
            state.stats.spilled += if spilled { durable as u64 } else { 0 };
            state.settled_up_to(last);
        });
    }

    fn fail<'a>(&self, entries: impl Iterator<Item = &'a Entry>, error: &Error) {
        let why = error.to_string();
        self.buffer.settle(|state| {
            for entry in entries {
                state.stats.refused += 1;
                state.fail(entry.ticket, error.kind(), &why);
            }
        });
    }

    fn give_up(&self) {
        let last_error = self.reported.as_deref().unwrap_or("the deadline came first");
        self.buffer.settle(|state| {
            let events = state.unsettled();
            tracing::error!(target: "annals::capture", events, last_error, "lost at shutdown");
            state.stats.dropped += events;
        });
    }

    fn report(&mut self, error: &Error) {
        let told = error.to_string();
        self.buffer.settle(|state| state.last_error = Some(told.clone()));
        if self.reported.as_ref() != Some(&told) {
            tracing::warn!(target: "annals::capture", %error, "waiting for the transport");
            self.reported = Some(told);
        }
    }

    fn recovered(&mut self) {
        if self.reported.take().is_some() {
            tracing::info!(target: "annals::capture", transport = self.transport.url(), "the transport is back");
            self.buffer.settle(|state| state.last_error = None);
        }
    }
}
