//! `GET /metrics` for Prometheus and `GET /readyz`: how the trail keeps up.
//!
//! What is counted is named after the words of the flow (capture, transport, worker, store,
//! log), with units and help. The labels are URLs of backends and names of witnesses, which
//! the configuration bounds; nothing of an event is in them.
//!
//! Backends are looked at when somebody asks, all at once and for two seconds at most: one
//! that does not answer is told as `up 0`, and keeps nothing else from being told. What was
//! seen is told again for a second, however many ask.

mod seen;

use std::sync::Arc;
use std::time::Duration;

use annals::log::VerifierKey;
use annals::proof::witnessed;
use annals::store::Store;
use annals::transport::Transport;
use annals::url::without_secrets;
use annals::worker::Gauge;
use annals::{Audit, Error, ErrorKind, Result};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::CallerOf;
use crate::problem::Problem;
use seen::{Looked, Seen, Stored};

/// How long a backend has to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// For how long what was seen is told again.
const FRESH: Duration = Duration::from_secs(1);

/// The text of `OpenMetrics`, which Prometheus reads.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is watched of a process; all of it may be left out.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    audit: Option<Audit>,
    gauge: Option<Gauge>,
    /// And whether each takes what is captured.
    transports: Vec<(Arc<dyn Transport>, bool)>,
    store: Option<Arc<dyn Store>>,
    witnesses: Vec<VerifierKey>,
}

impl Watched {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Watches what is captured through a handle.
    #[must_use]
    pub fn capture(mut self, audit: Audit) -> Self {
        self.audit = Some(audit);
        self
    }

    /// Watches a worker.
    #[must_use]
    pub fn worker(mut self, gauge: Gauge) -> Self {
        self.gauge = Some(gauge);
        self
    }

    /// Watches a transport, or the spool; `takes` if it is one that what is captured goes to.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>, takes: bool) -> Self {
        self.transports.push((transport, takes));
        self
    }

    /// Watches the store and its log, and how far these witnesses have cosigned it.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>, witnesses: Vec<VerifierKey>) -> Self {
        (self.store, self.witnesses) = (Some(store), witnesses);
        self
    }

    /// Looks at everything at once.
    async fn look(&self) -> Seen {
        let mut looking = JoinSet::new();
        for (index, (transport, takes)) in self.transports.iter().cloned().enumerate() {
            looking.spawn(async move {
                let looked = within(transport.url(), transport.stats()).await;
                (index, Looked { url: without_secrets(transport.url()), takes, looked })
            });
        }
        let store = async {
            let store = self.store.as_ref()?;
            let looked = within(store.url(), stored(store, &self.witnesses)).await;
            Some(Looked { url: without_secrets(store.url()), takes: false, looked })
        };
        let (mut transports, store) = tokio::join!(looking.join_all(), store);
        transports.sort_by_key(|(index, _)| *index);
        Seen {
            capture: self.audit.as_ref().map(Audit::stats),
            worker: self.gauge.as_ref().map(Gauge::read),
            transports: transports.into_iter().map(|(_, looked)| looked).collect(),
            store,
        }
    }
}

async fn stored(store: &Arc<dyn Store>, witnesses: &[VerifierKey]) -> Result<Stored> {
    let stats = store.stats().await?;
    let Ok(ledger) = store.ledger() else {
        return Ok(Stored { stats, signed: None, witnesses: Vec::new() });
    };
    let signed = ledger.standing().await?.latest.map(|kept| (kept.size, kept.signed_at));
    Ok(Stored { stats, signed, witnesses: witnessed(ledger, witnesses).await? })
}

/// What a backend answers in time.
async fn within<T>(url: &str, answer: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(PATIENCE, answer).await.unwrap_or_else(|_| {
        let doing = format!("look at {}", without_secrets(url));
        Err(Error::new(ErrorKind::Away, doing, format!("no answer within {PATIENCE:?}")))
    })
}

/// What is watched, and what was seen last and when.
#[derive(Debug)]
pub(crate) struct Watching {
    watched: Watched,
    last: Mutex<Option<(Instant, Arc<Seen>)>>,
}

impl Watching {
    async fn seen(&self) -> Arc<Seen> {
        // Whoever else asks waits for what the first one sees.
        let mut last = self.last.lock().await;
        match &*last {
            Some((at, seen)) if at.elapsed() < FRESH => Arc::clone(seen),
            _ => {
                let seen = Arc::new(self.watched.look().await);
                *last = Some((Instant::now(), Arc::clone(&seen)));
                seen
            }
        }
    }
}

/// The routes, and what they are described as.
pub(crate) fn routes(watched: Watched) -> OpenApiRouter {
    let watching = Arc::new(Watching { watched, last: Mutex::default() });
    described().with_state(watching)
}

/// The routes without what they watch.
pub(crate) fn described() -> OpenApiRouter<Arc<Watching>> {
    OpenApiRouter::new().routes(routes!(metrics)).routes(routes!(readyz))
}

/// Read figures for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "watching",
    security((), ("key" = ["read"]), ("session" = ["read"])),
    responses((status = 200, description = "OpenMetrics", body = String, content_type = "application/openmetrics-text"))
)]
async fn metrics(
    State(watching): State<Arc<Watching>>,
    CallerOf(caller): CallerOf,
) -> Result<Response, Problem> {
    caller.of_all_tenants("what is counted")?;
    Ok(match watching.seen().await.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot write the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    })
}

/// Ask whether this process can do its work
///
/// Says in lines why not, or what is amiss all the same.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "watching",
    security((), ("key" = ["read"]), ("session" = ["read"])),
    responses((status = 200, description = "It can", body = String, content_type = "text/plain"), (status = 503, description = "It cannot", body = String, content_type = "text/plain"))
)]
async fn readyz(
    State(watching): State<Arc<Watching>>,
    CallerOf(caller): CallerOf,
) -> Result<Response, Problem> {
    caller.of_all_tenants("what is amiss")?;
    let seen = watching.seen().await;
    let amiss: String = seen.amiss().iter().map(|line| format!("{line}\n")).collect();
    Ok(match seen.is_ready() {
        true => format!("ready\n{amiss}").into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{amiss}")).into_response(),
    })
}
