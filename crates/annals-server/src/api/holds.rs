//! `/v1/holds`: what may not be removed.

use std::sync::Arc;

use annals::query::ActorFilter;
use annals::store::hold::{self, Scope};
use annals::{Entity, EventId};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::Api;
use super::ask::{Ask, Named, wrong};
use crate::access::{Caller, CallerOf, Details};
use crate::problem::{Problem, Wrong};
use crate::sent::{Sent, given};

/// A hold.
#[derive(Serialize, ToSchema)]
pub(crate) struct Hold {
    /// Its id: that of the event that tells of it.
    #[schema(format = "uuid")]
    id: String,
    /// Since when.
    #[schema(format = DateTime)]
    since: String,
    /// Why.
    reason: String,
    /// Of this tenant.
    tenant: Option<String>,
    /// Of this entity, or of all of a type: `TYPE:ID` or `TYPE`.
    entity: Option<String>,
    /// By this actor: `ID` or `TYPE:ID`.
    actor: Option<String>,
}

impl Hold {
    fn of(hold: &hold::Hold) -> Self {
        let Scope { tenant, entity, actor } = &hold.scope;
        Self {
            id: hold.id.to_string(),
            since: hold.placed_at.to_string(),
            reason: hold.reason.clone(),
            tenant: tenant.clone(),
            entity: entity.as_ref().map(ToString::to_string),
            actor: actor.as_ref().map(ToString::to_string),
        }
    }
}

/// The holds that last.
#[derive(Serialize, ToSchema)]
pub(crate) struct Holds {
    /// The oldest first.
    holds: Vec<Hold>,
}

/// List what may not be removed
#[utoipa::path(
    get,
    path = "/v1/holds",
    tag = "operations",
    security(("key" = ["operate"]), ("session" = ["operate"])),
    responses((status = 200, description = "The holds", body = Holds), Wrong)
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    CallerOf(caller): CallerOf,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    let all = api.reading.store.holds().await?;
    let seen = all.iter().filter(|hold| caller.sees(hold.scope.tenant.as_deref()));
    Ok(Json(Holds { holds: seen.map(Hold::of).collect() }).into_response())
}

/// What is to be held: the events that fit all that is given, those to come among them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewHold {
    /// Of this tenant.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, min_length = 1, pattern = "^[^\\x00]+$")]
    tenant: Option<String>,
    /// Of this entity, or of all of a type: `TYPE:ID` or `TYPE`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, pattern = "^[^:\\x00]+(:[^\\x00]+)?$", example = "order:42")]
    entity: Option<String>,
    /// By this actor: `ID` or `TYPE:ID`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, min_length = 1, pattern = "^[^\\x00]+$", example = "user:7")]
    actor: Option<String>,
    /// Why, and on whose request.
    #[schema(max_length = 1000, pattern = "^[^\\x00]*[!-~][^\\x00]*$", example = "case 7")]
    reason: String,
}

/// Characters of a reason, at most.
const REASON: usize = 1_000;

/// A reason that may be told.
fn reason(reason: String) -> Result<String, Problem> {
    let visible = reason.contains(|c: char| c.is_ascii_graphic()) && !reason.contains('\0');
    if visible && reason.chars().count() <= REASON {
        return Ok(reason);
    }
    Err(wrong(format!("reason: say why in up to {REASON} characters")))
}

/// Keep events from being removed by anybody
#[utoipa::path(
    post,
    path = "/v1/holds",
    tag = "operations",
    request_body = NewHold,
    security(("key" = ["operate"]), ("session" = ["operate"])),
    responses((status = 201, description = "They are held", body = Hold), Wrong)
)]
pub(crate) async fn place(
    State(api): State<Arc<Api>>,
    CallerOf(caller): CallerOf,
    ask: Ask,
    Sent(new): Sent<NewHold>,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    let NewHold { tenant, entity, actor, reason: why } = new;
    let why = reason(why)?;
    let named = [("tenant", &tenant), ("entity", &entity), ("actor", &actor)];
    let bad = |text: &String| text.is_empty() || text.contains('\0');
    if let Some((name, _)) = named.iter().find(|(_, text)| text.as_ref().is_some_and(bad)) {
        return Err(wrong(format!("{name}: is empty, or has a NUL, which is in no event")));
    }
    let scope = Scope {
        tenant: own(&caller, tenant)?,
        entity: entity.map(|text| covered(&text)).transpose()?,
        actor: read::<ActorFilter>("actor", actor)?,
    };
    let placed = hold::place(&*api.reading.store, scope, &why, caller.actor()).await?;
    let details = Details(json!({ "hold": placed.id.to_string() }));
    Ok((StatusCode::CREATED, axum::Extension(details), Json(Hold::of(&placed))).into_response())
}

/// Why a hold ends.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Why {
    /// Why, and on whose request.
    #[schema(max_length = 1000, pattern = "^[^\\x00]*[!-~][^\\x00]*$", example = "it was closed")]
    reason: String,
}

/// End a hold: what it covered may be removed again
#[utoipa::path(
    post,
    path = "/v1/holds/{id}/release",
    tag = "operations",
    params(("id" = String, Path, description = "The hold's id", format = "uuid")),
    request_body = Why,
    security(("key" = ["operate"]), ("session" = ["operate"])),
    responses((status = 200, description = "It has ended", body = Hold), Wrong)
)]
pub(crate) async fn release(
    State(api): State<Arc<Api>>,
    CallerOf(caller): CallerOf,
    Named(id): Named,
    ask: Ask,
    Sent(Why { reason: why }): Sent<Why>,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    let why = reason(why)?;
    let none = || Problem::new(StatusCode::NOT_FOUND, "there is no such hold");
    let id: EventId = id.parse().map_err(|_| none())?;
    let all = api.reading.store.holds().await?;
    let found = all.into_iter().find(|hold| hold.id == id).ok_or_else(none)?;
    if !caller.sees(found.scope.tenant.as_deref()) {
        return Err(none());
    }
    let released = hold::release(&*api.reading.store, id, &why, caller.actor()).await?;
    let details = Details(json!({ "hold": id.to_string() }));
    Ok((axum::Extension(details), Json(Hold::of(&released))).into_response())
}

/// The tenant of a hold that the caller may place.
fn own(caller: &Caller, tenant: Option<String>) -> Result<Option<String>, Problem> {
    match (caller.bound(), tenant) {
        (None, Some(tenant)) if !caller.sees(Some(&tenant)) => Err(caller.other_tenant(&tenant)),
        (None, tenant) => Ok(tenant),
        (Some(tenants), Some(tenant)) if tenants.contains(&tenant) => Ok(Some(tenant)),
        (Some(_), Some(tenant)) => Err(caller.other_tenant(&tenant)),
        (Some(tenants), None) if tenants.len() == 1 => Ok(tenants.first().cloned()),
        (Some(_), None) => Err(wrong("tenant: you may do this for several, name one")),
    }
}

fn covered(text: &str) -> Result<Entity, Problem> {
    hold::covered(text).map_err(|fault| wrong(format!("entity: {fault}")))
}

fn read<T>(name: &str, text: Option<String>) -> Result<Option<T>, Problem>
where
    T: std::str::FromStr<Err = String>,
{
    let read = |text: String| text.parse().map_err(|fault| wrong(format!("{name}: {fault}")));
    text.map(read).transpose()
}
