//! The queue in an application's own MariaDB or MySQL database, through sqlx.

use async_trait::async_trait;
use sqlx::MySqlConnection;
use sqlx::error::DatabaseError;

use super::ENQUEUE;
use crate::capture::Prepared;
use crate::transport::outbox::{Outbox, Waiting, private};

impl private::Sealed for MySqlConnection {}

#[async_trait]
impl Outbox for MySqlConnection {
    const TABLES: &'static str =
        "open it once with MysqlTransport::open, or run `annals migrate --transport mysql://…`";

    async fn enqueue(&mut self, prepared: Prepared, _: &Waiting) -> Result<(), sqlx::Error> {
        let enqueue = sqlx::query(ENQUEUE)
            .bind(prepared.id.as_bytes().to_vec())
            .bind(prepared.sent_at.as_micros())
            .bind(prepared.body);
        enqueue.execute(self).await.map(drop)
    }

    async fn tell(&mut self, scope: String) -> Result<(), sqlx::Error> {
        // Nothing of a session ends with its transaction here, so that the triggers
        // look at the time.
        let tell = "SET @annals_context = ?, @annals_context_at = UTC_TIMESTAMP(6)";
        sqlx::query(tell).bind(scope).execute(self).await.map(drop)
    }

    fn has_no_tables(error: &dyn DatabaseError) -> bool {
        // ER_NO_SUCH_TABLE
        error.code().is_some_and(|code| code == "42S02")
    }
}
