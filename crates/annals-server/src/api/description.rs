//! What the API is described as (OpenAPI).

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::schema::{ArrayBuilder, OneOfBuilder};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{OpenApi as Described, Ref, RefOr, Schema};
use utoipa::{Modify, OpenApi, PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::ask::OutcomeWord;
use crate::access::{KEY, SESSION};
use crate::{ingest, metrics, problem, server};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Annals",
        description = "An audit trail: who did what to which record, when, from where, with the \
            old and the new values. Every request but those for watching shows a key: \
            `Authorization: Bearer annals_…`; `annals keys create` makes one. What is wrong is \
            answered as `application/problem+json` (RFC 9457). People who have signed in may by \
            their session what their role lets them.",
        license(name = "MIT OR Apache-2.0")
    ),
    components(schemas(Event, NewEvent, NewEvents, problem::Described)),
    tags(
        (name = "events", description = "Events in and out"),
        (name = "entities", description = "One entity"),
        (name = "log", description = "Proofs"),
        (name = "operations", description = "Looking after it"),
        (name = "access", description = "Who may use the server"),
        (name = "watching", description = "For Prometheus and supervisors"),
    ),
    modifiers(&Keys)
)]
struct Document;

struct Keys;

impl Modify for Keys {
    fn modify(&self, api: &mut Described) {
        let mut http = Http::new(HttpAuthScheme::Bearer);
        http.description = Some("A key, as `annals keys create` prints it".to_owned());
        let components = api.components.get_or_insert_default();
        components.add_security_scheme(KEY, SecurityScheme::Http(http));
        let session = ApiKeyValue::with_description(
            "annals-session",
            "The session of somebody who has signed in, with pages of this server; over TLS, \
             the cookie's name begins with `__Host-`. Whoever changes something shows the \
             `page_token` of `GET /v1/me` as `X-Page-Token` too.",
        );
        let session = SecurityScheme::ApiKey(ApiKey::Cookie(session));
        components.add_security_scheme(SESSION, session);
    }
}

/// Describes these routes.
pub(crate) fn document(routes: OpenApiRouter) -> (axum::Router, Described) {
    OpenApiRouter::with_openapi(Document::openapi()).merge(routes).split_for_parts()
}

/// The description of all that a server answers, as JSON: the same for every server of this
/// version.
#[must_use]
pub fn openapi() -> String {
    let mut api = Document::openapi();
    for part in [
        ingest::described().into_openapi(),
        super::described().into_openapi(),
        super::members::described().into_openapi(),
        metrics::described().into_openapi(),
        server::described::<()>().into_openapi(),
    ] {
        api.merge(part);
    }
    // It is a tree of texts: there is no way to fail.
    let mut api = serde_json::to_value(&api).unwrap_or_default();
    say_more(&mut api["components"]["schemas"]);
    serde_json::to_string_pretty(&api).unwrap_or_default() + "\n"
}

/// What types alone do not say.
fn say_more(schemas: &mut Value) {
    let own = json!({"pattern": "^(?!annals\\.)[^\\x00]+$"});
    merge(&mut schemas["NewEvent"]["properties"]["action"], own);
    // Without a time there is nothing that an id could be derived of.
    let derived = json!({"source_id": ["occurred_at"], "id": ["occurred_at"]});
    merge(&mut schemas["NewEvent"], json!({"dependentRequired": derived}));
    for (schema, name) in
        [("NewEvent", "id"), ("NewEvent", "source_id"), ("Entity", "id"), ("Actor", "id")]
    {
        let number = json!({"type": ["string", "integer", "null"]});
        merge(&mut schemas[schema]["properties"][name], number);
    }
    let seq = json!({"type": ["integer", "null"], "minimum": 0, "maximum": u64::MAX});
    merge(&mut schemas["Producer"]["properties"], json!({ "seq": seq }));
    for strict in [
        "NewEvent",
        "Entity",
        "Actor",
        "Context",
        "Producer",
        "Again",
        "NewHold",
        "Why",
        "NewPerson",
        "PersonChange",
        "NewKey",
        "Rotation",
    ] {
        merge(&mut schemas[strict], json!({"additionalProperties": false}));
    }
    let scope = ["tenant", "entity", "actor"].map(|name| json!({"required": [name]}));
    merge(&mut schemas["NewHold"], json!({"anyOf": scope}));
    let whose = [
        json!({"required": ["tenants"], "properties": {"all_tenants": {"const": false}}}),
        json!({"required": ["all_tenants"], "properties": {"all_tenants": {"const": true}}, "not": {"required": ["tenants"]}}),
    ];
    merge(&mut schemas["NewPerson"], json!({"oneOf": whose}));
    merge(&mut schemas["NewKey"], json!({"oneOf": whose}));
    let all = json!({"required": ["all"], "properties": {"all": {"const": true}}, "not": {"required": ["ids"]}});
    let some = json!({"required": ["ids"], "not": {"required": ["all"]}});
    merge(&mut schemas["Again"], json!({"oneOf": [all, some]}));
    merge(
        &mut schemas["Again"]["properties"]["ids"],
        json!({"items": {"type": "string", "format": "uuid"}}),
    );
}

