//! The queue in an application's own SQLite database, through sqlx.

use async_trait::async_trait;
use sqlx::SqliteConnection;
use sqlx::error::DatabaseError;

use super::ENQUEUE;
use crate::capture::Prepared;
use crate::transport::outbox::{Outbox, Waiting, private};

impl private::Sealed for SqliteConnection {}

#[async_trait]
impl Outbox for SqliteConnection {
    const TABLES: &'static str =
        "open it once with SqliteTransport::open, or run `annals migrate --transport sqlite:PATH`";

    async fn enqueue(&mut self, prepared: Prepared, _: &Waiting) -> Result<(), sqlx::Error> {
        sqlx::query(ENQUEUE)
            .bind(prepared.id.as_bytes().to_vec())
            .bind(prepared.sent_at.as_micros())
            .bind(prepared.body)
            .execute(self)
            .await
            .map(drop)
    }

    async fn tell(&mut self, scope: String) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO annals_context (one, told, until) VALUES (1, ?1, unixepoch() + 60) \
             ON CONFLICT (one) DO UPDATE SET told = excluded.told, until = excluded.until",
        )
        .bind(scope)
        .execute(self)
        .await
        .map(drop)
    }

    fn has_no_tables(error: &dyn DatabaseError) -> bool {
        error.message().contains("no such table: annals_")
    }
}
