//! The queue in an application's own SQLite database, through sqlx.

use sqlx::error::DatabaseError;
use sqlx::{Executor, Sqlite};

use super::ENQUEUE;
use crate::capture::Prepared;
use crate::transport::outbox::{Outbox, private};

impl private::Sealed for Sqlite {}

impl Outbox for Sqlite {
    const TABLES: &'static str =
        "open it once with SqliteTransport::open, or run `annals migrate --transport sqlite:PATH`";

    async fn enqueue<'c, E>(on: E, prepared: Prepared) -> Result<(), sqlx::Error>
    where
        E: Executor<'c, Database = Self> + 'c,
    {
        sqlx::query(ENQUEUE)
            .bind(prepared.id.as_bytes().to_vec())
            .bind(prepared.sent_at.as_micros())
            .bind(prepared.body)
            .execute(on)
            .await
            .map(drop)
    }

    fn has_no_tables(error: &dyn DatabaseError) -> bool {
        error.message().contains("no such table: annals_queue")
    }
}
