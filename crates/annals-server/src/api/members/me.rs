//! `/v1/me`: who asks.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Members;
use crate::access::CallerOf;
use crate::api::ask::Ask;
use crate::problem::{Problem, Wrong};

/// Who asks, and what that one may do.
#[derive(Serialize, ToSchema)]
pub(crate) struct Me {
    /// `key` or `person`.
    kind: &'static str,
    /// What the trail calls it by.
    id: String,
    /// What people call it.
    name: String,
    /// Of a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    /// `ingest`, `read`, `operate`, `administer`.
    scopes: Vec<&'static str>,
    /// With whose data; null if with all tenants'.
    tenants: Option<Vec<String>>,
    /// Whether it sees who used the server: the tenant `annals`.
    audits: bool,
    /// When it ends at the latest, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    until: Option<String>,
    /// Of a person: what is sent as `X-Page-Token` with each change.
    #[serde(skip_serializing_if = "Option::is_none")]
    page_token: Option<String>,
}

/// Read who you are
#[utoipa::path(
    get,
    path = "/v1/me",
    tag = "access",
    security(("key" = []), ("session" = [])),
    responses((status = 200, description = "You", body = Me), Wrong)
)]
pub(crate) async fn me(
    State(members): State<Arc<Members>>,
    CallerOf(caller): CallerOf,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    let grant = caller.grant();
    let tenants = grant.tenants.only().map(|tenants| tenants.iter().cloned().collect());
    let mut me = Me {
        kind: "key",
        id: String::new(),
        name: String::new(),
        role: None,
        scopes: grant.scopes.iter().map(|scope| scope.as_str()).collect(),
        tenants,
        audits: caller.sees(Some(annals::access::TENANT)),
        until: None,
        page_token: None,
    };
    if let Some(key) = caller.key() {
        (me.id, me.name) = (key.id.clone(), key.name.clone());
        me.until = key.ends_at().map(|end| end.to_string());
    }
    if let Some(who) = caller.signed_in() {
        me.kind = "person";
        (me.id, me.name) = (who.person.id.clone(), who.person.name.clone());
        me.role = Some(who.person.role.as_str());
        me.until = Some(who.session.expires_at.to_string());
        me.page_token = Some(members.known.page_token(&who.session));
    }
    Ok(Json(me).into_response())
}
