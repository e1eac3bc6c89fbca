//! `annals checkpoint`: the signed head of the log.

use std::sync::Arc;

use annals::log::SignedCheckpoint;
use annals::proof::{Publisher, Target};
use annals::store::Store;
use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::render::shown;
use crate::session::Session;

/// Sign the log's head and print it
///
/// The log is signed if it grew since it was signed last. What is printed is a signed
/// note (C2SP tlog-checkpoint): keep it where nobody can change it, and
/// `annals verify --since FILE` shows that the log only grew.
#[derive(Debug, Args)]
pub(crate) struct Checkpoint {
    /// Print the key that verifies it instead
    #[arg(long)]
    key: bool,
    /// Publish it too: to file:PATH, exec:COMMAND, https://…, syslog: or syslog://HOST;
    /// without a target to all of `log.publish`
    #[arg(long, value_name = "TARGET", num_args = 0..=1, default_missing_value = "")]
    publish: Vec<String>,
}

impl Checkpoint {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.here_only("--publish", !self.publish.is_empty())?;
        session.here_only("--key", self.key)?;
        if let Some(remote) = session.remote() {
            let note = remote.text("/v1/checkpoint").await?;
            return match session.out.json() {
                true => session.out.object(&json!({ "checkpoint": note })),
                false => session.out.text(note),
            };
        }
        let store = session.store().await?;
        session.signer_of(Arc::clone(&store))?.sign().await?;
        let standing = store.ledger()?.standing().await?;
        let Some(kept) = standing.latest else {
            return Err(Failure::failed("the log has no events yet")
                .hint("`annals record` makes one, and `annals work` stores it"));
        };
        let signed: SignedCheckpoint = kept
            .note
            .parse()
            .map_err(|fault| Failure::failed(format!("read the last checkpoint: {fault}")))?;
        self.publish(session, &store, &signed).await?;
        let head = signed.head();
        if session.out.json() {
            return session.out.object(&json!({
                "origin": head.origin, "size": head.size, "root": hex(&head.root), "keys": standing.keys,
                "signed_at": kept.signed_at.to_string(), "checkpoint": kept.note,
            }));
        }
        match self.key {
            true => standing.keys.iter().try_for_each(|key| session.out.line(key)),
            false => session.out.text(kept.note),
        }
    }
}

impl Checkpoint {
    async fn publish(
        &self,
        session: &Session,
        store: &Arc<dyn Store>,
        signed: &SignedCheckpoint,
    ) -> Result<(), Failure> {
        let mut targets = Vec::new();
        for target in &self.publish {
            match target.as_str() {
                "" => targets.extend(session.targets()?),
                given => targets.push(given.parse::<Target>().map_err(Failure::usage)?),
            }
        }
        if targets.is_empty() && !self.publish.is_empty() {
            return Err(Failure::usage("there is nowhere to publish to")
                .hint("name a target, such as --publish file:PATH, or set log.publish"));
        }
        let every = session.config.log.publish_every;
        let mut failed = Vec::new();
        for (target, published) in
            Publisher::new(Arc::clone(store), targets, every).publish(signed).await
        {
            match published {
                Ok(()) => session.out.note(format!("published to {}", shown(&target.to_string()))),
                Err(error) => failed.push(error.to_string()),
            }
        }
        match failed.is_empty() {
            true => Ok(()),
            false => Err(Failure::failed(failed.join("; "))),
        }
    }
}

/// Bytes as people compare them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
