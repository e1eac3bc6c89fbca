//! Enqueueing inside the application's own sqlx transaction.

use sqlx::{Executor, Sqlite};

use super::ENQUEUE;
use crate::capture::{Audit, Prepared};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventId};

impl Audit {
    /// Enqueues an event inside the application's own transaction: commit and
    /// the event is there, roll back and it is not. What the current
    /// [`crate::Scope`] knows goes with it.
    ///
    /// `on` is the transaction (`&mut *tx`), or a connection, whose database is
    /// also opened by a [`super::SqliteTransport`], which makes the tables and
    /// from which a worker reads. This handle's own transport is not involved,
    /// nor is the application's transaction ended.
    ///
    /// # Errors
    /// Every fault of the event; [`ErrorKind::Usage`] if the database has no
    /// queue; otherwise what sqlx says, after which the transaction should be
    /// rolled back.
    pub async fn record_in<'c, E>(&self, on: E, event: Event) -> Result<EventId>
    where
        E: Executor<'c, Database = Sqlite>,
    {
        let Prepared { id, sent_at, body } = self.prepare(&event)?;
        let enqueued = sqlx::query(ENQUEUE)
            .bind(id.as_bytes().as_slice())
            .bind(sent_at.as_micros())
            .bind(body)
            .execute(on)
            .await;
        match enqueued {
            Ok(_) => Ok(id),
            Err(error) => Err(explain(error)),
        }
    }
}

fn explain(error: sqlx::Error) -> Error {
    const DOING: &str = "record an event in the application's transaction";
    let no_table = error
        .as_database_error()
        .is_some_and(|error| error.message().contains("no such table: annals_queue"));
    let explained = if no_table {
        Error::new(ErrorKind::Usage, DOING, "this database has no queue of annals").hint(
            "open it once with SqliteTransport::open, or run `annals migrate --transport sqlite:PATH`",
        )
    } else {
        Error::new(ErrorKind::Away, DOING, &error)
    };
    explained.caused_by(error)
}
