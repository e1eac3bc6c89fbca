//! What a request's query asks for.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use annals::query::{Cursor, Filter, Query, Tenants};
use annals::{Entity, Timestamp};
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use utoipa::{IntoParams, ToSchema};

use crate::access::Caller;
use crate::problem::Problem;

/// Events of a page, unless it is said.
const PAGE: usize = 50;

/// Events of a page, at most.
pub(crate) const MAX_PAGE: usize = 1_000;

/// Which events: each condition that is given must hold.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the fields are what is described")]
pub(crate) struct Filters {
    /// Of this entity: `TYPE:ID`.
    #[param(example = "product:42", pattern = "^[^:\\x00]+:[^\\x00]+$")]
    entity: Option<String>,
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
    /// That changed this field.
    #[param(pattern = "^[^\\x00]+$")]
    changed: Option<String>,
    /// Caused by this request.
    #[param(pattern = "^[^\\x00]+$")]
    request: Option<String>,
    /// From this time on, RFC 3339.
    #[param(example = "2026-11-01T00:00:00Z", format = DateTime)]
    since: Option<String>,
    /// Before this time, RFC 3339.
    #[param(format = DateTime)]
    until: Option<String>,
}

/// How an action went.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "the variants are what is described")]
pub(crate) enum OutcomeWord {
    Success,
    Failure,
    Denied,
}

/// Which of the events come first.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "the variants are what is described")]
pub(crate) enum OrderWord {
    Newest,
    Oldest,
}

/// Which page of the events.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the fields are what is described")]
pub(crate) struct Paging {
    /// `newest` (as people read, and unless it is said) or `oldest` first.
    #[param(inline)]
    order: Option<OrderWord>,
    /// Events of a page; 50 unless it is said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
    /// Where the page before ended: its `next`, with the same filters.
    #[param(
        pattern = "^(0|[1-9a-f][0-9a-f]{0,14})-(0|[1-9a-f][0-9a-f]{0,14})-(0|[1-9a-f][0-9a-f]{0,14})-[0-9a-f]{8}$"
    )]
    cursor: Option<String>,
}

/// The parameters that a request gives, each once.
#[derive(Debug)]
pub(crate) struct Ask(BTreeMap<String, String>);

/// What a path names, such as an event's id.
#[derive(Debug)]
pub(crate) struct Named(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let named = Path::<String>::from_request_parts(parts, state).await;
        named.map(|Path(named)| Self(named)).map_err(|error| wrong(error.body_text()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Ask {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::from_request_parts(parts, state);
        let pairs = pairs.await.map_err(|error: QueryRejection| wrong(error.body_text()))?;
        let mut asked = BTreeMap::new();
        for (name, value) in pairs.0 {
            let twice = format!("{name} is given twice");
            // An empty one may be a variable that was never set: nobody is to get all tenants'
            // events for it.
            if value.is_empty() {
                return Err(wrong(format!("{name} is empty; leave it out")));
            }
            if value.contains('\0') {
                return Err(wrong(format!("{name}: a NUL is in no event")));
            }
            if asked.insert(name, value).is_some() {
                return Err(wrong(twice));
            }
        }
        Ok(Self(asked))
    }
}

pub(crate) fn wrong(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

impl Ask {
    /// Refuses what is none of these parameters, by name.
    pub(crate) fn only(
        self,
        known: &[Vec<utoipa::openapi::path::Parameter>],
    ) -> Result<Self, Problem> {
        let names: Vec<&str> = known.iter().flatten().map(|known| known.name.as_str()).collect();
        match self.0.keys().find(|name| !names.contains(&name.as_str())) {
            None => Ok(self),
            Some(name) if names.is_empty() => Err(wrong(format!("{name:?} is no parameter here"))),
            Some(name) => {
                Err(wrong(format!("{name:?} is no parameter here; there are {}", names.join(", "))))
            }
        }
    }

    /// A parameter, read.
    pub(crate) fn get<T>(&self, name: &str) -> Result<Option<T>, Problem>
    where
        T: FromStr,
        T::Err: Display,
    {
        let read = |text: &String| text.parse().map_err(|fault| wrong(format!("{name}: {fault}")));
        self.0.get(name).map(read).transpose()
    }

    /// A time.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        let read = |text: &String| {
            Timestamp::nearest(text).map_err(|fault| wrong(format!("{name}: {fault}")))
        };
        self.0.get(name).map(read).transpose()
    }

    /// A number of things, at least one.
    pub(crate) fn up_to(&self, name: &str, most: usize) -> Result<Option<usize>, Problem> {
        let asked = self.get::<usize>(name)?;
        match asked.filter(|asked| !(1..=most).contains(asked)) {
            None => Ok(asked),
            Some(other) => Err(wrong(format!("{name}: expected 1 to {most}, found {other}"))),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    /// The [`Filters`], as far as the caller may see.
    pub(crate) fn filter(&self, caller: &Caller) -> Result<Filter, Problem> {
        let filter = Filter {
            entity: self.get::<Entity>("entity")?,
            entity_type: self.text("entity_type"),
            actor: self.get("actor")?,
            action: self.text("action"),
            outcome: self.get("outcome")?,
            tenant: self.text("tenant"),
            tenants: Tenants::All,
            changed: self.text("changed"),
            request: self.text("request"),
            since: self.time("since")?,
            until: self.time("until")?,
        };
        caller.bind(filter)
    }

    /// The [`Paging`] through what a filter lets through.
    pub(crate) fn page(&self, filter: Filter) -> Result<Query, Problem> {
        let limit = self.up_to("limit", MAX_PAGE)?.unwrap_or(PAGE);
        let query = Query::newest(filter).limit(limit).after(self.get::<Cursor>("cursor")?);
        let query = match self.0.get("order").map(String::as_str) {
            None | Some("newest") => query,
            Some("oldest") => query.oldest_first(),
            Some(other) => {
                return Err(wrong(format!("order: expected newest or oldest, found {other:?}")));
            }
        };
        if let Some(Err(error)) = query.cursor.map(|cursor| cursor.check(&query)) {
            let detail = format!("{}; give the filters of the page before", error.found());
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        Ok(query)
    }
}

/// The names of parameters of which a handler has this description.
pub(crate) fn described<P: IntoParams>() -> Vec<utoipa::openapi::path::Parameter> {
    P::into_params(|| None)
}
