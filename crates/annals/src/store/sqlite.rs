//! The SQLite store.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Appended, Appender, PrunePlan, Record, Removed, Store, StoreStats, Stored};
use crate::error::Result;
use crate::event::{EventId, Timestamp};
use crate::query::{Page, Query};

/// A store in a SQLite database.
#[derive(Debug)]
pub struct SqliteStore;

impl SqliteStore {
    /// Opens.
    pub async fn open(_path: &str) -> Result<Self> {
        todo!()
    }
}

#[async_trait]
impl Appender for SqliteStore {
    fn url(&self) -> &str {
        todo!()
    }
    async fn append(&self, _batch: Arc<[Record]>) -> Result<Vec<Appended>> {
        todo!()
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, _id: EventId) -> Result<Option<Stored>> {
        todo!()
    }
    async fn query(&self, _query: Query) -> Result<Page> {
        todo!()
    }
    async fn window(&self, _from: u64, _limit: usize) -> Result<Vec<Stored>> {
        todo!()
    }
    async fn stats(&self) -> Result<StoreStats> {
        todo!()
    }
    async fn prune_plan(&self, _before: Timestamp) -> Result<PrunePlan> {
        todo!()
    }
    async fn prune_step(&self, _before: Timestamp, _below: u64, _limit: usize) -> Result<Removed> {
        todo!()
    }
}
