//! `annals checkpoint`: the signed head of the log.

use annals::log::SignedCheckpoint;
use clap::Args;
use serde_json::json;

use crate::failure::Failure;
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
}

impl Checkpoint {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let store = session.store().await?;
        session.signer_of(std::sync::Arc::clone(&store))?.sign().await?;
        let standing = store.ledger()?.standing().await?;
        let Some(kept) = standing.latest else {
            return Err(Failure::failed("the log has no events yet")
                .hint("`annals record` makes one, and `annals work` stores it"));
        };
        let signed: SignedCheckpoint = kept
            .note
            .parse()
            .map_err(|fault| Failure::failed(format!("read the last checkpoint: {fault}")))?;
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

/// Bytes as people compare them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
