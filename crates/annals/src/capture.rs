//! Capture: the handle that applications record with.
//!
//! [`Audit::record`] encodes the event on the caller's thread, copies it into a
//! bounded buffer and returns; it does no I/O and cannot panic. A thread of the
//! handle's own takes what has gathered, sends it to the transport in one batch,
//! and tells the receipts. It runs under any async runtime and without one.
//!
//! Awaiting a receipt asks for durability at once: the batch leaves without
//! lingering, and everyone who asked meanwhile shares one sync of the disk.

mod buffer;
mod drain;
mod receipt;
mod spool;

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::change::Auditable;
use crate::context::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{self, Event, EventFault, EventId, Stamp, Text, Timestamp};
use crate::transport::{Message, Transport};

use buffer::{Buffer, SCRATCH};
#[cfg(feature = "testing")]
pub(crate) use receipt::block_on;
pub use receipt::{Receipt, Shutdown};

/// The handle that applications record with. Cheap to clone; all clones share
/// one buffer.
///
/// End it with [`Audit::shutdown`]. When the last clone is dropped without that,
/// it says so on standard error, and what is in the buffer is still sent as long
/// as the process lives.
#[derive(Clone)]
pub struct Audit {
    buffer: Arc<Buffer>,
    /// Dropped with the last clone, while the thread still holds the buffer.
    last: Arc<Last>,
    #[cfg(any(feature = "sqlx-sqlite", feature = "postgres", feature = "mysql"))]
    pub(crate) waiting: Arc<crate::transport::Waiting>,
}

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
    /// How long a buffered event may wait for company, and so how much a crash
    /// of the process may lose.
    pub linger: Duration,
    /// How long a caller may wait for room in the buffer, under
    /// [`WhenFull::Spill`].
    pub max_block: Duration,
    /// Where events go when the transport is away or slow, if anywhere. The handle
    /// moves them to the transport when it answers again, in their order; until then
    /// all later ones go behind them.
    pub spool: Option<Arc<dyn Transport>>,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self {
            service: None,
            delivery: Delivery::Buffered,
            when_full: WhenFull::Spill,
            buffer_bytes: 16 * 1024 * 1024,
            linger: Duration::from_millis(20),
            max_block: Duration::from_millis(100),
            spool: None,
        }
    }
}

impl AuditOptions {
    /// Sets the application's name.
    #[must_use]
    pub fn service(mut self, service: impl Into<Text>) -> Self {
        self.service = Some(service.into());
        self
    }

    /// Sets when `record` counts as done.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// Sets what a full buffer does.
    #[must_use]
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }
}

/// When `record` counts as done, and what a crash right after it loses.
///
/// The transactional class is [`Audit::prepare`] and the transports'
/// `record_in`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// When it is in bounded memory; a crash loses at most the last `linger`.
    /// Await the receipt of an event that matters more.
    Buffered,
    /// When the transport has it on disk, which the receipt tells; the batch
    /// leaves at once. A transport that is away is waited for.
    Durable,
    /// As durable, but a transport that fails is not waited for: the receipt
    /// fails, the event is not sent later, and the caller's operation must fail.
    Strict,
}

/// What a full buffer does. A buffer is full when the transport and the spool
/// are slower than the application for long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The handle's thread puts events into the spool when the transport fails or
    /// takes longer than two seconds, and until all that is there has been moved
    /// to the transport; when that is full too, the caller
    /// waits `max_block`, then the event is dropped and counted.
    Spill,
    /// The caller waits until there is room, as long as that takes.
    Block,
    /// The event is refused and the receipt fails: the caller decides.
    Fail,
    /// The event is dropped and counted; the caller never waits.
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
    /// Of those, events that went to the spool instead of the transport.
    pub spilled: u64,
    /// Events that were valid and are lost: the buffer was full, or they were
    /// not durable at the deadline of a shutdown. Each leaves a gap in the
    /// producer's sequence numbers, and a `annals.dropped` event tells of them.
    pub dropped: u64,
    /// Events that were refused, and whose caller was told: invalid, no room
    /// under [`WhenFull::Fail`], a transport that failed under
    /// [`Delivery::Strict`], or a handle that was shut down.
    pub refused: u64,
}

