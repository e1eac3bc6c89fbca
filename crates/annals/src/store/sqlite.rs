//! The SQLite store: one file, for one machine.
//!
//! What it promises beyond [`crate::store`]: an append returns once its commit
//! was synced to disk (`synchronous=FULL`); several processes may append to one
//! file at once, one after the other; reading never waits for appends, nor they
//! for reading. After a failed write the connection is closed and opened anew.
//!
//! What it is not: a file on a network share (SQLite's locks do not hold there).

mod append;
mod hold;
mod ledger;
mod prune;
mod read;
#[cfg(test)]
#[cfg(feature = "proof")]
mod recovery;
mod registry;
mod retain;
mod rollups;
mod schema;
mod tiles;
mod vault;
mod walk;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::OnceCell;

use self::prune::{Listing, Planning};
use self::walk::Walk;
use super::hold::Hold;
use super::{
    Appended, Appender, Entry, Kept, KeptRemoval, Ledger, LedgerRow, Month, PrunePlan, Record,
    Registry, Removed, Retain, Rolled, RollupHead, RollupPart, Rollups, Sign, Signing, Spot,
    StaleDay, Standing, Store, StoreStats, Stored, SubjectKey, Surveyed, Vault, WhichParts, Whose,
};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{EventId, Timestamp};
use crate::log::{Edge, Place, Positions, Tiles};
use crate::query::{Page, Query};
use crate::sqlite::{Connection, Journal, Open, explain};

/// Connections that read; more would only wait for the same disk.
const READERS: usize = 2;

/// A store in a SQLite database.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    writer: Connection,
    /// Opened when first needed: a worker's store never reads.
    readers: [OnceCell<Connection>; READERS],
    turn: AtomicUsize,
    /// The log's edge after the last append of this handle. Locked on the
    /// writer's thread only.
    edge: Arc<Mutex<Option<Edge>>>,
}

impl SqliteStore {
    /// Opens the store in the file at `path`, and makes it if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Away`] if the file cannot be opened or made,
    /// [`ErrorKind::Damaged`] if it is no database or of a newer version.
    pub async fn open(path: &str) -> Result<Self> {
        Self::open_file(path, true).await
    }

    /// Opens the store in the file at `path`, for those who only read and would
    /// not want an empty one made.
    ///
    /// # Errors
    /// As [`Self::open`]; also if there is no store in that file.
    pub async fn open_existing(path: &str) -> Result<Self> {
        Self::open_file(path, false).await
    }

    async fn open_file(path: &str, make: bool) -> Result<Self> {
        let doing = format!("open the store sqlite:{path}");
        if path.is_empty() {
            return Err(Error::new(ErrorKind::Usage, doing, "the URL names no file")
                .hint("write sqlite:PATH"));
        }
        let path = PathBuf::from(path);
        let open =
            Open { path: path.clone(), what: "the store", write: make, journal: Journal::Ours };
        let writer = Connection::open(open, move |connection| {
            if !make {
                schema::check(connection, &doing)?;
            }
            schema::migrate(connection, &doing)
        });
        Ok(Self {
            path,
            writer: writer.await?,
            readers: std::array::from_fn(|_| OnceCell::new()),
            turn: AtomicUsize::new(0),
            edge: Arc::default(),
        })
    }

    /// The reading connections, in turn.
    async fn reader(&self) -> Result<&Connection> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % READERS;
        self.readers[turn].get_or_try_init(|| self.open_reader()).await
    }

    async fn open_reader(&self) -> Result<Connection> {
        let doing = format!("read the store sqlite:{}", self.path.display());
        let open = Open {
            path: self.path.clone(),
            what: "the store",
            write: false,
            journal: Journal::Ours,
        };
        Connection::open(open, move |connection| {
            schema::check(connection, &doing)?;
            connection
                .pragma_update(None, "query_only", true)
                .map_err(|error| explain(doing.as_str(), error))
        })
        .await
    }
}

#[async_trait]
impl Appender for SqliteStore {
    fn url(&self) -> &str {
        self.writer.url()
    }

