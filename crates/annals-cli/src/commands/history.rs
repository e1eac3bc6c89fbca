//! `annals history TYPE:ID`: one entity's events.

use annals::query::Filter;
use annals::{Entity, Timestamp};
use clap::Args;

use super::query::{PageArgs, print, readable};
use crate::failure::Failure;
use crate::render::diff::diff;
use crate::session::Session;
use crate::when;

/// Show one entity's events, newest first, or its state at a time
#[derive(Debug, Args)]
pub(crate) struct History {
    /// The entity, such as product:42
    #[arg(value_name = "TYPE:ID")]
    entity: Entity,
    /// Show the state as of then instead: RFC 3339, a date, or a time ago such as 2h
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    at: Option<Timestamp>,
    /// Only this tenant's
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

impl History {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let store = session.store().await?;
        let filter = Filter {
            entity: Some(self.entity),
            tenant: self.tenant,
            ..Filter::default()
        };
        if self.at.is_some() {
            return Err(Failure::failed("--at is not there yet"));
        }
        let page = store.query(self.page.of(filter)).await?;
        print(session.out, &page, |stored| readable(stored, diff))
    }
}