/// An encoded event, ready for the application's own transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The event's id.
    pub id: EventId,
    /// When it was prepared.
    pub sent_at: Timestamp,
    /// The encoded event.
    pub body: Vec<u8>,
}

impl Audit {
    /// Starts capturing into `transport`, on a thread of its own.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(transport: Arc<dyn Transport>, options: AuditOptions) -> Result<Self> {
        let buffer = Arc::new(Buffer::new(options));
        drain::start(Arc::clone(&buffer), transport)?;
        let last = Arc::new(Last(Arc::clone(&buffer)));
        Ok(Self {
            buffer,
            last,
            #[cfg(any(feature = "sqlx-sqlite", feature = "postgres", feature = "mysql"))]
            waiting: Arc::default(),
        })
    }

    /// Starts capturing into the transport that a URL names, with the default options.
    ///
    /// # Errors
    /// As [`crate::transport::open`].
    pub async fn open(url: &str) -> Result<Self> {
        Self::start(crate::transport::open(url).await?, AuditOptions::default())
    }

    /// Records an event, with what the current [`Scope`] knows. Does no I/O and
    /// never panics. A fault of the event, or a full buffer, is told by the
    /// receipt.
    #[allow(clippy::needless_pass_by_value, reason = "the event is the callee's to keep")]
    pub fn record(&self, event: Event) -> Receipt {
        self.record_as(&event, self.buffer.options.delivery)
    }

    /// As [`Audit::record`], with another class than the handle's.
    pub fn record_as(&self, event: &Event, delivery: Delivery) -> Receipt {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            let encoded =
                Scope::look(|defaults| event::encode(event, self.stamp(defaults), scratch));
            match encoded {
                Ok(split) => self.buffer.push(event.id, scratch, Some(split), delivery),
                Err(fault) => self.refuse(fault),
            }
        })
    }

    /// Records an event that another producer made, as it is: without scope,
    /// service and producer, so that forwarding it again gives the same bytes.
    #[allow(clippy::needless_pass_by_value, reason = "the event is the callee's to keep")]
    pub fn forward(&self, event: Event) -> Receipt {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            match event::encode(&event, Stamp::KEEP, scratch) {
                Ok(_) => self.buffer.push(event.id, scratch, None, self.buffer.options.delivery),
                Err(fault) => self.refuse(fault),
            }
        })
    }

    /// As [`Audit::forward`], of an event that is encoded already.
    pub fn forward_encoded(&self, encoded: &event::Encoded) -> Receipt {
        self.buffer.push(encoded.id(), encoded.bytes(), None, self.buffer.options.delivery)
    }

    /// Records an event of Annals itself, such as who read the trail. Applications have no
    /// use for it: what begins with `annals.` is not theirs to say.
    #[cfg(feature = "access")]
    #[doc(hidden)]
    pub fn record_system(&self, event: &Event, delivery: Delivery) -> Receipt {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            let stamp = Stamp { system: true, ..self.stamp(None) };
            match event::encode(event, stamp, scratch) {
                Ok(split) => self.buffer.push(event.id, scratch, Some(split), delivery),
                Err(fault) => self.refuse(fault),
            }
        })
    }

    /// Records that an entity came into being, with all its values.
    pub fn created<T: Auditable + ?Sized>(&self, value: &T) -> Receipt {
        self.record_built(Event::created(value).map(Some))
    }

    /// Records what changed; nothing if nothing did.
    pub fn updated<T: Auditable + ?Sized>(&self, before: &T, after: &T) -> Receipt {
        self.record_built(Event::updated(before, after))
    }

    /// Records that an entity is gone, with the values it had.
    pub fn deleted<T: Auditable + ?Sized>(&self, value: &T) -> Receipt {
        self.record_built(Event::deleted(value).map(Some))
    }

    /// Records that an entity is back, with all its values.
    pub fn restored<T: Auditable + ?Sized>(&self, value: &T) -> Receipt {
        self.record_built(Event::restored(value).map(Some))
    }

    fn record_built(&self, built: Result<Option<Event>, EventFault>) -> Receipt {
        match built {
            Ok(Some(event)) => self.record_as(&event, self.buffer.options.delivery),
            Ok(None) => Receipt::nothing(),
            Err(fault) => self.refuse(fault),
        }
    }

    /// Encodes an event for the application's own transaction, with what the
    /// current [`Scope`] knows. It bears the producer's id without a sequence
    /// number, since a rollback takes it back.
    ///
    /// # Errors
    /// Every fault of the event.
    pub fn prepare(&self, event: &Event) -> Result<Prepared> {
        let mut encoded = Vec::with_capacity(1024);
        let split =
            Scope::look(|defaults| event::encode(event, self.stamp(defaults), &mut encoded))?;
        let mut body = Vec::with_capacity(encoded.len() + 64);
        self.buffer.assemble(&encoded, split, None, &mut body);
        Ok(Prepared { id: event.id, sent_at: Timestamp::now(), body })
    }

    fn stamp<'a>(&'a self, defaults: Option<&'a event::Defaults>) -> Stamp<'a> {
        let service = self.buffer.options.service.as_ref();
        Stamp { defaults, service, system: false, own_producer: false }
    }

    fn refuse(&self, fault: EventFault) -> Receipt {
        tracing::warn!(target: "annals::capture", %fault, "refused an event");
        self.buffer.lock().stats.refused += 1;
        Receipt::failed(fault.into())
    }

    /// Resolves when everything recorded before it is durable.
    pub fn flush(&self) -> Receipt {
        self.buffer.flush()
    }

    /// Stops taking events and resolves when all are durable, or at the deadline.
    ///
    /// # Errors
    /// [`ErrorKind::Away`] if some were not durable at the deadline: how many
    /// are lost, and what the transport last said.
    pub fn shutdown(&self, deadline: Duration) -> Shutdown {
        self.buffer.close(Some(deadline));
        Shutdown::new(Arc::clone(&self.buffer))
    }

    /// As [`Audit::shutdown`], for programs without an async runtime.
    ///
    /// # Errors
    /// As [`Audit::shutdown`].
    pub fn shutdown_blocking(&self, deadline: Duration) -> Result<CaptureStats> {
        receipt::block_on(self.shutdown(deadline))
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> CaptureStats {
        self.buffer.lock().stats
    }

    /// The id that this handle's events bear as their producer.
    #[must_use]
    pub fn producer(&self) -> &str {
        &self.buffer.producer
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit")
            .field("producer", &self.buffer.producer)
            .field("stats", &self.stats())
            .field("handles", &Arc::strong_count(&self.last))
            .finish_non_exhaustive()
    }
}

