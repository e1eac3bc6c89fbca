//! The PostgreSQL store: for any number of workers and readers.
//!
//! What it promises beyond [`crate::store`]: an append returns once its commit is
//! as durable as the server's `synchronous_commit` and `fsync` make it; workers
//! copy events side by side, and wait for each other only while positions are
//! given; reading never waits for appends, nor they for reading.
//!
//! Events lie in a partition a month, by the time in their ids; what is far from
//! now lies in a default one. A whole month that is pruned is dropped, and from
//! then on an event of that month is refused.

mod append;
mod hold;
mod ledger;
mod partitions;
mod prune;
mod read;
mod registry;
mod retain;
mod rollups;
mod rows;
mod seen;
mod tiles;
mod vault;
mod walk;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::OnceCell;

use self::append::Memory;
use self::walk::Walk;
use super::hold::Hold;
use super::{
    Along, Appended, Appender, Entry, Kept, KeptRemoval, Ledger, LedgerRow, Month, PrunePlan,
    Record, Registry, Removed, Retain, Rolled, RollupHead, RollupPart, Rollups, Sign, Signing,
    Spot, StaleDay, Standing, Store, StoreStats, Stored, SubjectKey, Surveyed, Vault, WhichParts,
    Whose,
};
use crate::error::{ErrorKind, Result};
use crate::event::{EventId, Timestamp};
use crate::log::{Place, Positions, Tiles};
use crate::postgres::schema::Schema;
use crate::postgres::{Pool, Server};
use crate::query::{Page, Query};

static SCHEMA: Schema = Schema {
    marker: "annals_store_meta",
    version: "SELECT value::int4 FROM annals_store_meta WHERE key = 'schema'",
    migrations: &[
        include_str!("../../migrations/postgres/store_1.sql"),
        include_str!("../../migrations/postgres/store_2.sql"),
        include_str!("../../migrations/postgres/store_3.sql"),
        include_str!("../../migrations/postgres/store_4.sql"),
        include_str!("../../migrations/postgres/store_5.sql"),
        include_str!("../../migrations/postgres/store_6.sql"),
        include_str!("../../migrations/postgres/store_7.sql"),
    ],
};

/// Every query of ours is a walk along an index that gives its order. That is not
/// left to estimates, which are at their worst when a month is new, nor planned anew
/// for each page.
const SETTINGS: &[(&str, &str)] = &[
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_sort", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("plan_cache_mode", "force_generic_plan"),
];

/// A store in a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    server: Server,
    /// Whether the tables are known to be there.
    prepared: OnceCell<()>,
    memory: Arc<Memory>,
}

impl PostgresStore {
    /// Opens the database of a `postgres://` URL, and makes the tables if they are
    /// not there. A server that is away is no error: each call says so until it is
    /// back.
    ///
    /// # Errors
    /// When the URL cannot be understood, the server is too old, or its tables are
    /// of a newer version.
    pub async fn open(url: &str) -> Result<Self> {
        let store = Self {
            server: Server::new(url, "the store", SETTINGS)?,
            prepared: OnceCell::new(),
            memory: Arc::default(),
        };
        match store.server().await {
            Err(error) if error.kind() != ErrorKind::Away => Err(error),
            _ => Ok(store),
        }
    }

    /// Opens the store of a `postgres://` URL, for those who only read and would
    /// not want an empty one made.
    ///
    /// # Errors
    /// As [`Self::open`]; also if the server is away, or the database holds no
    /// store.
    pub async fn open_existing(url: &str) -> Result<Self> {
        let server = Server::new(url, "the store", SETTINGS)?;
        SCHEMA.expect(&server).await?;
        Ok(Self { server, prepared: OnceCell::new_with(Some(())), memory: Arc::default() })
    }

    /// The server, with its tables.
    async fn server(&self) -> Result<&Server> {
        self.prepared
            .get_or_try_init(|| async {
                SCHEMA.prepare(&self.server).await?;
                self.server.call("make partitions in", partitions::make_ahead).await
            })
            .await?;
        Ok(&self.server)
    }

    /// How the server would find the first rows of a query: its own words.
    ///
    /// # Errors
    /// If the server cannot be asked.
    pub async fn explain(&self, query: Query) -> Result<String> {
        let walk = Walk::begin(query)?;
        self.server().await?.call("explain a query of", move |pool| walk.explain(pool)).await
    }
}

#[async_trait]
impl Appender for PostgresStore {
    fn url(&self) -> &str {
        self.server.url()
    }

