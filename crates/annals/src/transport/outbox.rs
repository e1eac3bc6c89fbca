//! Enqueueing inside the application's own sqlx transaction.

use std::future::Future;

use sqlx::Executor;

use crate::capture::{Audit, Prepared};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventId};

/// A database that holds a queue beside an application's own tables.
pub trait Outbox: sqlx::Database + private::Sealed {
    /// Which transport makes the tables, for messages.
    #[doc(hidden)]
    const TABLES: &'static str;

    /// Inserts one event, in one round trip.
    #[doc(hidden)]
    fn enqueue<'c, E>(
        on: E,
        prepared: Prepared,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send
    where
        E: Executor<'c, Database = Self> + 'c;

    /// Whether an error says that there is no queue.
    #[doc(hidden)]
    fn has_no_tables(error: &dyn sqlx::error::DatabaseError) -> bool;
}

pub(super) mod private {
    /// Only Annals knows its tables.
    pub trait Sealed {}
}

impl Audit {
    /// Enqueues an event inside the application's own transaction: commit and
    /// the event is there, roll back and it is not. What the current
    /// [`crate::Scope`] knows goes with it.
    ///
    /// `on` is the transaction (`&mut *tx`), or a connection, whose database is
    /// also opened by a transport, which makes the tables and from which a worker
    /// reads. This handle's own transport is not involved, nor is the
    /// application's transaction ended.
    ///
    /// # Errors
    /// Every fault of the event; [`ErrorKind::Usage`] if the database has no
    /// queue; otherwise what sqlx says, after which the transaction should be
    /// rolled back.
    pub async fn record_in<'c, E>(&self, on: E, event: Event) -> Result<EventId>
    where
        E: Executor<'c> + 'c,
        E::Database: Outbox,
    {
        let prepared = self.prepare(&event)?;
        let enqueued = <E::Database as Outbox>::enqueue(on, prepared).await;
        enqueued.map(|()| event.id).map_err(explain::<E::Database>)
    }
}

fn explain<D: Outbox>(error: sqlx::Error) -> Error {
    const DOING: &str = "record an event in the application's transaction";
    let explained = if error.as_database_error().is_some_and(D::has_no_tables) {
        Error::new(ErrorKind::Usage, DOING, "this database has no queue of annals").hint(D::TABLES)
    } else {
        Error::new(ErrorKind::Away, DOING, &error)
    };
    explained.caused_by(error)
}
