//! A shared store is a store, so that `&Arc<dyn Store>` goes wherever
//! `&dyn Store` does.

use std::sync::Arc;

use async_trait::async_trait;

use super::hold::Hold;
use super::{
    Along, Appended, Appender, Ledger, PrunePlan, Record, Registry, Removed, Retain, Rollups,
    Store, StoreStats, Stored, Vault,
};
use crate::error::Result;
use crate::event::{EventId, Timestamp};
use crate::log::Positions;
use crate::query::{Page, Query};

#[async_trait]
impl<A: Appender + ?Sized> Appender for Arc<A> {
    fn url(&self) -> &str {
        (**self).url()
    }

    async fn append(&self, batch: Arc<[Record]>) -> Result<Vec<Appended>> {
        (**self).append(batch).await
    }

    async fn append_along(
        &self,
        batch: &Arc<[Record]>,
        along: Along,
    ) -> Result<Option<Vec<Appended>>> {
        (**self).append_along(batch, along).await
    }

    async fn reopen(&self) -> Result<()> {
        (**self).reopen().await
    }
}

#[async_trait]
impl<S: Store + ?Sized> Store for Arc<S> {
    async fn get(&self, id: EventId) -> Result<Option<Stored>> {
        (**self).get(id).await
    }

    async fn query(&self, query: Query) -> Result<Page> {
        (**self).query(query).await
    }

    async fn window(&self, from: u64, limit: usize) -> Result<Vec<Stored>> {
        (**self).window(from, limit).await
    }

    async fn stats(&self) -> Result<StoreStats> {
        (**self).stats().await
    }

    async fn prune_plan(&self, before: Timestamp) -> Result<PrunePlan> {
        (**self).prune_plan(before).await
    }

    async fn prune_list(&self, before: Timestamp, below: u64) -> Result<Positions> {
        (**self).prune_list(before, below).await
    }

    async fn prune_step(&self, before: Timestamp, below: u64, limit: usize) -> Result<Removed> {
        (**self).prune_step(before, below, limit).await
    }

    async fn holds(&self) -> Result<Vec<Hold>> {
        (**self).holds().await
    }

    async fn place_hold(&self, hold: &Hold) -> Result<()> {
        (**self).place_hold(hold).await
    }

    async fn lift_hold(&self, id: EventId) -> Result<bool> {
        (**self).lift_hold(id).await
    }

    fn ledger(&self) -> Result<&dyn Ledger> {
        self.as_ref().ledger()
    }

    fn vault(&self) -> Result<&dyn Vault> {
        (**self).vault()
    }

    fn registry(&self) -> Result<&dyn Registry> {
        (**self).registry()
    }

    fn rollups(&self) -> Result<&dyn Rollups> {
        (**self).rollups()
    }

    fn retain(&self) -> Result<&dyn Retain> {
        (**self).retain()
    }
}