    async fn append(&self, batch: Arc<[Record]>) -> Result<Vec<Appended>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let memory = Arc::clone(&self.memory);
        let work = move |pool| append::append(pool, batch, memory, None);
        let appended = self.server().await?.brief("append events to", work).await?;
        Ok(appended.unwrap_or_default())
    }

    async fn append_along(
        &self,
        batch: &Arc<[Record]>,
        along: Along,
    ) -> Result<Option<Vec<Appended>>> {
        if along.database != self.server.url() || batch.is_empty() {
            return Ok(None);
        }
        let (batch, memory) = (Arc::clone(batch), Arc::clone(&self.memory));
        let work = move |pool| append::append(pool, batch, memory, Some(along));
        self.server().await?.brief("move events to", work).await
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn get(&self, id: EventId) -> Result<Option<Stored>> {
        let seen = seen::of_rows();
        let work = move |pool: Pool| read::get(pool.setting(seen), id);
        self.server().await?.brief("read an event of", work).await
    }

    async fn query(&self, query: Query) -> Result<Page> {
        let seen = seen::of_query(&query);
        let walk = Walk::begin(query)?;
        let work = move |pool: Pool| walk.page(pool.setting(seen));
        self.server().await?.brief("query", work).await
    }

    async fn window(&self, from: u64, limit: usize) -> Result<Vec<Stored>> {
        let limit = limit.min(Query::MAX_LIMIT);
        let work = move |pool| read::window(pool, from, limit);
        self.server().await?.brief("read events of", work).await
    }

    async fn stats(&self) -> Result<StoreStats> {
        self.server().await?.brief("read the figures of", read::stats).await
    }

    async fn prune_plan(&self, before: Timestamp) -> Result<PrunePlan> {
        let work = move |pool| prune::plan(pool, before);
        self.server().await?.call("plan to prune", work).await
    }

    async fn prune_list(&self, before: Timestamp, below: u64) -> Result<Positions> {
        let work = move |pool| prune::list(pool, before, below);
        self.server().await?.call("list what to prune of", work).await
    }

    async fn prune_step(&self, before: Timestamp, below: u64, limit: usize) -> Result<Removed> {
        let work = move |pool| prune::step(pool, before, below, limit);
        self.server().await?.call("prune", work).await
    }

    async fn holds(&self) -> Result<Vec<Hold>> {
        self.server().await?.brief("read the holds of", hold::all).await
    }

    async fn place_hold(&self, hold: &Hold) -> Result<()> {
        let hold = hold.clone();
        let work = move |pool| hold::place(pool, hold);
        self.server().await?.call("place a hold in", work).await
    }

    async fn lift_hold(&self, id: EventId) -> Result<bool> {
        let work = move |pool| hold::lift(pool, id);
        self.server().await?.call("lift a hold in", work).await
    }

    fn ledger(&self) -> Result<&dyn Ledger> {
        Ok(self)
    }

    fn vault(&self) -> Result<&dyn Vault> {
        Ok(self)
    }

    fn registry(&self) -> Result<&dyn Registry> {
        Ok(self)
    }

    fn rollups(&self) -> Result<&dyn Rollups> {
        Ok(self)
    }

    fn retain(&self) -> Result<&dyn Retain> {
        Ok(self)
    }
}

#[async_trait]
impl Retain for PostgresStore {
    async fn survey(
        &self,
        after: Option<Spot>,
        before: Timestamp,
        below: u64,
        tags: bool,
        limit: usize,
    ) -> Result<Vec<Surveyed>> {
        let work = move |pool| retain::survey(pool, after, before, below, tags, limit);
        self.server().await?.call("look for what is old in", work).await
    }

    async fn months(&self) -> Result<Vec<Month>> {
        self.server().await?.call("look for the months of", retain::months).await
    }

    async fn remove_month(&self, month: &Month, below: u64) -> Result<Option<Removed>> {
        let name = month.name.clone();
        let work = move |pool| retain::remove_month(pool, name, below);
        self.server().await?.call("prune", work).await
    }

    async fn remove(&self, events: &[Spot]) -> Result<Removed> {
        let events = events.to_vec();
        self.server().await?.call("prune", move |pool| retain::remove(pool, events)).await
    }
}

#[async_trait]
impl Ledger for PostgresStore {
    async fn standing(&self) -> Result<Standing> {
        self.server().await?.brief("read the log of", ledger::standing).await
    }

    async fn tiles(&self, places: Vec<Place>) -> Result<Tiles> {
        let work = move |pool| ledger::tiles(pool, places);
        self.server().await?.brief("read the log of", work).await
    }

