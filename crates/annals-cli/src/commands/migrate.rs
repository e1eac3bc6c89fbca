//! `annals migrate`: the tables of queues and store.

use annals::store;
use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::session::{Session, shown_url};

/// Create the tables
#[derive(Debug, Args)]
pub(crate) struct Migrate {}

impl Migrate {
    /// Opening for writing makes what is missing and refuses what is newer.
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        session.refuse_memory()?;
        for transport in session.transports().await? {
            // A server that is away is opened all the same, and says so when asked.
            transport.stats().await?;
            ready(session, "transport", transport.url())?;
        }
        // A file has no tables, and its one appender may hold it right now.
        if !session.config.store.starts_with("file:") {
            ready(session, "store", store::open(&session.config.store).await?.url())?;
        }
        Ok(())
    }
}

fn ready(session: &Session, what: &'static str, url: &str) -> Result<(), Failure> {
    if session.out.json() {
        return session.out.object(&json!({ "what": what, "url": url, "ready": true }));
    }
    session.out.line(format!("{what:9}  {}  ready", shown_url(url)))
}
