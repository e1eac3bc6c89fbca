//! `/v1/keys`: what applications show.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use annals::access::{ApiKey, Grant, Listed, Scope, Token};
use annals::{Timestamp, unit};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{Members, gives, tenants};
use crate::access::{Caller, CallerOf, Details};
use crate::api::ask::{Ask, Named, wrong};
use crate::problem::{Problem, Wrong};
use crate::sent::{Sent, given};

/// How long the old key goes on working, unless it is said.
const OVERLAP: Duration = Duration::from_secs(86_400);

/// What a key may do.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "the variants are what is described")]
pub(crate) enum ScopeWord {
    Ingest,
    Read,
    Operate,
}

/// A key of an application, without the key.
#[derive(Serialize, ToSchema)]
pub(crate) struct Key {
    /// What the trail calls it by.
    id: String,
    /// What people call it.
    name: String,
    #[schema(value_type = Vec<ScopeWord>)]
    scopes: Vec<&'static str>,
    /// With whose data; null if with all tenants'.
    tenants: Option<Vec<String>>,
    /// The source of the events that it sends in, if it is bound to one.
    source: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    /// From when on it no longer works.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// From when on it no longer works since another one replaces it.
    #[schema(format = DateTime)]
    retires_at: Option<String>,
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
}

impl Key {
    fn of(key: &ApiKey) -> Self {
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let Grant { scopes, tenants, source } = &key.grant;
        Self {
            id: key.id.clone(),
            name: key.name.clone(),
            scopes: scopes.iter().map(|scope| scope.as_str()).collect(),
            tenants: tenants.only().map(|tenants| tenants.iter().cloned().collect()),
            source: source.clone(),
            created_at: key.created_at.to_string(),
            expires_at: time(key.expires_at),
            retires_at: time(key.retires_at),
            revoked_at: time(key.revoked_at),
        }
    }
}

/// The keys, those that no longer work among them.
#[derive(Serialize, ToSchema)]
pub(crate) struct AllKeys {
    /// In the order in which they were changed last.
    keys: Vec<Key>,
}

/// A key that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeKey {
    key: Key,
    /// What the application shows: it is told this once.
    secret: String,
}

fn made(key: &ApiKey, token: &Token) -> MadeKey {
    MadeKey { key: Key::of(key), secret: token.to_secret_text().to_string() }
}

/// List the keys of applications
#[utoipa::path(
    get,
    path = "/v1/keys",
    tag = "access",
    security(("session" = ["administer"])),
    responses((status = 200, description = "The keys", body = AllKeys), Wrong)
)]
pub(crate) async fn list(
    State(members): State<Arc<Members>>,
    CallerOf(caller): CallerOf,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    let all = members.keyring.list().await?;
    let seen = all.iter().filter_map(|listed| match listed {
        Listed::Ours(key) if caller.grant().tenants.covers(&key.grant.tenants) => Some(key),
        _ => None,
    });
    Ok(Json(AllKeys { keys: seen.map(Key::of).collect() }).into_response())
}

/// A key that is to be made: for some tenants, or for all.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// What people call it, such as the application's name.
    #[schema(min_length = 1, max_length = 255, example = "shop")]
    name: String,
    /// At least one.
    #[schema(value_type = Vec<ScopeWord>, min_items = 1)]
    scopes: BTreeSet<String>,
    /// For this tenants' data alone.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Vec<String>)]
    tenants: Option<BTreeSet<String>>,
    /// For that of all tenants.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = bool)]
    all_tenants: Option<bool>,
    /// The source of the events that it sends in.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String)]
    source: Option<String>,
    /// From when on it no longer works.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, format = DateTime)]
    expires_at: Option<String>,
}