    async fn rows(&self, from: u64, until: u64) -> Result<Vec<LedgerRow>> {
        let work = move |pool| ledger::rows(pool, from, until);
        self.server().await?.call("read events of", work).await
    }

    async fn strays(&self, limit: usize) -> Result<Vec<LedgerRow>> {
        let work = move |pool| ledger::strays(pool, limit);
        self.server().await?.call("read events of", work).await
    }

    async fn sign(&self, at: Vec<u64>, sign: Sign) -> Result<Option<Signing>> {
        let work = move |pool| ledger::sign(pool, at, sign);
        self.server().await?.brief("sign the log of", work).await
    }

    async fn cosign(&self, size: u64, note: String) -> Result<()> {
        let work = move |pool| ledger::cosign(pool, size, note);
        self.server().await?.brief("sign the log of", work).await
    }

    async fn keep_removal(&self, event: EventId, removal: KeptRemoval) -> Result<()> {
        let work = move |pool| ledger::keep_removal(pool, event, removal);
        self.server().await?.call("list what goes from", work).await
    }

    async fn removal(&self, event: EventId) -> Result<Option<KeptRemoval>> {
        let work = move |pool| ledger::removal(pool, event);
        self.server().await?.call("read what went from", work).await
    }

    async fn sign_removal(&self, event: EventId, note: String) -> Result<()> {
        let work = move |pool| ledger::sign_removal(pool, event, note);
        self.server().await?.brief("sign what went from", work).await
    }

    async fn checkpoints(&self, from: u64, limit: usize) -> Result<Vec<Kept>> {
        let work = move |pool| ledger::checkpoints(pool, from, limit);
        self.server().await?.brief("read the checkpoints of", work).await
    }

    async fn last_checkpoints(&self, limit: usize) -> Result<Vec<Kept>> {
        let work = move |pool| ledger::last_checkpoints(pool, limit);
        self.server().await?.brief("read the checkpoints of", work).await
    }
}

#[async_trait]
impl Vault for PostgresStore {
    async fn live(&self, whose: Vec<Whose>) -> Result<Vec<SubjectKey>> {
        let work = move |pool| vault::live(pool, whose);
        self.server().await?.brief("read the keys of subjects in", work).await
    }

    async fn with_ids(&self, ids: Vec<[u8; 16]>) -> Result<Vec<SubjectKey>> {
        let work = move |pool| vault::with_ids(pool, ids);
        self.server().await?.brief("read the keys of subjects in", work).await
    }

    async fn keep(&self, keys: Vec<SubjectKey>) -> Result<()> {
        let work = move |pool| vault::keep(pool, keys);
        self.server().await?.brief("keep keys of subjects in", work).await
    }

    async fn destroy(&self, whose: Whose) -> Result<u64> {
        let work = move |pool| vault::destroy(pool, whose);
        self.server().await?.brief("destroy a key of", work).await
    }
}

#[async_trait]
impl Registry for PostgresStore {
    async fn entries(&self, after: u64, limit: usize) -> Result<Vec<Entry>> {
        let work = move |pool| registry::entries(pool, after, limit);
        self.server().await?.brief("read who may use", work).await
    }

    async fn write(&self, entry: Entry) -> Result<Option<u64>> {
        let work = move |pool| registry::write(pool, entry);
        self.server().await?.brief("write who may use", work).await
    }
}

#[async_trait]
impl Rollups for PostgresStore {
    async fn rollup_parts(
        &self,
        which: WhichParts,
        after: Option<(u32, u64)>,
        limit: usize,
    ) -> Result<(RollupHead, Vec<RollupPart>)> {
        let seen = seen::of_rows();
        let work = move |pool: Pool| rollups::parts(pool.setting(seen), which, after, limit);
        self.server().await?.call("read the counts of", work).await
    }

    async fn rollup_bodies(&self, ids: Vec<u64>) -> Result<Vec<(u64, Vec<u8>)>> {
        let seen = seen::of_rows();
        let work = move |pool: Pool| rollups::bodies(pool.setting(seen), ids);
        self.server().await?.call("read the counts of", work).await
    }

    async fn rollup_stale(&self, limit: usize) -> Result<Vec<StaleDay>> {
        let work = move |pool| rollups::stale(pool, limit);
        self.server().await?.call("read the counts of", work).await
    }

    async fn rollup_write(&self, rolled: Arc<Rolled>) -> Result<bool> {
        let work = move |pool| rollups::write(pool, rolled);
        self.server().await?.call("write the counts of", work).await
    }
}
