//! The store without its log, which only the bench has: rows and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use annals::store::{Appended, Appender, Record};
use annals::{Error, ErrorKind, Result};
use async_trait::async_trait;
use sqlx::postgres::PgPool;

use super::plain;
use crate::Outcome;

/// Copies a batch into the store's table: no hashes, tiles or head, no look for
/// duplicates.
#[derive(Debug)]
pub struct Logless {
    pool: PgPool,
    copy: String,
    appends: AtomicI64,
}

impl Logless {
    pub async fn open(url: &str) -> Outcome<Self> {
        let pool = PgPool::connect(url).await?;
        let copy = format!("COPY {} FROM STDIN (FORMAT binary)", plain::partition(&pool).await?);
        Ok(Self { pool, copy, appends: AtomicI64::new(0) })
    }
}

#[async_trait]
impl Appender for Logless {
    fn url(&self) -> &str {
        "logless:"
    }

    async fn append(&self, batch: Arc<[Record]>) -> Result<Vec<Appended>> {
        let number = self.appends.fetch_add(1, Ordering::Relaxed);
        let rows = plain::rows(&batch, number);
        let copied = async {
            let mut connection = self.pool.acquire().await?;
            let mut copy = connection.copy_in_raw(&self.copy).await?;
            copy.send(rows).await?;
            copy.finish().await
        };
        copied.await.map_err(|error| Error::new(ErrorKind::Away, "copy a batch", error))?;
        Ok(batch.iter().map(|_| Appended::Inserted(0)).collect())
    }
}