/// Make a key
#[utoipa::path(
    post,
    path = "/v1/keys",
    tag = "access",
    request_body = NewKey,
    security(("session" = ["administer"])),
    responses((status = 201, description = "The key", body = MadeKey), Wrong)
)]
pub(crate) async fn create(
    State(members): State<Arc<Members>>,
    CallerOf(caller): CallerOf,
    ask: Ask,
    Sent(new): Sent<NewKey>,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    let scopes = new.scopes.iter().map(|scope| scope.parse::<Scope>());
    let scopes = scopes.collect::<Result<_, _>>();
    let scopes = scopes.map_err(|fault| wrong(format!("scopes: {fault}")))?;
    let tenants = tenants(new.tenants, new.all_tenants)?;
    let tenants = tenants.ok_or_else(|| wrong("give tenants, or \"all_tenants\": true"))?;
    gives(&caller, &tenants)?;
    let expires_at = new.expires_at.as_deref().map(Timestamp::nearest).transpose();
    let expires_at = expires_at.map_err(|fault| wrong(format!("expires_at: {fault}")))?;
    let grant = Grant { scopes, tenants, source: new.source };
    let (key, token) = members.keyring.create(&new.name, grant, expires_at, caller.actor()).await?;
    members.changed().await?;
    let details = Details(json!({ "key": key.id }));
    let answer = Json(made(&key, &token));
    Ok((StatusCode::CREATED, axum::Extension(details), answer).into_response())
}

/// How a key is replaced.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// For how long the old one goes on working, such as `24h`, which it is unless it is said.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, example = "24h")]
    overlap: Option<String>,
}

/// Replace a key by a new one that may do the same
#[utoipa::path(
    post,
    path = "/v1/keys/{id}/rotate",
    tag = "access",
    params(("id" = String, Path, description = "The key's id")),
    request_body = Rotation,
    security(("session" = ["administer"])),
    responses((status = 201, description = "The new one", body = MadeKey), Wrong)
)]
pub(crate) async fn rotate(
    State(members): State<Arc<Members>>,
    CallerOf(caller): CallerOf,
    Named(id): Named,
    ask: Ask,
    Sent(Rotation { overlap }): Sent<Rotation>,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    seen(&members, &caller, &id).await?;
    let overlap = overlap.as_deref().map_or(Ok(OVERLAP), unit::parse_duration);
    let overlap = overlap.map_err(|fault| wrong(format!("overlap: {fault}")))?;
    let (key, token) = members.keyring.rotate(&id, overlap, caller.actor()).await?;
    members.changed().await?;
    let details = Details(json!({ "key": key.id, "replaces": id }));
    let answer = Json(made(&key, &token));
    Ok((StatusCode::CREATED, axum::Extension(details), answer).into_response())
}

/// Whether a key was revoked.
#[derive(Serialize, ToSchema)]
pub(crate) struct Revoked {
    /// False if it was revoked before.
    revoked: bool,
}

/// Revoke a key
///
/// Within five seconds no server takes it any more.
#[utoipa::path(
    delete,
    path = "/v1/keys/{id}",
    tag = "access",
    params(("id" = String, Path, description = "The key's id")),
    security(("session" = ["administer"])),
    responses((status = 200, description = "It is", body = Revoked), Wrong)
)]
pub(crate) async fn revoke(
    State(members): State<Arc<Members>>,
    CallerOf(caller): CallerOf,
    Named(id): Named,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    seen(&members, &caller, &id).await?;
    let revoked = members.keyring.revoke(&id, caller.actor()).await?;
    members.changed().await?;
    let details = Details(json!({ "key": id }));
    Ok((axum::Extension(details), Json(Revoked { revoked })).into_response())
}

/// Refuses a key that the caller may not see, as if there were none.
async fn seen(members: &Members, caller: &Caller, id: &str) -> Result<(), Problem> {
    let all = members.keyring.list().await?;
    let is_seen = all.iter().any(|listed| match listed {
        Listed::Ours(key) => key.id == id && caller.grant().tenants.covers(&key.grant.tenants),
        _ => false,
    });
    let none = || Problem::new(StatusCode::NOT_FOUND, "there is no such key");
    is_seen.then_some(()).ok_or_else(none)
}
