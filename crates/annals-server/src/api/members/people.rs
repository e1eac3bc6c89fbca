//! `/v1/people`: who may sign in.

use std::collections::BTreeSet;
use std::sync::Arc;

use annals::access::{Change, Listed, Role, Tenants, Token};
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

/// What somebody may do: `reader` reads; `operator` looks after failed events and holds too;
/// `auditor` reads, and sees who used the server; `administrator` does all of that, and says
/// who may.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "the variants are what is described")]
pub(crate) enum RoleWord {
    Reader,
    Operator,
    Auditor,
    Administrator,
}

/// Somebody who may sign in, or might.
#[derive(Serialize, ToSchema)]
pub(crate) struct Person {
    /// What the trail calls them by.
    id: String,
    /// What they sign in as.
    name: String,
    #[schema(value_type = RoleWord, inline)]
    role: &'static str,
    /// With whose data; null if with all tenants'.
    tenants: Option<Vec<String>>,
    /// When they were asked in.
    #[schema(format = DateTime)]
    created_at: String,
    /// Whether they can sign in.
    can_sign_in: bool,
    /// Since when they may not.
    #[schema(format = DateTime)]
    disabled_at: Option<String>,
    /// Until when the link that was made for them last can be used.
    #[schema(format = DateTime)]
    asked_until: Option<String>,
    /// The provider of identities that recognises them, if one does.
    issuer: Option<String>,
}

impl Person {
    fn of(person: &annals::access::Person) -> Self {
        let time = |time: Option<annals::Timestamp>| time.map(|time| time.to_string());
        Self {
            id: person.id.clone(),
            name: person.name.clone(),
            role: person.role.as_str(),
            tenants: person.tenants.only().map(|tenants| tenants.iter().cloned().collect()),
            created_at: person.created_at.to_string(),
            can_sign_in: person.can_sign_in(),
            disabled_at: time(person.disabled_at),
            asked_until: time(person.asked_until()),
            issuer: person.subject.as_ref().map(|subject| subject.issuer.clone()),
        }
    }
}

/// Who may sign in, and who might.
#[derive(Serialize, ToSchema)]
pub(crate) struct AllPeople {
    /// In the order in which they were changed last.
    people: Vec<Person>,
}

/// List who may sign in
#[utoipa::path(
    get,
    path = "/v1/people",
    tag = "access",
    security(("session" = ["administer"])),
    responses((status = 200, description = "They", body = AllPeople), Wrong)
)]
pub(crate) async fn list(
    State(members): State<Arc<Members>>,
    CallerOf(caller): CallerOf,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    let all = members.people.list().await?;
    let seen = all.iter().filter_map(|listed| match listed {
        Listed::Ours(person) if caller.grant().tenants.covers(&person.tenants) => Some(person),
        _ => None,
    });
    Ok(Json(AllPeople { people: seen.map(Person::of).collect() }).into_response())
}

/// Somebody who is to be asked in: for some tenants, or for all.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPerson {
    /// What they sign in as, such as an address of mail.
    #[schema(min_length = 1, max_length = 255, example = "jo@example.com")]
    name: String,
    #[schema(value_type = RoleWord, inline)]
    role: String,
    /// With whose data.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Vec<String>)]
    tenants: Option<BTreeSet<String>>,
    /// With that of all tenants.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = bool)]
    all_tenants: Option<bool>,
}

/// Somebody who was asked in.
#[derive(Serialize, ToSchema)]
pub(crate) struct Invited {
    person: Person,
    /// The path of the page on which they set a password, once: it is told this once.
    path: String,
}

fn invited(person: &annals::access::Person, link: &Token) -> Invited {
    let path = format!("/welcome?link={}", *link.to_secret_text());
    Invited { person: Person::of(person), path }
}

fn role(text: &str) -> Result<Role, Problem> {
    text.parse().map_err(|fault| wrong(format!("role: {fault}")))
}

