//! `annals prove EVENT`: one event's proof, as a file.

use std::fs;
use std::path::PathBuf;

use annals::EventId;
use annals::proof;
use clap::Args;

use crate::failure::Failure;
use crate::session::Session;

/// Prove that an event is in the log
///
/// The proof is one file (C2SP tlog-proof) that holds the event, its place in the log and
/// a signed checkpoint. `annals verify --proof FILE --key KEY` checks it anywhere, without
/// the store; `annals checkpoint --key` prints the key to be given along.
#[derive(Debug, Args)]
pub(crate) struct Prove {
    /// The event's id
    #[arg(value_name = "EVENT")]
    event: EventId,
    /// Write it there, such as payment.tlog-proof, instead of printing it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Prove {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let proof = match session.remote() {
            Some(remote) => remote.text(&format!("/v1/events/{}/proof", self.event)).await?,
            None => proof::prove(&session.store().await?, self.event).await?.to_string(),
        };
        let Some(path) = self.output else { return session.out.text(proof) };
        fs::write(&path, proof)
            .map_err(|error| Failure::failed(format!("write {}: {error}", path.display())))?;
        session.out.line(format!("wrote {}", path.display()))
    }
}
