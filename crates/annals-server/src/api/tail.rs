//! `/v1/tail`: new events as they are stored, as server-sent events.
//!
//! One follower reads the store for all who listen: what it reads is rendered once. Who
//! listens from further back, or was too slow, reads windows of its own until it has caught
//! up. Positions have no gaps, so that each listener knows by the position it wants next
//! that it misses nothing and sees nothing twice.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use annals::query::Filter;
use annals::store::{Record, Store, Stored};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};
use utoipa::IntoParams;

use super::Api;
use super::ask::{Ask, Filters, described, wrong};
use super::row::Row;
use crate::access::{Caller, CallerOf};
use crate::problem::{Problem, Wrong};

/// How often the follower looks for new events.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Events that are read at a time.
const WINDOW: usize = 500;

/// Windows that a listener may lag behind before it reads for itself.
const KEPT: usize = 16;

/// How long the follower goes on when nobody listens any more.
const LINGER: u32 = 50;

/// Parts of an answer that wait for a slow listener.
const WAITING: usize = 4;

/// How often a listener that hears nothing is told that it is still connected, and how far
/// the trail is.
const BEAT: Duration = Duration::from_secs(15);

/// How often to see whether a listener may still listen.
const CHECK: Duration = Duration::from_secs(1);

/// Events that a listener may ask to begin with.
const MOST_LAST: u64 = 10_000;

/// Where to begin.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the fields are what is described")]
pub(crate) struct Beginning {
    /// From this position on. A `Last-Event-ID` says that too, and goes before it.
    from: Option<u64>,
    /// With so many of the latest positions, at most 10,000.
    last: Option<u64>,
}

/// Follow new events
///
/// Server-sent events: each has the event's position as its id. Who connects again with
/// `Last-Event-ID` misses nothing. Without `from` and `last` it begins with what comes next.
#[utoipa::path(
    get,
    path = "/v1/tail",
    tag = "events",
    params(Filters, Beginning, ("Last-Event-ID" = Option<u64>, Header, description = "The position of the last event that was received")),
    security(("key" = ["read"]), ("session" = ["read"])),
    responses((status = 200, description = "The events, for as long as somebody listens", body = String, content_type = "text/event-stream"), Wrong)
)]
pub(crate) async fn tail(
    State(api): State<Arc<Api>>,
    CallerOf(caller): CallerOf,
    headers: HeaderMap,
    ask: Ask,
) -> Result<Response, Problem> {
    let ask = ask.only(&[described::<Filters>(), described::<Beginning>()])?;
    let filter = ask.filter(&caller)?;
    let (from, last) = (ask.get::<u64>("from")?, ask.get::<u64>("last")?.unwrap_or(0));
    if last > MOST_LAST {
        return Err(wrong(format!("last: expected up to {MOST_LAST}, found {last}")));
    }
    let resumed = match headers.get("last-event-id").map(HeaderValue::to_str) {
        None | Some(Ok("")) => None,
        Some(id) => {
            let id = id.ok().and_then(|id| id.parse::<u64>().ok());
            Some(id.ok_or_else(|| wrong("Last-Event-ID: expected the position of an event"))?)
        }
    };
    let live = api.follower.subscribe();
    let next = match (resumed, from) {
        (Some(last), _) => last.saturating_add(1),
        (None, Some(from)) => from,
        (None, None) => api.reading.store.stats().await?.size.saturating_sub(last),
    };
    let (sender, body) = Channel::new(WAITING);
    let store = Arc::clone(&api.reading.store);
    let stopping = api.stopping.clone();
    tokio::spawn(Listener { store, live, filter, caller, next, sender }.listen(stopping));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // What proxies of this kind would hold back.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((StatusCode::OK, headers, Body::new(body)).into_response())
}

/// An event, rendered once for all who listen.
#[derive(Debug)]
struct Live {
    position: u64,
    /// None if what is stored is no event.
    record: Option<Record>,
    text: Bytes,
}

impl Live {
    fn of(stored: &Stored) -> Self {
        let row = serde_json::to_string(&Row::of(stored)).unwrap_or_default();
        Self {
            position: stored.position,
            record: Record::decode(stored.body.clone()).ok(),
            text: format!("id: {}\ndata: {row}\n\n", stored.position).into(),
        }
    }

    /// Whether somebody gets it. What cannot be read gets who sees all there is.
    fn is_for(&self, filter: &Filter) -> bool {
        match &self.record {
            Some(record) => filter.lets_through(record),
            None => *filter == Filter::default(),
        }
    }
}

/// What was read at one time: all that there is from one position up to another.
#[derive(Debug)]
struct Window {
    from: u64,
    until: u64,
    events: Vec<Live>,
}

/// Reads new events for all who listen.
#[derive(Debug)]
pub(super) struct Follower {
    store: Arc<dyn Store>,
    windows: broadcast::Sender<Arc<Window>>,
    running: Arc<std::sync::Mutex<bool>>,
}