/// Ask somebody in
///
/// Answers a link by which they set a password.
#[utoipa::path(
    post,
    path = "/v1/people",
    tag = "access",
    request_body = NewPerson,
    security(("session" = ["administer"])),
    responses((status = 201, description = "They were asked in", body = Invited), Wrong)
)]
pub(crate) async fn invite(
    State(members): State<Arc<Members>>,
    CallerOf(caller): CallerOf,
    ask: Ask,
    Sent(new): Sent<NewPerson>,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    let role = role(&new.role)?;
    let tenants = tenants(new.tenants, new.all_tenants)?;
    let tenants = tenants.ok_or_else(|| wrong("give tenants, or \"all_tenants\": true"))?;
    gives(&caller, &tenants)?;
    let (person, link) = members.people.invite(&new.name, role, tenants, caller.actor()).await?;
    members.changed().await?;
    let details = Details(json!({ "person": person.id }));
    let answer = Json(invited(&person, &link));
    Ok((StatusCode::CREATED, axum::Extension(details), answer).into_response())
}

/// What is to be changed of somebody; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PersonChange {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = RoleWord, inline)]
    role: Option<String>,
    /// With whose data.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Vec<String>)]
    tenants: Option<BTreeSet<String>>,
    /// With that of all tenants.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = bool)]
    all_tenants: Option<bool>,
    /// Whether they may no longer sign in.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = bool)]
    disabled: Option<bool>,
}

/// Change what somebody may do
///
/// Their sessions may do that within five seconds, or nothing if they are disabled.
#[utoipa::path(
    patch,
    path = "/v1/people/{id}",
    tag = "access",
    params(("id" = String, Path, description = "The person's id")),
    request_body = PersonChange,
    security(("session" = ["administer"])),
    responses((status = 200, description = "They were changed", body = Person), Wrong)
)]
pub(crate) async fn change(
    State(members): State<Arc<Members>>,
    CallerOf(caller): CallerOf,
    Named(id): Named,
    ask: Ask,
    Sent(asked): Sent<PersonChange>,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    seen(&members, &caller, &id).await?;
    let tenants = tenants(asked.tenants, asked.all_tenants)?;
    if let Some(tenants) = &tenants {
        gives(&caller, tenants)?;
    }
    let role = asked.role.as_deref().map(role).transpose()?;
    let change = Change { role, tenants, disabled: asked.disabled };
    let person = members.people.change(&id, change, caller.actor()).await?;
    members.changed().await?;
    let details = Details(json!({ "person": person.id }));
    Ok((axum::Extension(details), Json(Person::of(&person))).into_response())
}

/// Let somebody set another password
///
/// Answers a link by which they do; one that was made before works no more.
#[utoipa::path(
    post,
    path = "/v1/people/{id}/link",
    tag = "access",
    params(("id" = String, Path, description = "The person's id")),
    security(("session" = ["administer"])),
    responses((status = 200, description = "The link", body = Invited), Wrong)
)]
pub(crate) async fn link(
    State(members): State<Arc<Members>>,
    CallerOf(caller): CallerOf,
    Named(id): Named,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    seen(&members, &caller, &id).await?;
    let (person, link) = members.people.link(&id, caller.actor()).await?;
    let details = Details(json!({ "person": person.id }));
    Ok((axum::Extension(details), Json(invited(&person, &link))).into_response())
}

/// Somebody whom the caller may see: else it is as if there were none.
async fn seen(members: &Members, caller: &Caller, id: &str) -> Result<Tenants, Problem> {
    let all = members.people.list().await?;
    let found = all.into_iter().find_map(|listed| match listed {
        Listed::Ours(person) if person.id == id => Some(person.tenants),
        _ => None,
    });
    let none = || Problem::new(StatusCode::NOT_FOUND, "there is no such person");
    found.filter(|tenants| caller.grant().tenants.covers(tenants)).ok_or_else(none)
}
