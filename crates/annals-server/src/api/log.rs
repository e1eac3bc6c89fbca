//! The log: proofs, the signed head, and verification.

use std::sync::Arc;

use annals::proof::{self, Finding, VerifyOptions};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::ask::{Ask, Named};
use super::events::seen;
use crate::access::CallerOf;
use crate::problem::{Problem, Wrong};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Prove that an event is in the log
///
/// A file after C2SP tlog-proof: the event, its place and a signed checkpoint. `annals
/// verify --proof FILE --key KEY` checks it anywhere.
#[utoipa::path(
    get,
    path = "/v1/events/{id}/proof",
    tag = "log",
    params(("id" = String, Path, description = "The event's id", format = "uuid")),
    security(("key" = ["read"]), ("session" = ["read"])),
    responses((status = 200, description = "The proof", body = String, content_type = "text/plain"), Wrong)
)]
pub(crate) async fn proof(
    State(api): State<Arc<Api>>,
    CallerOf(caller): CallerOf,
    Named(id): Named,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    let stored = seen(&api, &caller, &id).await?;
    let proof = proof::prove(&api.reading.store, stored.id).await.map_err(|error| {
        match error.kind() {
            // It is there, and not signed yet.
            annals::ErrorKind::Usage => Problem::new(StatusCode::NOT_FOUND, error.found())
                .header(header::RETRY_AFTER, HeaderValue::from_static("1")),
            _ => error.into(),
        }
    })?;
    Ok(([(header::CONTENT_TYPE, TEXT)], proof.to_string()).into_response())
}

/// Read the log's signed head
///
/// The last checkpoint, after C2SP tlog-checkpoint, with what witnesses have signed of it.
#[utoipa::path(
    get,
    path = "/v1/checkpoint",
    tag = "log",
    security(("key" = ["read"]), ("session" = ["read"])),
    responses((status = 200, description = "The checkpoint", body = String, content_type = "text/plain"), Wrong)
)]
pub(crate) async fn checkpoint(
    State(api): State<Arc<Api>>,
    CallerOf(_caller): CallerOf,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    match api.reading.store.ledger()?.last_checkpoints(1).await?.pop() {
        Some(kept) => Ok(([(header::CONTENT_TYPE, TEXT)], kept.note).into_response()),
        None => Err(Problem::new(StatusCode::NOT_FOUND, "the log was not signed yet")),
    }
}

/// What a verification found.
#[derive(Serialize, ToSchema)]
pub(crate) struct Verified {
    /// Whether nothing is wrong.
    whole: bool,
    /// The log's leaves: events that were ever there.
    size: u64,
    /// Events that are there.
    events: u64,
    /// Events that were removed, and an event tells of it.
    removed: u64,
    /// Up to which size somebody's signature vouches for it.
    signed: Option<u64>,
    /// What is wrong, up to 1,000 of it.
    findings: Vec<Found>,
    /// How much more is wrong.
    further: u64,
}

/// Something that is wrong.
#[derive(Serialize, ToSchema)]
pub(crate) struct Found {
    /// `changed`, `removed`, `inserted`, `reordered`, `cut_off`, `rolled_back` or `forged`.
    kind: &'static str,
    /// Where in the log, if that can be said.
    position: Option<u64>,
    /// To which event, if that can be said.
    event: Option<String>,
    /// What was found.
    what: String,
}

/// Verify the whole log
///
/// Reads everything that is stored and compares it with what was signed: about a second for
/// a million events. One verification at a time.
#[utoipa::path(
    get,
    path = "/v1/verify",
    tag = "log",
    security(("key" = ["read"]), ("session" = ["read"])),
    responses((status = 200, description = "What was found", body = Verified), Wrong)
)]
pub(crate) async fn verify(
    State(api): State<Arc<Api>>,
    CallerOf(caller): CallerOf,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    caller.of_all_tenants("a verification")?;
    let _alone = api.verifying.try_acquire().map_err(|_| {
        Problem::retry_after("somebody else verifies the log now; wait until that is done", 10)
    })?;
    let report = proof::verify(&api.reading.store, VerifyOptions::default(), |_| ()).await?;
    let found = |finding: &Finding| Found {
        kind: finding.kind.name(),
        position: finding.position,
        event: finding.event.map(|event| event.to_string()),
        what: finding.what.clone(),
    };
    let verified = Verified {
        whole: report.findings.is_empty(),
        size: report.size,
        events: report.events,
        removed: report.removed,
        signed: report.signed,
        findings: report.findings.iter().map(found).collect(),
        further: report.further,
    };
    Ok(Json(verified).into_response())
}
