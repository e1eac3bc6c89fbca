//! `/v1/facets` and `/v1/histogram`: counts of events, from what is counted as they come.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;

use annals::Timestamp;
use annals::rollup::{self, Counting, Counts, Dimension, MAX_LINES, MAX_VALUES, Over, Step};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::ask::{Ask, OutcomeWord, described};
use crate::access::{Caller, CallerOf};
use crate::problem::{Problem, Wrong};

/// Values of a facet, unless it is said.
const VALUES: usize = 10;

/// Lines of a histogram, unless it is said.
const LINES: usize = 5;

/// Which events are counted: each condition that is given must hold. Counts are by the hour:
/// `since` is taken as the beginning of its hour, `until` as the end of its.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the fields are what is described")]
pub(crate) struct Countable {
    /// Of entities of this type.
    #[param(example = "product", pattern = "^[^\\x00]+$")]
    entity_type: Option<String>,
    /// By this actor: `ID` or `TYPE:ID`.
    #[param(example = "user:7", pattern = "^[^\\x00]+$")]
    actor: Option<String>,
    /// With this action.
    #[param(example = "updated", pattern = "^[^\\x00]+$")]
    action: Option<String>,
    /// That went this way.
    #[param(inline)]
    outcome: Option<OutcomeWord>,
    /// Of this tenant.
    #[param(pattern = "^[^\\x00]+$")]
    tenant: Option<String>,
    /// From this time on, RFC 3339.
    #[param(example = "2026-11-01T00:00:00Z", format = DateTime)]
    since: Option<String>,
    /// Before this time, RFC 3339.
    #[param(format = DateTime)]
    until: Option<String>,
}

/// By what events are counted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the fields are what is described")]
pub(crate) struct ByWhat {
    /// Some of `action`, `entity_type`, `actor`, `tenant`, `outcome` and `service`, between
    /// commas; all unless it is said.
    #[param(
        example = "action,actor",
        pattern = "^(action|entity_type|actor|tenant|outcome|service)(,(action|entity_type|actor|tenant|outcome|service))*$"
    )]
    by: Option<String>,
    /// Values of each: those with the most events; 10 unless it is said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

/// How events are counted over time.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the fields are what is described")]
pub(crate) struct OverTime {
    /// How wide a bucket is: wider, if there were more than 10,000; if it is not said, as
    /// narrow as makes 200 at the most.
    #[param(inline)]
    step: Option<StepWord>,
    /// Each bucket again by this.
    #[param(inline)]
    by: Option<DimensionWord>,
    /// Lines by that: those with the most events; 5 unless it is said.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u16>,
}

