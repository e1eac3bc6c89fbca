//! `annals witness`: cosigns the checkpoints of other machines' logs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use annals::log::VerifierKey;
use annals::proof::Witness as Cosigns;
use annals_server::{Limits, Server};
use clap::Args;
use serde_json::json;
use tokio::sync::oneshot;

use crate::failure::Failure;
use crate::session::Session;
use crate::signals::Signals;

/// Cosign the checkpoints of other machines' logs
///
/// Run it where whoever has the logs' databases and keys can do nothing. It remembers the
/// last checkpoint of each log before it answers, cosigns only what extends it, and keeps
/// and reports what contradicts it. What it remembers must never go back: let no backup of
/// its directory be restored.
#[derive(Debug, Args)]
pub(crate) struct Witness {
    /// What it signs as: best a URL without a scheme, never changed
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The key of a log that it is a witness of, as `annals checkpoint --key` prints it
    /// there; may be given several times
    #[arg(long, value_name = "KEY", required = true)]
    log: Vec<VerifierKey>,
    /// Where it keeps its own key and what it has seen
    #[arg(long, value_name = "DIR", default_value = "annals-witness")]
    directory: PathBuf,
    /// Where it listens; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4621")]
    listen: SocketAddr,
}

impl Witness {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let signals = Signals::listen()?;
        let witness = Arc::new(Cosigns::open(&self.directory, &self.name, self.log)?);
        let key = witness.verifier();
        let server = Server::bind_witness(self.listen, witness, Limits::default()).await?;
        let url = format!("http://{}", server.local_addr());
        if session.out.json() {
            session.out.object(&json!({ "listening": url, "key": key.to_string() }))?;
        } else {
            session.out.line(format!(
                "listening on {url}; where the log is signed, set\n\n  \
                 log.witnesses = [\"{key} {url}\"]\n\n\
                 and to those who check it give the key\n\n  {key}\n"
            ))?;
        }
        let (stop, stopped) = oneshot::channel::<()>();
        signals.spawn(move || drop(stop));
        Ok(server.run(async { drop(stopped.await) }).await?)
    }
}
