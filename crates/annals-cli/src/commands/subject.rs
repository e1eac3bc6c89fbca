//! `annals subject`: what is held about a subject.

use std::sync::Arc;

use annals::store::{Store, Stored};
use clap::Args;

use super::query::{Row, readable};
use crate::failure::Failure;
use crate::render::diff::diff;
use crate::session::Session;

/// Events to read at a time.
const WINDOW: usize = 500;

/// Show what is held about a subject
///
/// These are the events whose subject, entity or actor it is, oldest first, opened. The
/// whole store is read.
#[derive(Debug, Args)]
pub(crate) struct Subject {
    /// The subject, such as user:7
    #[arg(value_name = "TYPE:ID")]
    subject: String,
    /// Of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Print JSON, one event a line
    #[arg(long)]
    export: bool,
}

impl Subject {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let store = session.store().await?;
        let opener = session.opener(Arc::clone(&store)).await?;
        let (mut from, end) = (0, store.stats().await?.size);
        while from < end {
            let window = store.window(from, WINDOW).await?;
            let Some(last) = window.last() else { break };
            from = last.position + 1;
            let about: Vec<Stored> = window.into_iter().filter(|one| self.is_about(one)).collect();
            let opened = match &opener {
                Some(opener) => opener.open(&about).await?,
                None => Vec::new(),
            };
            for (index, mut stored) in about.into_iter().enumerate() {
                if let Some(opened) = opened.get(index) {
                    stored.body.clone_from(&opened.body);
                }
                if self.export || session.out.json() {
                    session.out.object(&Row::of(&stored)?)?;
                } else {
                    session.out.line(readable(&stored, diff))?;
                }
            }
        }
        Ok(())
    }

    fn is_about(&self, stored: &Stored) -> bool {
        let Ok(event) = stored.event() else { return false };
        let actor = event
            .actor
            .as_ref()
            .and_then(|actor| Some(format!("{}:{}", actor.kind.as_deref()?, actor.id.as_deref()?)));
        let named = event.subject.as_deref() == Some(&*self.subject)
            || event.entity.to_string() == self.subject
            || actor.as_deref() == Some(&*self.subject);
        named && self.tenant.as_deref().is_none_or(|tenant| event.tenant.as_deref() == Some(tenant))
    }
}