/// How wide a bucket is, in UTC; a week begins on Monday.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "the variants are what is described")]
pub(crate) enum StepWord {
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// By what events are counted.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "the variants are what is described")]
pub(crate) enum DimensionWord {
    Action,
    EntityType,
    Actor,
    Tenant,
    Outcome,
    Service,
}

/// What was counted.
#[derive(Serialize, ToSchema)]
pub(crate) struct Scope {
    /// Events.
    events: u64,
    /// The beginning of the first hour that was asked for.
    #[schema(format = DateTime)]
    since: Option<String>,
    /// The end of the last one.
    #[schema(format = DateTime)]
    until: Option<String>,
    /// Up to where the trail is counted.
    counted: Counted,
}

/// Up to where the trail is counted.
#[derive(Serialize, ToSchema)]
pub(crate) struct Counted {
    /// Events below this position are.
    position: u64,
    /// Whether those are all: if not, the rest is being counted.
    complete: bool,
    /// Days that are being counted anew, since events were removed from them: until then those
    /// are counted still. Told to keys of all tenants.
    recounting: Option<usize>,
}

/// Counts by some of their fields.
#[derive(Serialize, ToSchema)]
pub(crate) struct Facets {
    #[serde(flatten)]
    scope: Scope,
    /// One for each field.
    facets: Vec<Facet>,
}

/// Counts by one field.
#[derive(Serialize, ToSchema)]
pub(crate) struct Facet {
    /// Which field: `action`, `entity_type`, `actor`, `tenant`, `outcome` or `service`.
    by: &'static str,
    /// Those with the most events, most first.
    values: Vec<Value>,
    /// How many values there are in all.
    distinct: usize,
    /// Events whose value is not listed.
    other: u64,
}

/// A value and its events.
#[derive(Serialize, ToSchema)]
pub(crate) struct Value {
    /// The value, as a filter takes it; none: events that have none.
    #[schema(required = true)]
    value: Option<String>,
    /// How many events.
    events: u64,
}

/// Counts over time.
#[derive(Serialize, ToSchema)]
pub(crate) struct Histogram {
    #[serde(flatten)]
    scope: Scope,
    /// How wide a bucket is: `hour`, `day`, `week`, `month` or `year`.
    step: &'static str,
    /// The value of each line; nothing unless it was asked for by some field.
    lines: Vec<Option<String>>,
    /// From `since`, or the first that has an event, on, without a gap.
    buckets: Vec<Bucket>,
}

/// Counts of one step.
#[derive(Serialize, ToSchema)]
pub(crate) struct Bucket {
    /// When it begins.
    #[schema(format = DateTime)]
    from: String,
    /// Events.
    events: u64,
    /// Those of each line.
    lines: Vec<u64>,
}

/// Count events by their fields
///
/// How many events there are of each action, entity type, actor, tenant, outcome and service.
#[utoipa::path(
    get,
    path = "/v1/facets",
    tag = "events",
    params(Countable, ByWhat),
    security(("key" = ["read"]), ("session" = ["read"])),
    responses((status = 200, description = "The counts", body = Facets), Wrong)
)]
pub(crate) async fn facets(
    State(api): State<Arc<Api>>,
    CallerOf(caller): CallerOf,
    ask: Ask,
) -> Result<Response, Problem> {
    let ask = ask.only(&[described::<Countable>(), described::<ByWhat>()])?;
    let By(facets) = ask.get("by")?.unwrap_or_else(|| By(Dimension::ALL.to_vec()));
    let limit = ask.up_to("limit", MAX_VALUES)?.unwrap_or(VALUES);
    let filter = ask.filter(&caller)?;
    let counting = Counting { filter, facets, limit, histogram: None };
    let counts = rollup::count(&*api.reading.store, &counting).await?;
    let scope = Scope::of(&counts, &caller);
    let facets = counts.facets.iter().map(|facet| {
        let value =
            |value: &rollup::ValueCount| Value { value: value.value.clone(), events: value.events };
        let values: Vec<Value> = facet.values.iter().map(value).collect();
        let listed: u64 = values.iter().map(|value| value.events).sum();
        Facet {
            by: facet.dimension.as_str(),
            values,
            distinct: facet.distinct,
            other: counts.events - listed,
        }
    });
    Ok(Json(Facets { scope, facets: facets.collect() }).into_response())
}

/// Count events over time
///
/// How many events there are in each hour, day, week, month or year (UTC), and again by one of
/// their fields.
#[utoipa::path(
    get,
    path = "/v1/histogram",
    tag = "events",
    params(Countable, OverTime),
    security(("key" = ["read"]), ("session" = ["read"])),
    responses((status = 200, description = "The counts", body = Histogram), Wrong)
)]
pub(crate) async fn histogram(
    State(api): State<Arc<Api>>,
    CallerOf(caller): CallerOf,
    ask: Ask,
) -> Result<Response, Problem> {
    let ask = ask.only(&[described::<Countable>(), described::<OverTime>()])?;
    let over = Over { step: ask.get::<Step>("step")?, by: ask.get::<Dimension>("by")? };
    let limit = ask.up_to("limit", MAX_LINES)?.unwrap_or(LINES);
    let filter = ask.filter(&caller)?;
    let counting = Counting { filter, facets: Vec::new(), limit, histogram: Some(over) };
    let counts = rollup::count(&*api.reading.store, &counting).await?;
    let scope = Scope::of(&counts, &caller);
    let (mut step, mut lines, mut buckets) = (Step::Hour, Vec::new(), Vec::new());
    if let Some(histogram) = counts.histogram {
        step = histogram.step;
        lines = histogram.by.map_or_else(Vec::new, |(_, lines)| lines);
        buckets = histogram.buckets;
    }
    let bucket = |bucket: rollup::Bucket| Bucket {
        from: bucket.from.to_string(),
        events: bucket.events,
        lines: bucket.lines,
    };
    let buckets = buckets.into_iter().map(bucket).collect();
    Ok(Json(Histogram { scope, step: step.as_str(), lines, buckets }).into_response())
}

impl Scope {
    fn of(counts: &Counts, caller: &Caller) -> Self {
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let Counts { events, since, until, position, complete, recounting, .. } = *counts;
        // That somebody's events were removed is nobody else's business.
        let recounting = caller.bound().is_none().then_some(recounting);
        let counted = Counted { position, complete, recounting };
        Self { events, since: time(since), until: time(until), counted }
    }
}

/// What is counted by, between commas, each once.
struct By(Vec<Dimension>);

impl FromStr for By {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut seen = BTreeSet::new();
        let mut dimensions = Vec::new();
        for name in text.split(',') {
            let dimension = name.parse()?;
            if seen.insert(dimension) {
                dimensions.push(dimension);
            }
        }
        Ok(Self(dimensions))
    }
}