impl Follower {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, windows: broadcast::Sender::new(KEPT), running: Arc::default() }
    }

    /// What is read from now on. The follower runs while somebody has this.
    fn subscribe(&self) -> broadcast::Receiver<Arc<Window>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let windows = self.windows.subscribe();
        if !*running {
            *running = true;
            let (store, windows) = (Arc::clone(&self.store), self.windows.clone());
            tokio::spawn(follow(store, windows, Arc::clone(&self.running)));
        }
        windows
    }
}

async fn follow(
    store: Arc<dyn Store>,
    windows: broadcast::Sender<Arc<Window>>,
    running: Arc<std::sync::Mutex<bool>>,
) {
    let (mut next, mut alone) = (None, 0);
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        alone = if windows.receiver_count() == 0 { alone + 1 } else { 0 };
        if alone > LINGER {
            let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
            // Somebody may have come just now.
            if windows.receiver_count() == 0 {
                *running = false;
                return;
            }
            alone = 0;
        }
        match look(&*store, &windows, next).await {
            Ok(until) => next = Some(until),
            Err(error) => {
                tracing::debug!(%error, "cannot follow the store, trying again");
                sleep(CHECK).await;
            }
        }
    }
}

/// Sends what there is from a position on, and says up to where that is.
async fn look(
    store: &dyn Store,
    windows: &broadcast::Sender<Arc<Window>>,
    next: Option<u64>,
) -> annals::Result<u64> {
    let mut from = match next {
        Some(next) => next,
        None => return Ok(store.stats().await?.size),
    };
    loop {
        let events = store.window(from, WINDOW).await?;
        let Some(last) = events.last() else { return Ok(from) };
        let (until, full) = (last.position + 1, events.len() == WINDOW);
        let events = events.iter().map(Live::of).collect();
        // Nobody may listen any more.
        let _ = windows.send(Arc::new(Window { from, until, events }));
        from = until;
        if !full {
            return Ok(from);
        }
    }
}

/// Why a listener is left.
struct Left;

/// Somebody who listens.
struct Listener {
    store: Arc<dyn Store>,
    live: broadcast::Receiver<Arc<Window>>,
    filter: Filter,
    caller: Arc<Caller>,
    /// The position that it wants next.
    next: u64,
    sender: Sender<Bytes>,
}

impl Listener {
    async fn listen(mut self, mut stopping: watch::Receiver<bool>) {
        tokio::select! {
            _ = self.feed() => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    async fn feed(&mut self) -> Result<(), Left> {
        // What tells the client that it is connected, before the first event.
        self.send(Bytes::from_static(b": annals\n\n")).await?;
        self.catch_up(u64::MAX).await?;
        let (mut check, mut beat) = (interval(CHECK), interval(BEAT));
        beat.reset();
        loop {
            tokio::select! {
                window = self.live.recv() => match window {
                    Ok(window) => {
                        if window.from > self.next {
                            self.catch_up(window.from).await?;
                        }
                        self.show(&window).await?;
                    }
                    Err(RecvError::Lagged(_)) => self.catch_up(u64::MAX).await?,
                    Err(RecvError::Closed) => return Err(Left),
                },
                _ = check.tick() => self.check()?,
                _ = beat.tick() => self.beat().await?,
            }
        }
    }

    /// Reads what lies between, up to a position or up to where there is nothing more.
    async fn catch_up(&mut self, until: u64) -> Result<(), Left> {
        while self.next < until {
            let events = match self.store.window(self.next, WINDOW).await {
                Ok(events) => events,
                Err(error) => {
                    tracing::debug!(%error, "cannot read for a listener, trying again");
                    sleep(CHECK).await;
                    self.check()?;
                    continue;
                }
            };
            let Some(last) = events.last() else { return Ok(()) };
            let (from, until) = (self.next, last.position + 1);
            let full = events.len() == WINDOW;
            let events = events.iter().map(Live::of).collect();
            self.check()?;
            self.show(&Window { from, until, events }).await?;
            if !full {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn show(&mut self, window: &Window) -> Result<(), Left> {
        for event in &window.events {
            if event.position >= self.next && event.is_for(&self.filter) {
                self.send(event.text.clone()).await?;
            }
        }
        self.next = self.next.max(window.until);
        Ok(())
    }

    /// Tells a listener how far it is, though it hears nothing: a client that connects again
    /// goes on from there.
    async fn beat(&mut self) -> Result<(), Left> {
        let text = match self.next.checked_sub(1) {
            Some(last) => format!("id: {last}\n\n").into(),
            None => Bytes::from_static(b": annals\n\n"),
        };
        self.send(text).await
    }

    /// Leaves who may no longer listen.
    fn check(&self) -> Result<(), Left> {
        if self.caller.is_still_admitted() { Ok(()) } else { Err(Left) }
    }

    async fn send(&mut self, text: Bytes) -> Result<(), Left> {
        self.sender.send_data(text).await.map_err(|_| Left)
    }
}