    async fn append(&self, batch: Arc<[Record]>) -> Result<Vec<Appended>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let edge = Arc::clone(&self.edge);
        let work = move |connection: &mut rusqlite::Connection| {
            let mut edge = edge.lock().unwrap_or_else(PoisonError::into_inner);
            append::append(connection, &batch, &mut edge)
        };
        self.writer.call("append events to", work).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, id: EventId) -> Result<Option<Stored>> {
        self.reader().await?.call("read an event of", move |reader| read::get(reader, id)).await
    }

    async fn query(&self, query: Query) -> Result<Page> {
        let reader = self.reader().await?;
        let mut walk = Walk::begin(query)?;
        loop {
            let slice = reader.call("query", move |reader| Ok((walk.slice(reader)?, walk)));
            match slice.await? {
                (Some(page), _) => return Ok(page),
                (None, begun) => walk = begun,
            }
        }
    }

    async fn window(&self, from: u64, limit: usize) -> Result<Vec<Stored>> {
        let limit = limit.min(Query::MAX_LIMIT);
        let reader = self.reader().await?;
        reader.call("read events of", move |reader| read::window(reader, from, limit)).await
    }

    async fn stats(&self) -> Result<StoreStats> {
        self.reader().await?.call("read the figures of", read::stats).await
    }

    async fn prune_plan(&self, before: Timestamp) -> Result<PrunePlan> {
        let reader = self.reader().await?;
        let mut planning = Planning::begin(before);
        loop {
            let slice =
                reader.call("plan to prune", move |reader| Ok((planning.slice(reader)?, planning)));
            match slice.await? {
                (Some(plan), _) => return Ok(plan),
                (None, begun) => planning = begun,
            }
        }
    }

    async fn prune_list(&self, before: Timestamp, below: u64) -> Result<Positions> {
        let reader = self.reader().await?;
        let mut listing = Listing::begin(before, below);
        loop {
            let slice = reader
                .call("list what to prune of", move |reader| Ok((listing.slice(reader)?, listing)));
            match slice.await? {
                (Some(positions), _) => return Ok(positions),
                (None, begun) => listing = begun,
            }
        }
    }

    async fn prune_step(&self, before: Timestamp, below: u64, limit: usize) -> Result<Removed> {
        let work =
            move |writer: &mut rusqlite::Connection| prune::step(writer, before, below, limit);
        self.writer.call("prune", work).await
    }

    async fn holds(&self) -> Result<Vec<Hold>> {
        let reader = self.reader().await?;
        reader.call("read the holds of", |reader| hold::all(reader)).await
    }

    async fn place_hold(&self, hold: &Hold) -> Result<()> {
        let hold = hold.clone();
        let work = move |writer: &mut rusqlite::Connection| hold::place(writer, &hold);
        self.writer.call("place a hold in", work).await
    }

    async fn lift_hold(&self, id: EventId) -> Result<bool> {
        let work = move |writer: &mut rusqlite::Connection| hold::lift(writer, id);
        self.writer.call("lift a hold in", work).await
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
impl Retain for SqliteStore {
    async fn survey(
        &self,
        after: Option<Spot>,
        before: Timestamp,
        below: u64,
        tags: bool,
        limit: usize,
    ) -> Result<Vec<Surveyed>> {
        let reader = self.reader().await?;
        let work = move |reader: &mut rusqlite::Connection| {
            retain::survey(reader, after, before, below, tags, limit)
        };
        reader.call("look for what is old in", work).await
    }

    async fn months(&self) -> Result<Vec<Month>> {
        Ok(Vec::new())
    }

    async fn remove_month(&self, _: &Month, _: u64) -> Result<Option<Removed>> {
        Ok(None)
    }

    async fn remove(&self, events: &[Spot]) -> Result<Removed> {
        let positions: Vec<u64> = events.iter().map(|event| event.position).collect();
        let work = move |writer: &mut rusqlite::Connection| prune::listed(writer, &positions);
        self.writer.call("prune", work).await
    }
}

#[async_trait]
impl Ledger for SqliteStore {
    async fn standing(&self) -> Result<Standing> {
        let path = self.path.clone();
        let reader = self.reader().await?;
        reader.call("read the log of", move |reader| ledger::standing(reader, &path)).await
    }

    async fn tiles(&self, places: Vec<Place>) -> Result<Tiles> {
        let reader = self.reader().await?;
        reader.call("read the log of", move |reader| ledger::tiles(reader, &places)).await
    }

    async fn rows(&self, from: u64, until: u64) -> Result<Vec<LedgerRow>> {
        let reader = self.reader().await?;
        reader.call("read events of", move |reader| ledger::rows(reader, from, until)).await
    }

    async fn strays(&self, limit: usize) -> Result<Vec<LedgerRow>> {
        let reader = self.reader().await?;
        reader.call("read events of", move |reader| ledger::strays(reader, limit)).await
    }

    async fn sign(&self, at: Vec<u64>, sign: Sign) -> Result<Option<Signing>> {
        let path = self.path.clone();
        let work = move |writer: &mut rusqlite::Connection| ledger::sign(writer, &path, &at, &sign);
        self.writer.call("sign the log of", work).await
    }

    async fn cosign(&self, size: u64, note: String) -> Result<()> {
        let work = move |writer: &mut rusqlite::Connection| ledger::cosign(writer, size, &note);
        self.writer.call("sign the log of", work).await
    }

    async fn keep_removal(&self, event: EventId, removal: KeptRemoval) -> Result<()> {
        let work =
            move |writer: &mut rusqlite::Connection| ledger::keep_removal(writer, event, &removal);
        self.writer.call("list what goes from", work).await
    }

    async fn removal(&self, event: EventId) -> Result<Option<KeptRemoval>> {
        let reader = self.reader().await?;
        reader.call("read what went from", move |reader| ledger::removal(reader, event)).await
    }

    async fn sign_removal(&self, event: EventId, note: String) -> Result<()> {
        let work =
            move |writer: &mut rusqlite::Connection| ledger::sign_removal(writer, event, &note);
        self.writer.call("sign what went from", work).await
    }

    async fn checkpoints(&self, from: u64, limit: usize) -> Result<Vec<Kept>> {
        let reader = self.reader().await?;
        let work =
            move |reader: &mut rusqlite::Connection| ledger::checkpoints(reader, from, limit);
        reader.call("read the checkpoints of", work).await
    }

    async fn last_checkpoints(&self, limit: usize) -> Result<Vec<Kept>> {
        let reader = self.reader().await?;
        let work = move |reader: &mut rusqlite::Connection| ledger::last_checkpoints(reader, limit);
        reader.call("read the checkpoints of", work).await
    }
}

#[async_trait]
impl Vault for SqliteStore {
    async fn live(&self, whose: Vec<Whose>) -> Result<Vec<SubjectKey>> {
        let work = move |reader: &mut rusqlite::Connection| vault::live(reader, &whose);
        self.reader().await?.call("read the keys of subjects in", work).await
    }

    async fn with_ids(&self, ids: Vec<[u8; 16]>) -> Result<Vec<SubjectKey>> {
        let work = move |reader: &mut rusqlite::Connection| vault::with_ids(reader, &ids);
        self.reader().await?.call("read the keys of subjects in", work).await
    }

    async fn keep(&self, keys: Vec<SubjectKey>) -> Result<()> {
        let work = move |writer: &mut rusqlite::Connection| vault::keep(writer, &keys);
        self.writer.call("keep keys of subjects in", work).await
    }

    async fn destroy(&self, whose: Whose) -> Result<u64> {
        let work = move |writer: &mut rusqlite::Connection| vault::destroy(writer, &whose);
        self.writer.call("destroy a key of", work).await
    }
}

#[async_trait]
impl Registry for SqliteStore {
    async fn entries(&self, after: u64, limit: usize) -> Result<Vec<Entry>> {
        let work = move |reader: &mut rusqlite::Connection| registry::entries(reader, after, limit);
        self.reader().await?.call("read who may use", work).await
    }

    async fn write(&self, entry: Entry) -> Result<Option<u64>> {
        let work = move |writer: &mut rusqlite::Connection| registry::write(writer, &entry);
        self.writer.call("write who may use", work).await
    }
}

#[async_trait]
impl Rollups for SqliteStore {
    async fn rollup_parts(
        &self,
        which: WhichParts,
        after: Option<(u32, u64)>,
        limit: usize,
    ) -> Result<(RollupHead, Vec<RollupPart>)> {
        let work =
            move |reader: &mut rusqlite::Connection| rollups::parts(reader, &which, after, limit);
        self.reader().await?.call("read the counts of", work).await
    }

    async fn rollup_bodies(&self, ids: Vec<u64>) -> Result<Vec<(u64, Vec<u8>)>> {
        let work = move |reader: &mut rusqlite::Connection| rollups::bodies(reader, &ids);
        self.reader().await?.call("read the counts of", work).await
    }

    async fn rollup_stale(&self, limit: usize) -> Result<Vec<StaleDay>> {
        let work = move |reader: &mut rusqlite::Connection| rollups::stale(reader, limit);
        self.reader().await?.call("read the counts of", work).await
    }

    async fn rollup_write(&self, rolled: Arc<Rolled>) -> Result<bool> {
        let work = move |writer: &mut rusqlite::Connection| rollups::write(writer, &rolled);
        self.writer.call("write the counts of", work).await
    }
}
