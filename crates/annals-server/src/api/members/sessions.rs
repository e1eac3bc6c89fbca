//! `/v1/sessions`: who has signed in.

use std::collections::HashMap;
use std::sync::Arc;

use annals::access::{Listed, Means};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::Members;
use crate::access::{Caller, CallerOf, Details};
use crate::api::ask::{Ask, Named};
use crate::problem::{Problem, Wrong};

/// A session of somebody who has signed in.
#[derive(Serialize, ToSchema)]
pub(crate) struct Session {
    id: String,
    /// Whose it is, by their id.
    person: String,
    /// And by their name.
    name: String,
    /// How they have shown who they are: `password`, `link` or `provider`.
    #[schema(value_type = String)]
    by: Means,
    /// From where.
    ip: Option<String>,
    /// With which program, as it says.
    user_agent: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    expires_at: String,
    /// Whether it is that of this request.
    own: bool,
}

/// The sessions that last.
#[derive(Serialize, ToSchema)]
pub(crate) struct Sessions {
    /// In the order in which they began.
    sessions: Vec<Session>,
}

/// List who has signed in
#[utoipa::path(
    get,
    path = "/v1/sessions",
    tag = "access",
    security(("session" = ["administer"])),
    responses((status = 200, description = "The sessions", body = Sessions), Wrong)
)]
pub(crate) async fn list(
    State(members): State<Arc<Members>>,
    CallerOf(caller): CallerOf,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    Ok(Json(Sessions { sessions: seen(&members, &caller).await? }).into_response())
}

/// Whether a session was ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ended {
    /// False if it was over already.
    ended: bool,
}

/// End a session
///
/// Within five seconds no server takes it any more.
#[utoipa::path(
    delete,
    path = "/v1/sessions/{id}",
    tag = "access",
    params(("id" = String, Path, description = "The session's id")),
    security(("session" = ["administer"])),
    responses((status = 200, description = "It is over", body = Ended), Wrong)
)]
pub(crate) async fn end(
    State(members): State<Arc<Members>>,
    CallerOf(caller): CallerOf,
    Named(id): Named,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    let none = || Problem::new(StatusCode::NOT_FOUND, "there is no such session");
    let all = seen(&members, &caller).await?;
    let session = all.iter().find(|session| session.id == id).ok_or_else(none)?;
    let ended = members.people.end(&id).await?;
    members.changed().await?;
    let details = Details(json!({ "session": id, "person": session.person }));
    Ok((axum::Extension(details), Json(Ended { ended })).into_response())
}

/// The sessions of those whom the caller may see.
async fn seen(members: &Members, caller: &Caller) -> Result<Vec<Session>, Problem> {
    let people = members.people.list().await?;
    let people: HashMap<_, _> = people
        .into_iter()
        .filter_map(|listed| match listed {
            Listed::Ours(person) if caller.grant().tenants.covers(&person.tenants) => {
                Some((person.id.clone(), person))
            }
            _ => None,
        })
        .collect();
    let own = caller.signed_in().map(|who| &*who.session.id);
    let sessions = members.people.sessions().await?;
    let seen = sessions.into_iter().filter_map(|session| {
        let person = people.get(&session.person)?;
        Some(Session {
            own: own == Some(&session.id),
            name: person.name.clone(),
            by: session.means,
            created_at: session.created_at.to_string(),
            expires_at: session.expires_at.to_string(),
            id: session.id,
            person: session.person,
            ip: session.ip,
            user_agent: session.user_agent,
        })
    });
    Ok(seen.collect())
}
