//! The queue in an application's own PostgreSQL database, through sqlx.

use async_trait::async_trait;
use sqlx::PgConnection;
use sqlx::error::DatabaseError;

use super::ENQUEUE;
use crate::capture::Prepared;
use crate::transport::outbox::{Outbox, private};

impl private::Sealed for PgConnection {}

#[async_trait]
impl Outbox for PgConnection {
    const TABLES: &'static str = "open it once with PostgresTransport::open, or run `annals migrate --transport postgres://…`";

    async fn enqueue(&mut self, prepared: Prepared) -> Result<(), sqlx::Error> {
        sqlx::query(ENQUEUE)
            .bind(prepared.id.as_bytes().to_vec())
            .bind(prepared.sent_at.as_micros())
            .bind(prepared.body)
            .execute(self)
            .await
            .map(drop)
    }

    async fn tell(&mut self, scope: String) -> Result<(), sqlx::Error> {
        sqlx::query("SELECT set_config('annals.context', $1, true)")
            .bind(scope)
            .execute(self)
            .await
            .map(drop)
    }

    fn has_no_tables(error: &dyn DatabaseError) -> bool {
        // undefined_table
        error.code().is_some_and(|code| code == "42P01")
    }
}
