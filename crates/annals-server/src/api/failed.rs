//! `/v1/failed`: events that could not be stored.

use std::sync::Arc;

use annals::EventId;
use annals::transport::{Buried, Transport, Which};
use annals::url::without_secrets;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::ask::{Ask, Named, described, wrong};
use crate::access::{CallerOf, Details};
use crate::problem::{Problem, Wrong};
use crate::sent::{Sent, given};

/// Events of a page, unless it is said, and at most.
const PAGE: usize = 100;
const MAX_PAGE: usize = 1_000;

/// Events that are looked through at a time.
const READ: usize = 200;

/// Ids of one request, at most.
const MOST_IDS: usize = 1_000;

/// Which page of them.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the fields are what is described")]
pub(crate) struct Paging {
    /// Events of a page; 100 unless it is said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
    /// Where the page before ended: its `next`.
    #[param(pattern = "^[0-9]{1,4}-[0-9]{1,15}$")]
    after: Option<String>,
}

/// Events that could not be stored.
#[derive(Serialize, ToSchema)]
pub(crate) struct FailedEvents {
    /// By queue, the earliest first.
    failed: Vec<FailedEvent>,
    /// Where to go on: the `after` of the next page.
    next: Option<String>,
}

/// An event that could not be stored.
#[derive(Serialize, ToSchema)]
pub(crate) struct FailedEvent {
    /// Its id.
    #[schema(format = "uuid")]
    id: String,
    /// When it was given up.
    #[schema(format = DateTime)]
    failed_at: String,
    /// How often it was tried.
    attempts: u32,
    /// Why it could not be stored.
    reason: String,
    /// The queue that it is in.
    transport: String,
    /// How long it is.
    bytes: usize,
    /// What was sent, of one that is asked for alone; as text, for it may be no JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

impl FailedEvent {
    fn of(transport: &dyn Transport, buried: &Buried, whole: bool) -> Self {
        Self {
            id: buried.id.to_string(),
            failed_at: buried.failed_at.to_string(),
            attempts: buried.attempts,
            reason: buried.reason.clone(),
            transport: without_secrets(transport.url()),
            bytes: buried.body.len(),
            body: whole.then(|| String::from_utf8_lossy(&buried.body).into_owned()),
        }
    }
}

/// List events that could not be stored
#[utoipa::path(
    get,
    path = "/v1/failed",
    tag = "operations",
    params(Paging),
    security(("key" = ["operate"]), ("session" = ["operate"])),
    responses((status = 200, description = "A page", body = FailedEvents), Wrong)
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    CallerOf(caller): CallerOf,
    ask: Ask,
) -> Result<Response, Problem> {
    let ask = ask.only(&[described::<Paging>()])?;
    caller.of_all_tenants("what could not be stored")?;
    let limit = ask.get::<usize>("limit")?.unwrap_or(PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(wrong(format!("limit: expected 1 to {MAX_PAGE}, found {limit}")));
    }
    let (begin, mut after) = match ask.get::<String>("after")?.as_deref().map(place) {
        None => (0, None),
        Some(Some((queue, number))) => (queue, Some(number)),
        Some(None) => return Err(wrong("after: expected the next of an earlier page")),
    };
    let mut failed = Vec::new();
    for (queue, transport) in api.reading.transports.iter().enumerate().skip(begin) {
        while failed.len() < limit {
            let page = transport.buried(after, limit - failed.len()).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.number);
            failed.extend(page.iter().map(|buried| FailedEvent::of(&**transport, buried, false)));
        }
        if failed.len() == limit {
            let next = after.map(|number| format!("{queue}-{number}"));
            return Ok(Json(FailedEvents { failed, next }).into_response());
        }
        after = None;
    }
    Ok(Json(FailedEvents { failed, next: None }).into_response())
}

/// Reads the place where a page ended.
fn place(text: &str) -> Option<(usize, u64)> {
    let (queue, number) = text.split_once('-')?;
    Some((queue.parse().ok()?, number.parse().ok()?))
}

