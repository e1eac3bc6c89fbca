//! The queue in an application's own PostgreSQL database, through sqlx.

use async_trait::async_trait;
use sqlx::error::DatabaseError;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::capture::Prepared;
use crate::postgres::Time;
use crate::transport::outbox::{Outbox, Waiting, private};

/// As [`super::ENQUEUE`], with values that sqlx has types for.
macro_rules! enqueue {
    ($then:literal) => {
        concat!("INSERT INTO annals_queue (id, sent_at, body) VALUES ($1, $2, $3)", $then)
    };
}

/// Answers null if no worker waits.
const ENQUEUE_AND_TELL: &str = enqueue!(
    " RETURNING (SELECT pg_notify('annals_queue', '') \
     FROM annals_idle WHERE until > clock_timestamp() LIMIT 1)::text"
);
const ENQUEUE_ONLY: &str = enqueue!("");

impl private::Sealed for PgConnection {}

#[async_trait]
impl Outbox for PgConnection {
    const TABLES: &'static str = "open it once with PostgresTransport::open, or run `annals migrate --transport postgres://…`";

    async fn enqueue(&mut self, prepared: Prepared, waiting: &Waiting) -> Result<(), sqlx::Error> {
        let ask = waiting.maybe();
        let enqueue = sqlx::query(if ask { ENQUEUE_AND_TELL } else { ENQUEUE_ONLY })
            .bind(Uuid::from_bytes(*prepared.id.as_bytes()))
            .bind(Time(prepared.sent_at))
            .bind(prepared.body);
        if !ask {
            return enqueue.execute(self).await.map(drop);
        }
        let told: Option<String> = enqueue.fetch_one(self).await?.try_get(0)?;
        waiting.learn(told.is_some());
        Ok(())
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