/// Notices that the last handle is gone.
struct Last(Arc<Buffer>);

impl Drop for Last {
    fn drop(&mut self) {
        let Some(waiting) = self.0.close(None) else { return };
        let told = format!(
            "annals: the last Audit handle was dropped without shutdown; {waiting} events are not \
             durable yet and are lost if the process ends now (call audit.shutdown(deadline))"
        );
        tracing::error!(target: "annals::capture", "{told}");
        // Loud even where nobody listens to tracing; there is nobody to tell if
        // standard error is closed.
        let _ = writeln!(std::io::stderr(), "{told}");
    }
}

/// The transport's message for a system event of this handle.
fn dropped_event(producer: &str, lost: &buffer::Lost) -> Option<Message> {
    let metadata = event::Object::from_value(&serde_json::json!({
        "events": lost.events, "first_seq": lost.first_seq, "last_seq": lost.last_seq,
    }));
    let entity = event::Entity::new("annals.producer", producer);
    let event = Event::new("annals.dropped", entity).metadata(metadata.ok()?);
    let body = event::encode_system(&event).ok()?;
    Some(Message { id: event.id, body })
}

fn lost_at_shutdown(events: u64, last_error: Option<&str>) -> Error {
    let found = format!("{events} events were not durable by the deadline and are lost");
    Error::new(ErrorKind::Away, "shut down capture", found)
        .hint(last_error.unwrap_or("allow more time, or give the handle a spool").to_owned())
}
