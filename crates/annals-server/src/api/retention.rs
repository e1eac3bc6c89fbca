//! `/v1/retention`: what rules would remove.

use std::sync::Arc;

use annals::Timestamp;
use annals::retention;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::ask::Ask;
use crate::access::CallerOf;
use crate::problem::{Problem, Wrong};

/// What the rules would remove now.
#[derive(Serialize, ToSchema)]
pub(crate) struct Plan {
    /// Each rule, in their order.
    rules: Vec<Due>,
    /// Months that would go with their tables.
    whole_months: Vec<String>,
}

/// What a rule would remove.
#[derive(Serialize, ToSchema)]
pub(crate) struct Due {
    /// The rule.
    rule: String,
    /// What happened before this; none if the rule keeps for ever.
    #[schema(format = DateTime)]
    before: Option<String>,
    /// Events that would go.
    events: u64,
    /// Bytes of those.
    bytes: u64,
    /// When the earliest of them happened.
    #[schema(format = DateTime)]
    oldest: Option<String>,
    /// When the latest of them happened.
    #[schema(format = DateTime)]
    newest: Option<String>,
    /// Events as old that stay, since they are held.
    held: u64,
}

/// Read what the rules of retention would remove now
#[utoipa::path(
    get,
    path = "/v1/retention/plan",
    tag = "operations",
    security(("key" = ["operate"]), ("session" = ["operate"])),
    responses((status = 200, description = "The plan", body = Plan), Wrong)
)]
pub(crate) async fn plan(
    State(api): State<Arc<Api>>,
    CallerOf(caller): CallerOf,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.only(&[])?;
    caller.of_all_tenants("a plan of retention")?;
    let policy = &api.reading.policy;
    if policy.rules().is_empty() {
        return Ok(Json(Plan { rules: Vec::new(), whole_months: Vec::new() }).into_response());
    }
    let (store, now) = (&*api.reading.store, Timestamp::now());
    let plan = retention::plan(store, policy, now, api.reading.archiving).await?;
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    let rules = policy.rules().iter().zip(&plan.rules).map(|(rule, due)| Due {
        rule: rule.name.clone(),
        before: time(due.before),
        events: due.goes.events,
        bytes: due.goes.bytes,
        oldest: time(due.oldest),
        newest: time(due.newest),
        held: due.held,
    });
    let whole_months = plan.months.iter().map(|month| month.name.clone()).collect();
    Ok(Json(Plan { rules: rules.collect(), whole_months }).into_response())
}
