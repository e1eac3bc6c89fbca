//! The queue in an application's own PostgreSQL database, through sqlx.

use sqlx::error::DatabaseError;
use sqlx::{Executor, Postgres};

use super::ENQUEUE;
use crate::capture::Prepared;
use crate::transport::outbox::{Outbox, private};

impl private::Sealed for Postgres {}

impl Outbox for Postgres {
    const TABLES: &'static str = "open it once with PostgresTransport::open, or run `annals migrate --transport postgres://…`";

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
        // undefined_table
        error.code().is_some_and(|code| code == "42P01")
    }
}
