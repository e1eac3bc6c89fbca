//! Enqueueing inside the application's own sqlx transaction.

#[cfg(feature = "postgres")]
use std::{
    sync::LazyLock,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use async_trait::async_trait;

use crate::capture::{Audit, Prepared};
use crate::context::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventId};

/// A transaction, or a connection, of a database that holds a queue beside an
/// application's own tables.
#[async_trait]
pub trait Outbox: private::Sealed + Send {
    /// How the tables are made, for messages.
    #[doc(hidden)]
    const TABLES: &'static str;

    /// Inserts one event, in one round trip, and tells workers that wait for it,
    /// unless the handle knows that there are none.
    #[doc(hidden)]
    async fn enqueue(&mut self, prepared: Prepared, waiting: &Waiting) -> Result<(), sqlx::Error>;

    /// Keeps what a scope knows for the triggers of attached tables.
    #[doc(hidden)]
    async fn tell(&mut self, scope: String) -> Result<(), sqlx::Error>;

    /// Whether an error says that there is no queue.
    #[doc(hidden)]
    fn has_no_tables(error: &dyn sqlx::error::DatabaseError) -> bool;
}

/// What a handle knows of workers that wait for the next event: whoever has just
/// been told that there are none does not ask again at once.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Waiting {
    /// When there was none, in nanoseconds of the process, 0 if there were some.
    #[cfg(feature = "postgres")]
    none_at: AtomicU64,
}

#[cfg(feature = "postgres")]
impl Waiting {
    /// For how long nobody asks again. A worker that begins to wait looks once more
    /// after twice this time.
    pub(crate) const KNOWN: Duration = Duration::from_millis(5);

    /// Whether somebody may wait.
    pub(crate) fn maybe(&self) -> bool {
        let none_at = self.none_at.load(Ordering::Relaxed);
        none_at == 0 || Self::now().saturating_sub(none_at) > Self::KNOWN.as_nanos() as u64
    }

    /// Keeps what the database said.
    pub(crate) fn learn(&self, somebody: bool) {
        self.none_at.store(if somebody { 0 } else { Self::now() }, Ordering::Relaxed);
    }

    /// Nanoseconds since the process first asked; never 0.
    fn now() -> u64 {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

pub(super) mod private {
    /// Only Annals knows its tables.
    pub trait Sealed {}
}

impl<D> private::Sealed for sqlx::Transaction<'_, D>
where
    D: sqlx::Database,
    D::Connection: private::Sealed,
{
}

#[async_trait]
impl<D> Outbox for sqlx::Transaction<'_, D>
where
    D: sqlx::Database,
    D::Connection: Outbox,
{
    const TABLES: &'static str = <D::Connection as Outbox>::TABLES;

    async fn enqueue(&mut self, prepared: Prepared, waiting: &Waiting) -> Result<(), sqlx::Error> {
        (**self).enqueue(prepared, waiting).await
    }

    async fn tell(&mut self, scope: String) -> Result<(), sqlx::Error> {
        (**self).tell(scope).await
    }

    fn has_no_tables(error: &dyn sqlx::error::DatabaseError) -> bool {
        <D::Connection as Outbox>::has_no_tables(error)
    }
}

impl Audit {
    /// Enqueues an event inside the application's own transaction: commit and
    /// the event is there, roll back and it is not. What the current
    /// [`crate::Scope`] knows goes with it.
    ///
    /// `on` is the transaction, or a connection, whose database is also opened by
    /// a transport, which makes the tables and from which a worker reads. This
    /// handle's own transport is not involved, nor is the application's
    /// transaction ended.
    ///
    /// # Errors
    /// Every fault of the event; [`ErrorKind::Usage`] if the database has no
    /// queue; otherwise what sqlx says, after which the transaction should be
    /// rolled back.
    pub async fn record_in<C: Outbox>(&self, on: &mut C, event: Event) -> Result<EventId> {
        let prepared = self.prepare(&event)?;
        const DOING: &str = "record an event in the application's transaction";
        let enqueued = on.enqueue(prepared, &self.waiting).await;
        enqueued.map(|()| event.id).map_err(|error| explain::<C>(DOING, error))
    }
}

impl Scope {
    /// Tells the triggers of attached tables ([`crate::attach`]) what this scope
    /// knows: who acts, from where, why. In PostgreSQL that holds until the
    /// transaction ends. SQLite has nothing that ends with a transaction: there it
    /// holds until it is told anew, for a minute at most, so tell it in each
    /// transaction.
    ///
    /// # Errors
    /// Every fault of the scope's texts; otherwise what sqlx says, after which the
    /// transaction should be rolled back.
    pub async fn tell_triggers<C: Outbox>(&self, on: &mut C) -> Result<()> {
        const DOING: &str = "tell the triggers of attached tables who acts";
        let known = self.defaults().to_json();
        let known = known.map_err(|fault| Error::new(ErrorKind::Event, DOING, fault))?;
        on.tell(known).await.map_err(|error| explain::<C>(DOING, error))
    }
}

fn explain<C: Outbox>(doing: &'static str, error: sqlx::Error) -> Error {
    let explained = if error.as_database_error().is_some_and(C::has_no_tables) {
        Error::new(ErrorKind::Usage, doing, "this database has no queue of annals").hint(C::TABLES)
    } else {
        Error::new(ErrorKind::Away, doing, &error)
    };
    explained.caused_by(error)
}
