//! The store behind a server, as far as it is read event by event.

use std::sync::Arc;

use annals::log::Positions;
use annals::query::{Cursor, Order, Page, Query};
use annals::store::hold::Hold;
use annals::store::{Appended, Appender, PrunePlan, Record, Removed, Store, StoreStats, Stored};
use annals::{Error, ErrorKind, EventId, Result, Timestamp};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Pairs, Remote};
use crate::failure::Failure;

/// Events of a page that a server answers, at most.
const MAX_PAGE: usize = 1_000;

/// Reads through a server; nothing is written through it.
#[derive(Debug)]
pub(crate) struct RemoteStore(Remote);

impl RemoteStore {
    pub(crate) fn new(remote: Remote) -> Self {
        Self(remote)
    }

    fn failed(&self, failure: &Failure) -> Error {
        let (doing, told) = (format!("ask {}", self.0.url()), failure.to_string());
        let found = told.strip_prefix(&format!("{doing}: ")).unwrap_or(&told);
        let error = Error::new(ErrorKind::Away, doing, found);
        match failure.advice() {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    fn refused<T>(&self, doing: &str) -> Result<T> {
        let doing = format!("{doing} through {}", self.0.url());
        Err(Error::new(ErrorKind::Usage, doing, "a server does not do this")
            .hint("run it where the store is, without --server"))
    }
}

/// An event as a server answers it.
#[derive(Deserialize)]
pub(super) struct Row {
    id: String,
    position: u64,
    appended_at: String,
    event: Option<Box<RawValue>>,
}

impl Row {
    /// The event, byte for byte as it is stored.
    pub(super) fn stored(self) -> std::result::Result<Stored, Failure> {
        let wrong = |what: &str| Failure::failed(format!("read event {}: {what}", self.id));
        Ok(Stored {
            position: self.position,
            id: self.id.parse().map_err(|_| wrong("its id is none"))?,
            appended_at: self.appended_at.parse().map_err(|_| wrong("its time is none"))?,
            body: self.event.map(|event| event.get().as_bytes().to_vec()).unwrap_or_default(),
        })
    }
}

#[derive(Deserialize)]
struct Rows {
    events: Vec<Row>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Stats {
    store: Option<Held>,
}

#[derive(Deserialize)]
struct Held {
    events: u64,
    size: u64,
    oldest: Option<String>,
    newest: Option<String>,
    bytes: u64,
}

/// What a query's filter is in a request.
pub(super) fn pairs(query: &Query) -> Pairs {
    let filter = &query.filter;
    let mut pairs = Vec::new();
    let mut add = |name, value: Option<String>| pairs.extend(value.map(|value| (name, value)));
    add("entity", filter.entity.as_ref().map(ToString::to_string));
    add("entity_type", filter.entity_type.clone());
    add("actor", filter.actor.as_ref().map(ToString::to_string));
    add("action", filter.action.clone());
    add("outcome", filter.outcome.map(|outcome| outcome.as_str().to_owned()));
    add("tenant", filter.tenant.clone());
    add("changed", filter.changed.clone());
    add("request", filter.request.clone());
    add("since", filter.since.map(|since| since.to_string()));
    add("until", filter.until.map(|until| until.to_string()));
    pairs
}

#[async_trait]
impl Appender for RemoteStore {
    fn url(&self) -> &str {
        self.0.url()
    }

    async fn append(&self, _: Arc<[Record]>) -> Result<Vec<Appended>> {
        self.refused("append events")
    }
}

#[async_trait]
impl Store for RemoteStore {
    async fn get(&self, id: EventId) -> Result<Option<Stored>> {
        let path = format!("/v1/events/{id}");
        let read = async {
            let Some(answer) = self.0.found(&path).await? else { return Ok(None) };
            self.0.read::<Row>(&path, &answer)?.stored().map(Some)
        };
        read.await.map_err(|failure: Failure| self.failed(&failure))
    }

    async fn query(&self, query: Query) -> Result<Page> {
        let mut pairs = pairs(&query);
        let order = if query.order == Order::OldestFirst { "oldest" } else { "newest" };
        pairs.push(("order", order.to_owned()));
        pairs.push(("limit", query.limit.min(MAX_PAGE).to_string()));
        pairs.extend(query.cursor.map(|cursor| ("cursor", cursor.to_string())));
        let read = async {
            let rows: Rows = self.0.json("/v1/events", pairs).await?;
            let events =
                rows.events.into_iter().map(Row::stored).collect::<std::result::Result<_, _>>()?;
            let next = rows.next.map(|next| next.parse::<Cursor>()).transpose();
            Ok(Page { events, next: next.map_err(Failure::failed)? })
        };
        read.await.map_err(|failure: Failure| self.failed(&failure))
    }

    async fn window(&self, _: u64, _: usize) -> Result<Vec<Stored>> {
        self.refused("read a window")
    }

    async fn stats(&self) -> Result<StoreStats> {
        let read = async {
            let stats: Stats = self.0.json("/v1/stats", Vec::new()).await?;
            let held = stats.store.ok_or_else(|| Failure::failed("its store is away"))?;
            let time = |time: Option<String>| time.and_then(|time| time.parse().ok());
            let (oldest, newest) = (time(held.oldest), time(held.newest));
            let Held { events, size, bytes, .. } = held;
            Ok(StoreStats { events, size, oldest, newest, bytes })
        };
        read.await.map_err(|failure: Failure| self.failed(&failure))
    }

    async fn prune_plan(&self, _: Timestamp) -> Result<PrunePlan> {
        self.refused("plan to prune")
    }

    async fn prune_list(&self, _: Timestamp, _: u64) -> Result<Positions> {
        self.refused("plan to prune")
    }

    async fn prune_step(&self, _: Timestamp, _: u64, _: usize) -> Result<Removed> {
        self.refused("prune")
    }

    async fn holds(&self) -> Result<Vec<Hold>> {
        self.refused("read holds")
    }

    async fn place_hold(&self, _: &Hold) -> Result<()> {
        self.refused("place a hold")
    }

    async fn lift_hold(&self, _: EventId) -> Result<bool> {
        self.refused("lift a hold")
    }
}
