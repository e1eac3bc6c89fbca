//! `/v1`: reading the trail, and looking after it.

mod answer;
mod ask;
mod counts;
mod description;
mod entities;
mod etag;
mod events;
mod export;
mod failed;
mod fault;
mod holds;
mod log;
mod members;
mod retention;
mod row;
mod stats;
mod tail;

use std::sync::Arc;

use annals::log::VerifierKey;
use annals::retention::Policy;
use annals::store::Store;
use annals::transport::Transport;
use tokio::sync::{Semaphore, watch};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use description::openapi;
pub(crate) use description::{NewEvents, document};
pub(crate) use etag::etag;
pub(crate) use members::{Members, routes as member_routes};
use tail::Follower;

/// What the API reads and looks after; a server without it takes events in only.
#[derive(Clone, Debug)]
pub struct Reading {
    store: Arc<dyn Store>,
    transports: Vec<Arc<dyn Transport>>,
    policy: Policy,
    archiving: bool,
    witnesses: Vec<VerifierKey>,
}

impl Reading {
    /// Reads this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        let (transports, witnesses) = (Vec::new(), Vec::new());
        Self { store, transports, policy: Policy::default(), archiving: false, witnesses }
    }

    /// Looks after what these could not deliver.
    #[must_use]
    pub fn transports(mut self, transports: &[Arc<dyn Transport>]) -> Self {
        self.transports = transports.to_vec();
        self
    }

    /// Says what these rules would remove; `archiving` if what goes is archived first.
    #[must_use]
    pub fn retention(mut self, policy: Policy, archiving: bool) -> Self {
        (self.policy, self.archiving) = (policy, archiving);
        self
    }

    /// Says how far these have cosigned the log.
    #[must_use]
    pub fn witnesses(mut self, witnesses: Vec<VerifierKey>) -> Self {
        self.witnesses = witnesses;
        self
    }
}

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct Api {
    reading: Reading,
    follower: Follower,
    /// One verification at a time: it reads all there is.
    verifying: Semaphore,
    /// So many exports at a time.
    exporting: Arc<Semaphore>,
    /// Whether the server was told to stop: what has no end of its own ends then.
    stopping: watch::Receiver<bool>,
}

/// Exports at a time: each keeps a connection of the store busy.
const EXPORTS: usize = 4;

/// The routes, and what they are described as.
pub(crate) fn routes(reading: Reading, stopping: watch::Receiver<bool>) -> OpenApiRouter {
    described().with_state(Arc::new(Api {
        follower: Follower::new(Arc::clone(&reading.store)),
        reading,
        verifying: Semaphore::new(1),
        exporting: Arc::new(Semaphore::new(EXPORTS)),
        stopping,
    }))
}

/// The routes without what they read.
fn described() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(events::query))
        .routes(routes!(events::one))
        .routes(routes!(log::proof))
        .routes(routes!(entities::history))
        .routes(routes!(entities::state))
        .routes(routes!(tail::tail))
        .routes(routes!(export::export))
        .routes(routes!(counts::facets))
        .routes(routes!(counts::histogram))
        .routes(routes!(stats::stats))
        .routes(routes!(log::checkpoint))
        .routes(routes!(log::verify))
        .routes(routes!(holds::list, holds::place))
        .routes(routes!(holds::release))
        .routes(routes!(retention::plan))
        .routes(routes!(failed::list))
        .routes(routes!(failed::one, failed::remove))
        .routes(routes!(failed::retry))
}
