//! Who may use the server, and who that is who asks.

mod keys;
mod me;
mod people;
mod sessions;

use std::collections::BTreeSet;
use std::sync::Arc;

use annals::access::{Keyring, Known, People, Tenants};
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ask::wrong;
use crate::access::Caller;
use crate::problem::Problem;

/// Who may use the server; an administrator of some tenants sees and changes who is for no
/// others.
#[derive(Debug)]
pub(crate) struct Members {
    known: Arc<Known>,
    keyring: Keyring,
    people: People,
}

impl Members {
    pub(crate) fn new(known: Arc<Known>, keyring: Keyring, people: People) -> Self {
        Self { known, keyring, people }
    }

    /// What was changed is known here at once, and elsewhere at the next look.
    async fn changed(&self) -> Result<(), Problem> {
        Ok(self.known.refresh().await?)
    }
}

pub(crate) fn routes(members: Members) -> OpenApiRouter {
    described().with_state(Arc::new(members))
}

/// The routes without whom they are about.
pub(super) fn described() -> OpenApiRouter<Arc<Members>> {
    OpenApiRouter::new()
        .routes(routes!(me::me))
        .routes(routes!(people::list, people::invite))
        .routes(routes!(people::change))
        .routes(routes!(people::link))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::end))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::rotate))
        .routes(routes!(keys::revoke))
}

/// The tenants that are asked for.
fn tenants(some: Option<BTreeSet<String>>, all: Option<bool>) -> Result<Option<Tenants>, Problem> {
    match (some, all) {
        (None, None) => Ok(None),
        (Some(tenants), None | Some(false)) => Ok(Some(Tenants::Only(tenants))),
        (None, Some(true)) => Ok(Some(Tenants::All)),
        _ => Err(wrong("give tenants, or \"all_tenants\": true")),
    }
}

/// Refuses what somebody may not give away.
fn gives(caller: &Caller, tenants: &Tenants) -> Result<(), Problem> {
    if caller.grant().tenants.covers(tenants) {
        return Ok(());
    }
    let detail = "you may give what you have, and those are tenants that you have not";
    Err(Problem::new(StatusCode::FORBIDDEN, detail))
}
