//! `annals log`: care of the log's keys and signatures.

use std::sync::Arc;

use annals::log::{KeyType, SigningKey};
use annals::store::Store;
use clap::{Args, Subcommand};
use serde_json::json;

use super::prune::by;
use crate::failure::Failure;
use crate::render::shown;
use crate::render::size::plural;
use crate::session::Session;

/// Care for the log's keys and signatures
#[derive(Debug, Subcommand)]
pub(crate) enum Log {
    /// Sign a database again that was restored or took another's place
    ///
    /// An event with the head that was signed last and the one that is there is stored
    /// first. If the log still holds all that was signed, it goes on under its name;
    /// otherwise it goes on under another, with another key.
    Resume(Resume),
    /// Print a new private key for the log
    ///
    /// A line of the key's file is a key, and all of them sign. To change the key, add the
    /// new one to the file of every worker, wait until the log was signed with both, hand
    /// over what `annals checkpoint --key` prints, and take the old one out.
    NewKey,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// Say that the database is meant to be the one that goes on
    #[arg(long, required = true)]
    after_restore: bool,
}

impl Log {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let store = session.store().await?;
        match self {
            Self::Resume(Resume { after_restore: _ }) => resume(session, store).await,
            Self::NewKey => {
                let origin = session.signer_of(store)?.origin().await?;
                let key = SigningKey::generate(&origin, KeyType::Log).map_err(Failure::failed)?;
                session.out.line(key.to_secret_text())
            }
        }
    }
}

async fn resume(session: &Session, store: Arc<dyn Store>) -> Result<(), Failure> {
    let resumed = session.signer_of(Arc::clone(&store))?.resume(by()).await?;
    let head = resumed.after.head();
    if session.out.json() {
        return session.out.object(&json!({
            "event": resumed.event.to_string(), "before": resumed.before.map(|before| before.size),
            "origin": head.origin, "size": head.size,
        }));
    }
    let before = resumed.before.filter(|before| before.origin != head.origin);
    session.out.line(match before {
        None => {
            format!("the log {} goes on with {}", shown(&head.origin), plural(head.size, "event"))
        }
        Some(before) => format!(
            "what was signed up to {} of {} is not there any more: the log goes on as {}, with {}; \
                 `annals checkpoint --key` prints its key",
            before.size,
            shown(&before.origin),
            shown(&head.origin),
            plural(head.size, "event"),
        ),
    })
}
