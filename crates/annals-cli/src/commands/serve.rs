//! `annals serve`: events come in over HTTP, into the queue, and the store is read.

use std::time::Duration;

use annals::Audit;
use annals::capture::WhenFull;
use annals::config::{Flag, IngestSettings};
use annals_server::{Limits, Server};
use clap::Args;
use serde_json::json;
use tokio::sync::oneshot;

use crate::args::push;
use crate::failure::Failure;
use crate::session::Session;
use crate::signals::Signals;

/// How long to wait at the end for what was taken to become durable.
const DEADLINE: Duration = Duration::from_secs(30);

/// Take events in over HTTP
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where to listen [default: 127.0.0.1:4620]; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

impl Serve {
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let mut flags = Vec::new();
        push(&mut flags, "ingest.listen", "--listen", self.listen.as_ref());
        flags
    }

    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        session.refuse_memory()?;
        let signals = Signals::listen()?;
        let (server, audit) = bind(session).await?;
        let (transports, store) = (session.transports().await?, session.store_to_serve().await?);
        let watched = session.watched(&transports, store.clone())?;
        let first = session.first_link(store.as_ref(), server.local_addr()).await;
        let server = session.answering(server, &transports, store)?;
        let server = server.watching(watched.capture(audit.clone()));
        tell(session, &server, first)?;
        session.out.note("events go into the queue; `annals work` moves them to the store");
        let (stop, stopped) = oneshot::channel::<()>();
        signals.spawn(move || drop(stop));
        let ended = server.run(async { drop(stopped.await) }).await;
        audit.shutdown(DEADLINE).await?;
        Ok(ended?)
    }
}

/// The ingest endpoint, and the handle it captures with.
pub(crate) async fn bind(session: &Session) -> Result<(Server, Audit), Failure> {
    let (redactor, wire) = (session.redactor(true)?, session.wire()?);
    let mut options = session.config.capture.options();
    // A queue that is away is stood in for by the spool. Where there is none, that
    // becomes a 503 at once, and the client keeps its events: nothing is sent later
    // of what it was told had failed.
    let suits = Server::audit_options();
    options.delivery = suits.delivery;
    options.when_full = if session.may_spill() { WhenFull::Spill } else { suits.when_full };
    let audit = session.capture(options).await?;
    let IngestSettings { listen, max_body_bytes, max_events, .. } = session.config.ingest;
    let access = &session.config.access;
    let limits = Limits::default()
        .body_bytes(max_body_bytes)
        .events(max_events)
        .requests(access.requests_per_key, access.requests_per_address);
    match Server::bind_redacting(listen, wire, audit.clone(), limits, redactor).await {
        Ok(server) => Ok((server, audit)),
        Err(error) => {
            audit.shutdown(DEADLINE).await?;
            Err(error.into())
        }
    }
}

/// Says where it listens and how to try it.
pub(crate) fn tell(
    session: &Session,
    server: &Server,
    first: Option<String>,
) -> Result<(), Failure> {
    let scheme = if session.config.tls.certificate.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}/v1/events", server.local_addr());
    if session.out.json() {
        return session.out.object(&json!({ "listening": url, "first_administrator": first }));
    }
    if let Some(first) = first {
        session.out.line(format!(
            "nobody administers it yet; who opens this link first does, within 3 days:\n\n  {first}\n"
        ))?;
    }
    session.out.line(format!(
        "listening on {url}; try\n\n  curl -sH 'Content-Type: application/json' \
         -d '{{\"action\":\"greeted\",\"entity\":{{\"type\":\"world\",\"id\":\"1\"}}}}' {url}\n"
    ))
}
