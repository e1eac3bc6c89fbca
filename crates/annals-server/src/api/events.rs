//! `/v1/events`: finding events.

use std::sync::Arc;

use annals::EventId;
use annals::query::Tenants;
use annals::store::Record;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::answer::{Events, page};
use super::ask::{Ask, Filters, Named, Paging, described};
use super::row::Row;
use crate::access::{Caller, CallerOf};
use crate::problem::{Problem, Wrong};

/// Find events
///
/// One page of the events that match, in the order of the time at which they happened.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "events",
    params(Filters, Paging),
    security(("key" = ["read"]), ("session" = ["read"])),
    responses((status = 200, description = "A page", body = Events<'static>), Wrong)
)]
pub(crate) async fn query(
    State(api): State<Arc<Api>>,
    CallerOf(caller): CallerOf,
    ask: Ask,
) -> Result<Response, Problem> {
    let ask = ask.only(&[described::<Filters>(), described::<Paging>()])?;
    let query = ask.page(ask.filter(&caller)?)?;
    let limit = query.limit;
    Ok(page(&api.reading.store.query(query).await?, limit))
}

/// Read one event
#[utoipa::path(
    get,
    path = "/v1/events/{id}",
    tag = "events",
    params(("id" = String, Path, description = "The event's id", format = "uuid")),
    security(("key" = ["read"]), ("session" = ["read"])),
    responses((status = 200, description = "The event", body = Row<'static>), Wrong)
)]
pub(crate) async fn one(
    State(api): State<Arc<Api>>,
    CallerOf(caller): CallerOf,
    Named(id): Named,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    let stored = seen(&api, &caller, &id).await?;
    Ok(Json(Row::of(&stored)).into_response())
}

/// The event with that id, if the caller may see it: else it is as if there were none.
pub(super) async fn seen(
    api: &Api,
    caller: &Caller,
    id: &str,
) -> Result<annals::store::Stored, Problem> {
    let none = || Problem::new(StatusCode::NOT_FOUND, "there is no such event");
    let id: EventId = id.parse().map_err(|_| none())?;
    let stored = api.reading.store.get(id).await?.ok_or_else(none)?;
    let visible = match caller.grant().tenants {
        Tenants::All => true,
        // What cannot be read has no tenant that could be known.
        _ => Record::decode(stored.body.clone()).is_ok_and(|record| caller.sees(record.tenant())),
    };
    if visible { Ok(stored) } else { Err(none()) }
}
