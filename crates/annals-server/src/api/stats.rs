//! `/v1/stats`: what queues and store hold.

use std::sync::Arc;

use annals::proof::witnessed;
use annals::url::without_secrets;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::ask::Ask;
use crate::access::CallerOf;
use crate::problem::{Problem, Wrong};

/// What queues and store hold.
#[derive(Serialize, ToSchema)]
pub(crate) struct Stats {
    /// The queues.
    transports: Vec<Queue>,
    /// The store; none while it is away.
    store: Option<Held>,
}

/// What a queue holds.
#[derive(Serialize, ToSchema)]
pub(crate) struct Queue {
    /// Which one.
    url: String,
    /// Events that a worker could take now; none while it is away.
    ready: Option<u64>,
    /// Events that a worker holds, or that wait for their retry.
    leased: Option<u64>,
    /// Events that could not be stored.
    failed: Option<u64>,
    /// When the oldest was sent.
    #[schema(format = DateTime)]
    oldest: Option<String>,
    /// Bytes that it occupies.
    bytes: Option<u64>,
}

/// What the store holds.
#[derive(Serialize, ToSchema)]
pub(crate) struct Held {
    /// Which one.
    url: String,
    /// Events that are there.
    events: u64,
    /// Events that were ever there.
    size: u64,
    /// When the earliest happened.
    #[schema(format = DateTime)]
    oldest: Option<String>,
    /// When the latest happened.
    #[schema(format = DateTime)]
    newest: Option<String>,
    /// Bytes that it occupies.
    bytes: u64,
    /// The last signed head of its log.
    signed: Option<Signed>,
    /// How far witnesses have cosigned it.
    witnesses: Vec<WitnessedBy>,
}

/// A signed head.
#[derive(Serialize, ToSchema)]
pub(crate) struct Signed {
    /// Of how many events.
    size: u64,
    /// When it was signed.
    #[schema(format = DateTime)]
    at: String,
}

/// How far a witness has cosigned the log.
#[derive(Serialize, ToSchema)]
pub(crate) struct WitnessedBy {
    /// Its name.
    name: String,
    /// Of how many events.
    size: Option<u64>,
    /// When.
    #[schema(format = DateTime)]
    at: Option<String>,
}

/// Read what queues and store hold
#[utoipa::path(
    get,
    path = "/v1/stats",
    tag = "operations",
    security(("key" = ["read"]), ("session" = ["read"])),
    responses((status = 200, description = "The figures", body = Stats), Wrong)
)]
pub(crate) async fn stats(
    State(api): State<Arc<Api>>,
    CallerOf(caller): CallerOf,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    caller.of_all_tenants("what queues and store hold")?;
    let mut transports = Vec::new();
    for transport in &api.reading.transports {
        let stats = transport.stats().await.ok();
        transports.push(Queue {
            url: without_secrets(transport.url()),
            ready: stats.map(|stats| stats.ready),
            leased: stats.map(|stats| stats.leased),
            failed: stats.map(|stats| stats.failed),
            oldest: stats.and_then(|stats| stats.oldest).map(|oldest| oldest.to_string()),
            bytes: stats.and_then(|stats| stats.bytes),
        });
    }
    let store = match held(&api).await {
        Ok(held) => Some(held),
        Err(error) => {
            tracing::warn!(%error, "cannot say what the store holds");
            None
        }
    };
    Ok(Json(Stats { transports, store }).into_response())
}

async fn held(api: &Api) -> annals::Result<Held> {
    let store = &api.reading.store;
    let stats = store.stats().await?;
    let (mut signed, mut witnesses) = (None, Vec::new());
    if let Ok(ledger) = store.ledger() {
        let latest = ledger.standing().await?.latest;
        signed = latest.map(|kept| Signed { size: kept.size, at: kept.signed_at.to_string() });
        witnesses = witnessed(ledger, &api.reading.witnesses).await?;
    }
    let by = |by: annals::proof::Witnessed| WitnessedBy {
        name: by.key.name().to_owned(),
        size: by.last.map(|(size, _)| size),
        at: by.last.map(|(_, at)| at.to_string()),
    };
    Ok(Held {
        url: without_secrets(store.url()),
        events: stats.events,
        size: stats.size,
        oldest: stats.oldest.map(|oldest| oldest.to_string()),
        newest: stats.newest.map(|newest| newest.to_string()),
        bytes: stats.bytes,
        signed,
        witnesses: witnesses.into_iter().map(by).collect(),
    })
}
