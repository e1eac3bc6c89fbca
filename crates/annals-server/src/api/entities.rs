//! `/v1/entities`: one entity's events, and its state at a time.

use std::sync::Arc;

use annals::query::{Filter, Query, Replay};
use annals::{Entity, Timestamp};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::answer::{Events, page};
use super::ask::{Ask, Named, Paging, described};
use crate::access::CallerOf;
use crate::problem::{Problem, Wrong};

/// Events that are read at a time to rebuild a state.
const REPLAYED: usize = 500;

/// Whose, and as of when.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the fields are what is described")]
pub(crate) struct Whose {
    /// Of this tenant, where one entity's name may stand for several.
    #[param(pattern = "^[^\\x00]+$")]
    tenant: Option<String>,
}

/// As of when.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the fields are what is described")]
pub(crate) struct At {
    /// The time, RFC 3339; now, unless it is said.
    #[param(format = DateTime)]
    at: Option<String>,
}

/// List an entity's events
#[utoipa::path(
    get,
    path = "/v1/entities/{entity}/events",
    tag = "entities",
    params(("entity" = String, Path, description = "`TYPE:ID`", example = "product:42", pattern = "^[^:\\x00]+:[^\\x00]+$"), Whose, Paging),
    security(("key" = ["read"]), ("session" = ["read"])),
    responses((status = 200, description = "A page", body = Events<'static>), Wrong)
)]
pub(crate) async fn history(
    State(api): State<Arc<Api>>,
    CallerOf(caller): CallerOf,
    Named(entity): Named,
    ask: Ask,
) -> Result<Response, Problem> {
    let ask = ask.only(&[described::<Whose>(), described::<Paging>()])?;
    let filter = Filter { entity: Some(named(&entity)?), ..ask.filter(&caller)? };
    let query = ask.page(filter)?;
    let limit = query.limit;
    Ok(page(&api.reading.store.query(query).await?, limit))
}

/// An entity's state at a time.
#[derive(Serialize, ToSchema)]
pub(crate) struct StateThen<'a> {
    /// The entity, as `TYPE:ID`.
    entity: String,
    /// As of when.
    #[schema(format = DateTime)]
    at: String,
    /// Whether it existed.
    exists: bool,
    /// Whether all of its fields are known, since its beginning is in the trail.
    complete: bool,
    /// Its fields; of an entity that is gone, the last ones.
    #[schema(value_type = Object)]
    values: &'a RawValue,
    /// The event that touched it last, until then.
    last: Option<Touched>,
}

/// An event that touched an entity.
#[derive(Serialize, ToSchema)]
pub(crate) struct Touched {
    /// Its id.
    #[schema(format = "uuid")]
    id: String,
    /// When it happened.
    #[schema(format = DateTime)]
    occurred_at: String,
    /// What was done.
    action: String,
}

/// Read an entity's state at a time
///
/// It is rebuilt from the entity's events.
#[utoipa::path(
    get,
    path = "/v1/entities/{entity}/state",
    tag = "entities",
    params(("entity" = String, Path, description = "`TYPE:ID`", example = "product:42", pattern = "^[^:\\x00]+:[^\\x00]+$"), Whose, At),
    security(("key" = ["read"]), ("session" = ["read"])),
    responses((status = 200, description = "The state", body = StateThen<'static>), Wrong)
)]
pub(crate) async fn state(
    State(api): State<Arc<Api>>,
    CallerOf(caller): CallerOf,
    Named(entity): Named,
    ask: Ask,
) -> Result<Response, Problem> {
    let ask = ask.only(&[described::<Whose>(), described::<At>()])?;
    let entity = named(&entity)?;
    let filter = Filter { entity: Some(entity.clone()), ..ask.filter(&caller)? };
    let at = ask.time("at")?.unwrap_or_else(Timestamp::now);
    let mut query = Query::newest(filter).oldest_first().limit(REPLAYED);
    let mut replay = Replay::until(at);
    'whole: loop {
        let page = api.reading.store.query(query.clone()).await?;
        for stored in &page.events {
            if !replay.take(&stored.event()?) {
                break 'whole;
            }
        }
        if page.next.is_none() {
            break;
        }
        query.cursor = page.next;
    }
    let Some(state) = replay.finish() else {
        let detail = format!("no event tells anything about {entity}");
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    };
    let last = state.last.as_ref().map(|last| Touched {
        id: last.id.to_string(),
        occurred_at: last.occurred_at.to_string(),
        action: last.action.to_string(),
    });
    let values = serde_json::from_str(state.values.as_str()).map_err(|error| {
        tracing::error!(%error, %entity, "a state is no object");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the state could not be written")
    })?;
    let (exists, complete) = (state.exists, state.complete);
    let (entity, at) = (entity.to_string(), at.to_string());
    Ok(Json(StateThen { entity, at, exists, complete, values, last }).into_response())
}

fn named(entity: &str) -> Result<Entity, Problem> {
    // A path that names no entity leads nowhere.
    let nowhere = |fault| Problem::new(StatusCode::NOT_FOUND, format!("entity: {fault}"));
    entity.parse().map_err(nowhere)
}
