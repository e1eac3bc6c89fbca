//! Who sent a request.

use std::collections::BTreeSet;
use std::sync::Arc;

use annals::access::{ApiKey, Grant, Known, Scope, SignedIn, TENANT, Tenants};
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
    /// Somebody who has signed in.
    Person {
        signed_in: SignedIn,
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

    pub(super) fn person(signed_in: SignedIn, known: &Arc<Known>) -> Self {
        let grant = signed_in.person.grant();
        Self { who: Who::Person { signed_in, known: Arc::clone(known) }, grant }
    }

    /// The key that it shows, if it shows one.
    pub(crate) fn key(&self) -> Option<&ApiKey> {
        match &self.who {
            Who::Key { key, .. } => Some(key),
            _ => None,
        }
    }

    /// Who it is, if somebody has signed in.
    pub(crate) fn signed_in(&self) -> Option<&SignedIn> {
        match &self.who {
            Who::Person { signed_in, .. } => Some(signed_in),
            _ => None,
        }
    }

    /// What it may do.
    pub(crate) fn grant(&self) -> &Grant {
        &self.grant
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
            Who::Person { signed_in, .. } => Some(signed_in.person.actor()),
        }
    }

    /// Whether it may see data of this tenant, or of none.
    pub(crate) fn sees(&self, tenant: Option<&str>) -> bool {
        self.grant.tenants.has(tenant)
    }

    /// The tenants that it is bound to, if it is.
    pub(crate) fn bound(&self) -> Option<&BTreeSet<String>> {
        self.grant.tenants.only()
    }

    /// Refuses who may not see the data of all tenants.
    pub(crate) fn of_all_tenants(&self, what: &str) -> Result<(), Problem> {
        match self.bound() {
            None => Ok(()),
            Some(_) => {
                let who = self.named();
                let detail = format!("{what} is about all tenants, and {who} is bound to some");
                Err(Problem::new(StatusCode::FORBIDDEN, detail))
            }
        }
    }

    /// Lets a filter through to what the caller may see, and no further.
    pub(crate) fn bind(&self, mut filter: Filter) -> Result<Filter, Problem> {
        match (&filter.tenant, &self.grant.tenants) {
            (Some(tenant), _) if !self.sees(Some(tenant)) => return Err(self.other_tenant(tenant)),
            (Some(_), _) => {}
            // One tenant has an index.
            (None, Tenants::Only(tenants)) if tenants.len() == 1 => {
                filter.tenant = tenants.first().cloned();
            }
            (None, tenants) => filter.tenants = tenants.clone(),
        }
        Ok(filter)
    }

    /// That it does not see this tenant; the same whether there is such a tenant or not.
    pub(crate) fn other_tenant(&self, tenant: &str) -> Problem {
        let detail = match (&self.who, tenant) {
            (Who::Person { .. }, TENANT) => {
                format!("the tenant {TENANT} is for auditors and administrators")
            }
            _ => format!("{} is not for the tenant {tenant:?}", self.named()),
        };
        Problem::new(StatusCode::FORBIDDEN, detail)
    }

    /// Such as `this key`.
    pub(super) fn named(&self) -> &'static str {
        match self.who {
            Who::Near | Who::Key { .. } => "this key",
            Who::Person { .. } => "your role",
        }
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
            Who::Person { signed_in, known } => {
                known.still_admits_person(signed_in, Timestamp::now())
            }
        }
    }
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