/// Read one event that could not be stored
#[utoipa::path(
    get,
    path = "/v1/failed/{id}",
    tag = "operations",
    params(("id" = String, Path, description = "The event's id", format = "uuid")),
    security(("key" = ["operate"]), ("session" = ["operate"])),
    responses((status = 200, description = "The event", body = FailedEvent), Wrong)
)]
pub(crate) async fn one(
    State(api): State<Arc<Api>>,
    CallerOf(caller): CallerOf,
    Named(id): Named,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    caller.of_all_tenants("what could not be stored")?;
    let id = id.parse().map_err(|_| none())?;
    let (transport, buried) = find(&api, id).await?.ok_or_else(none)?;
    Ok(Json(FailedEvent::of(&**transport, &buried, true)).into_response())
}

/// Remove an event that could not be stored, for ever
#[utoipa::path(
    delete,
    path = "/v1/failed/{id}",
    tag = "operations",
    params(("id" = String, Path, description = "The event's id", format = "uuid")),
    security(("key" = ["operate"]), ("session" = ["operate"])),
    responses((status = 200, description = "It is removed", body = Done), Wrong)
)]
pub(crate) async fn remove(
    State(api): State<Arc<Api>>,
    CallerOf(caller): CallerOf,
    Named(id): Named,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    caller.of_all_tenants("what could not be stored")?;
    let id: EventId = id.parse().map_err(|_| none())?;
    let (transport, buried) = find(&api, id).await?.ok_or_else(none)?;
    let events = transport.remove(Which::Ids(&[id])).await?;
    let details = Details(json!({ "id": id.to_string(), "reason": buried.reason }));
    Ok((axum::Extension(details), Json(Done { events })).into_response())
}

/// Which events are to be tried again: those with these ids, or all of them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Again {
    /// Those with these ids.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 1000)]
    ids: Option<Vec<String>>,
    /// All of them.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = bool)]
    all: Option<bool>,
}

/// How many it was done to.
#[derive(Serialize, ToSchema)]
pub(crate) struct Done {
    /// Events.
    events: usize,
}

/// Put events that could not be stored back into their queue
#[utoipa::path(
    post,
    path = "/v1/failed/retry",
    tag = "operations",
    request_body = Again,
    security(("key" = ["operate"]), ("session" = ["operate"])),
    responses((status = 200, description = "They are tried again", body = Done), Wrong)
)]
pub(crate) async fn retry(
    State(api): State<Arc<Api>>,
    CallerOf(caller): CallerOf,
    ask: Ask,
    Sent(again): Sent<Again>,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    caller.of_all_tenants("what could not be stored")?;
    let mut events = 0;
    match again {
        Again { all: Some(true), ids: None } => {
            for transport in &api.reading.transports {
                events += transport.revive(Which::All).await?;
            }
        }
        Again { all: None, ids: Some(ids) } if (1..=MOST_IDS).contains(&ids.len()) => {
            let read = |id: &String| id.parse().map_err(|_| none());
            let ids: Vec<EventId> = ids.iter().map(read).collect::<Result<_, _>>()?;
            for (transport, ids) in sort(&api, &ids).await? {
                events += transport.revive(Which::Ids(&ids)).await?;
            }
        }
        _ => return Err(wrong(format!("give 1 to {MOST_IDS} ids, or \"all\": true"))),
    }
    let details = Details(json!({ "events": events }));
    Ok((axum::Extension(details), Json(Done { events })).into_response())
}

fn none() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no event with that id is among those that failed")
}

async fn find(api: &Api, id: EventId) -> Result<Option<(&Arc<dyn Transport>, Buried)>, Problem> {
    for transport in &api.reading.transports {
        let mut after = None;
        loop {
            let page = transport.buried(after, READ).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.number);
            if let Some(found) = page.into_iter().find(|buried| buried.id == id) {
                return Ok(Some((transport, found)));
            }
        }
    }
    Ok(None)
}

/// Which of the ids each queue has. One that none has is told before anything is done.
async fn sort<'a>(
    api: &'a Api,
    ids: &[EventId],
) -> Result<Vec<(&'a Arc<dyn Transport>, Vec<EventId>)>, Problem> {
    let (mut sorted, mut missing) = (Vec::new(), ids.to_vec());
    for transport in &api.reading.transports {
        let (mut own, mut after) = (Vec::new(), None);
        loop {
            let page = transport.buried(after, READ).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.number);
            own.extend(page.iter().map(|buried| buried.id).filter(|id| ids.contains(id)));
        }
        missing.retain(|id| !own.contains(id));
        own.dedup();
        sorted.push((transport, own));
    }
    if missing.is_empty() { Ok(sorted) } else { Err(none()) }
}
