//! Who sent a request.

use std::collections::BTreeSet;
use std::sync::Arc;

use annals::access::{ApiKey, Grant, Known, Scope, Tenants};
use annals::event::Writer;
use annals::query::Filter;
use annals::{Actor, Timestamp};
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;

use crate::problem::Problem;

/// Who sent a request, and what it may do.
#[derive(Debug)]
pub(crate) struct Caller {
    who: Who,
    grant: Grant,
}

#[derive(Debug)]
enum Who {
    /// A program of this machine, without a key.
    Near,
    Key {
        key: Arc<ApiKey>,
        known: Arc<Known>,
    },
}

impl Caller {
    /// A program of this machine, without a key, where that is enough.
    pub(super) fn near() -> Self {
        let (scopes, tenants) = (BTreeSet::new(), Tenants::All);
        Self { who: Who::Near, grant: Grant { scopes, tenants, source: None } }
    }

    pub(super) fn with_key(key: Arc<ApiKey>, known: &Arc<Known>) -> Self {
        let grant = key.grant.clone();
        Self { who: Who::Key { key, known: Arc::clone(known) }, grant }
    }

    pub(super) fn has(&self, scope: Scope) -> bool {
        self.grant.scopes.contains(&scope)
    }

    /// As whom it acts.
    pub(crate) fn actor(&self) -> Option<Actor> {
        match &self.who {
            Who::Near => None,
            Who::Key { key, .. } => {
                let mut actor = Actor::new("api_key", &key.id);
                actor.name = Some(key.name.clone().into());
                Some(actor)
            }
        }
    }

    /// Whether it may see data of this tenant, or of none.
    pub(crate) fn sees(&self, tenant: Option<&str>) -> bool {
        self.grant.tenants.has(tenant)
    }

    /// The tenants that it is bound to, if it is.
    pub(crate) fn bound(&self) -> Option<&BTreeSet<String>> {
        match &self.grant.tenants {
            Tenants::All => None,
            Tenants::Only(tenants) => Some(tenants),
        }
    }

    /// Refuses who may not see the data of all tenants.
    pub(crate) fn of_all_tenants(&self, what: &str) -> Result<(), Problem> {
        match self.bound() {
            None => Ok(()),
            Some(_) => {
                let detail = format!("{what} is about all tenants, and this key is bound to some");
                Err(Problem::new(StatusCode::FORBIDDEN, detail))
            }
        }
    }

    /// Lets a filter through to what the caller may see, and no further.
    pub(crate) fn bind(&self, mut filter: Filter) -> Result<Filter, Problem> {
        let Some(tenants) = self.bound() else { return Ok(filter) };
        match (&filter.tenant, tenants.iter().next()) {
            (Some(tenant), _) if !tenants.contains(tenant) => return Err(other_tenant(tenant)),
            (Some(_), _) => {}
            // One tenant has an index.
            (None, Some(only)) if tenants.len() == 1 => filter.tenant = Some(only.clone()),
            (None, _) => filter.tenants = Some(tenants.clone()),
        }
        Ok(filter)
    }

    /// As whom it sends events in.
    pub(crate) fn writer(&self) -> Writer<'_> {
        Writer { tenants: self.bound(), source: self.grant.source.as_deref() }
    }

    /// Whether it would be let in still: for answers that take long.
    pub(crate) fn is_still_admitted(&self) -> bool {
        match &self.who {
            Who::Near => true,
            Who::Key { key, known } => known.still_admits(key, Timestamp::now()),
        }
    }
}

/// That a key does not see this tenant; the same whether there is such a tenant or not.
pub(crate) fn other_tenant(tenant: &str) -> Problem {
    let detail = format!("this key is not for the tenant {tenant:?}");
    Problem::new(StatusCode::FORBIDDEN, detail)
}

impl<S: Sync> FromRequestParts<S> for CallerOf {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Whoever came here without being admitted is not let further.
        let caller = parts.extensions.get::<Arc<Caller>>().map(Arc::clone);
        caller.map(Self).ok_or_else(|| Problem::new(StatusCode::FORBIDDEN, "nobody is let in here"))
    }
}

/// The caller, for a handler.
#[derive(Debug)]
pub(crate) struct CallerOf(pub(crate) Arc<Caller>);

/// What a handler wants told in the trail of what it did.
#[derive(Clone, Debug)]
pub(crate) struct Details(pub(crate) serde_json::Value);