fn merge(schema: &mut Value, more: Value) {
    if let (Some(schema), Value::Object(more)) = (schema.as_object_mut(), more) {
        schema.extend(more);
    }
}

/// One immutable record: who did what to which entity, when, from where, with which old and
/// new values.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the fields are what is described")]
pub(crate) struct Event {
    /// A UUIDv7 of `occurred_at`.
    #[schema(format = "uuid")]
    id: String,
    /// When it happened, by the producer's clock.
    #[schema(format = DateTime)]
    occurred_at: String,
    /// What was done: `created`, `updated`, `deleted`, `restored`, or any text.
    action: String,
    /// `success`, `failure` or `denied`.
    outcome: String,
    entity: Entity,
    actor: Option<Actor>,
    /// Whose data it is, where one installation serves several.
    tenant: Option<String>,
    /// The person whom the values are about, such as `user:7`.
    subject: Option<String>,
    context: Option<Context>,
    /// The values before.
    old_values: Option<BTreeMap<String, serde_json::Value>>,
    /// The values after.
    new_values: Option<BTreeMap<String, serde_json::Value>>,
    /// Why, in the actor's words.
    reason: Option<String>,
    /// Free labels.
    tags: Option<Vec<String>>,
    /// Whatever else is worth keeping.
    metadata: Option<BTreeMap<String, serde_json::Value>>,
    producer: Option<Producer>,
    /// The system that it was taken over from.
    source: Option<String>,
    /// Its id there.
    source_id: Option<String>,
    /// The version of the encoding.
    version: u32,
}

/// An event that is sent in: `action` and `entity.type` must be given.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the fields are what is described")]
#[schema(example = json!({"action": "updated", "entity": {"type": "product", "id": "42"}, "actor": {"type": "user", "id": "7"}, "old_values": {"price": 1000}, "new_values": {"price": 1200}}))]
pub(crate) struct NewEvent {
    /// A UUIDv7, or the sender's own id, which becomes `source_id`.
    #[schema(min_length = 1, pattern = "^[^\\x00]+$")]
    id: Option<String>,
    /// When it happened; now, unless it is said.
    #[schema(format = DateTime)]
    occurred_at: Option<String>,
    /// What was done: `created`, `updated`, `deleted`, `restored`, or any text.
    #[schema(min_length = 1)]
    action: String,
    /// `success` (unless it is said), `failure` or `denied`.
    #[schema(value_type = Option<OutcomeWord>, inline)]
    outcome: Option<String>,
    entity: Entity,
    actor: Option<Actor>,
    /// Whose data it is; of a key that is bound to one tenant, that one's.
    #[schema(pattern = "^[^\\x00]*$")]
    tenant: Option<String>,
    /// The person whom the values are about, such as `user:7`.
    #[schema(pattern = "^[^\\x00]*$")]
    subject: Option<String>,
    context: Option<Context>,
    /// The values before: of a deleted entity all, of an updated one those that changed.
    old_values: Option<BTreeMap<String, serde_json::Value>>,
    /// The values after: of a created entity all, of an updated one those that changed.
    new_values: Option<BTreeMap<String, serde_json::Value>>,
    /// Why, in the actor's words.
    reason: Option<String>,
    /// Free labels.
    tags: Option<Vec<String>>,
    /// Whatever else is worth keeping.
    metadata: Option<BTreeMap<String, serde_json::Value>>,
    producer: Option<Producer>,
    /// The system that it was taken over from.
    #[schema(pattern = "^[^\\x00]*$")]
    source: Option<String>,
    /// Its id there: the same gives the same event.
    #[schema(min_length = 1, pattern = "^[^\\x00]+$")]
    source_id: Option<String>,
}

/// One event, or an array of them.
pub(crate) struct NewEvents;

impl PartialSchema for NewEvents {
    fn schema() -> RefOr<Schema> {
        let one = || Ref::from_schema_name("NewEvent");
        OneOfBuilder::new().item(one()).item(ArrayBuilder::new().items(one())).into()
    }
}

impl ToSchema for NewEvents {}

/// The thing acted upon.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the fields are what is described")]
pub(crate) struct Entity {
    /// The type, without a colon.
    #[schema(min_length = 1, pattern = "^[^:\\x00]+$")]
    r#type: String,
    /// The id, unless the producer knows none.
    #[schema(min_length = 1, pattern = "^[^\\x00]+$")]
    id: Option<String>,
}

/// Who acted.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the fields are what is described")]
pub(crate) struct Actor {
    /// Such as `user`, `service` or `job`.
    r#type: Option<String>,
    /// The id within that type.
    id: Option<String>,
    /// For people.
    name: Option<String>,
    /// Whom it acts for.
    #[schema(no_recursion)]
    on_behalf_of: Option<Box<Actor>>,
}

/// Where it came from.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the fields are what is described")]
pub(crate) struct Context {
    ip: Option<String>,
    user_agent: Option<String>,
    url: Option<String>,
    method: Option<String>,
    request_id: Option<String>,
    trace_id: Option<String>,
    transaction_id: Option<String>,
    service: Option<String>,
}

/// Which process captured it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the fields are what is described")]
pub(crate) struct Producer {
    id: String,
    /// Its place among that process's events.
    seq: Option<u64>,
}
