//! `annals failed`: events that could not be stored.

mod far;

use std::sync::Arc;

use annals::EventId;
use annals::transport::{Buried, Transport, Which};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::failure::Failure;
use crate::render::line::{Clock, time};
use crate::render::size::plural;
use crate::render::style::{BOLD, DIM};
use crate::render::table::Table;
use crate::render::{diff::diff, shown};
use crate::session::{Session, shown_url};

/// Buried events to read at a time.
const PAGE: usize = 200;

/// Look after events that could not be stored
#[derive(Debug, Subcommand)]
pub(crate) enum Failed {
    /// List them, oldest first
    List(List),
    /// Show one of them in full
    Show(Show),
    /// Put them back into the queue, to be tried again
    Retry(Retry),
    /// Remove them for ever
    Remove(Remove),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// At most this many
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The event's id
    id: EventId,
}

#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// The events' ids
    #[arg(value_name = "ID")]
    ids: Vec<EventId>,
    /// All of them
    #[arg(long, conflicts_with = "ids")]
    all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The events' ids
    #[arg(required = true, value_name = "ID")]
    ids: Vec<EventId>,
}

impl Failed {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.refuse_memory()?;
        if let Self::Retry(Retry { all: false, ids }) = &self
            && ids.is_empty()
        {
            return Err(Failure::usage("which events are to be tried again?")
                .hint("name their ids, or give --all"));
        }
        if let Some(remote) = session.remote() {
            return self.far(session, remote).await;
        }
        let transports = session.existing_transports().await?;
        match self {
            Self::List(list) => list.run(session, &transports).await,
            Self::Show(show) => show.run(session, &transports).await,
            Self::Retry(Retry { all: true, .. }) => {
                let mut count = 0;
                for transport in &transports {
                    count += transport.revive(Which::All).await?;
                }
                done(session, "put back", count)
            }
            Self::Retry(retry) => {
                let mut count = 0;
                for (transport, ids) in sort(&transports, &retry.ids).await? {
                    count += transport.revive(Which::Ids(&ids)).await?;
                }
                done(session, "put back", count)
            }
            Self::Remove(remove) => {
                let mut count = 0;
                for (transport, ids) in sort(&transports, &remove.ids).await? {
                    count += transport.remove(Which::Ids(&ids)).await?;
                }
                done(session, "removed", count)
            }
        }
    }
}

fn done(session: &Session, what: &str, count: usize) -> Result<(), Failure> {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    if session.out.json() {
        return session.out.object(&json!({ "done": what, "events": count }));
    }
    session.out.line(format!("{what} {}", plural(count, "event")))
}

/// Which of the ids each transport has. An id that none has fails the command
/// before anything is changed.
async fn sort(
    transports: &[Arc<dyn Transport>],
    ids: &[EventId],
) -> Result<Vec<(Arc<dyn Transport>, Vec<EventId>)>, Failure> {
    let mut sorted = Vec::new();
    let mut missing: Vec<EventId> = ids.to_vec();
    for transport in transports {
        let mut own = Vec::new();
        each(&**transport, |buried| {
            if ids.contains(&buried.id) && !own.contains(&buried.id) {
                own.push(buried.id);
                missing.retain(|id| *id != buried.id);
            }
            Ok(true)
        })
        .await?;
        sorted.push((Arc::clone(transport), own));
    }
    match missing.first() {
        None => Ok(sorted),
        Some(id) => Err(not_there(*id)),
    }
}

fn not_there(id: EventId) -> Failure {
    Failure::failed(format!("no failed event has the id {id}"))
        .hint("`annals failed list` names those there are")
}

/// Shows each buried event to `visit`, page by page, until it has seen enough.
async fn each<F>(transport: &dyn Transport, mut visit: F) -> Result<(), Failure>
where
    F: FnMut(&Buried) -> Result<bool, Failure>,
{
    let mut after = None;
    loop {
        let page = transport.buried(after, PAGE).await?;
        for buried in &page {
            if !visit(buried)? {
                return Ok(());
            }
        }
        match page.last() {
            Some(last) => after = Some(last.number),
            None => return Ok(()),
        }
    }
}

impl List {
    async fn run(
        &self,
        session: &Session,
        transports: &[Arc<dyn Transport>],
    ) -> Result<(), Failure> {
        let mut left = self.limit;
        let mut table = Table::new(&["ID", "FAILED AT", ">TRIES", "REASON"]);
        let mut more = false;
        for transport in transports {
            each(&**transport, |buried| {
                if left == 0 {
                    more = true;
                    return Ok(false);
                }
                left -= 1;
                if session.out.json() {
                    session.out.object(&machine(transport.url(), buried))?;
                } else {
                    table.row(row(buried));
                }
                Ok(true)
            })
            .await?;
        }
        if session.out.json() {
            return Ok(());
        }
        if table.is_empty() {
            session.out.note("nothing has failed");
            return Ok(());
        }
        session.out.text(table)?;
        if more {
            session.out.note(format!("{DIM}there are more; raise --limit to see them{DIM:#}"));
        }
        Ok(())
    }
}

fn row(buried: &Buried) -> [String; 4] {
    [
        buried.id.to_string(),
        time(buried.failed_at, Clock::Date),
        buried.attempts.to_string(),
        shown(&buried.reason).into_owned(),
    ]
}

fn machine(url: &str, buried: &Buried) -> serde_json::Value {
    json!({
        "id": buried.id.to_string(), "failed_at": buried.failed_at.to_string(), "attempts": buried.attempts,
        "reason": buried.reason, "bytes": buried.body.len(), "transport": shown_url(url),
    })
}

impl Show {
    async fn run(
        &self,
        session: &Session,
        transports: &[Arc<dyn Transport>],
    ) -> Result<(), Failure> {
        let mut found = false;
        for transport in transports {
            each(&**transport, |buried| {
                if buried.id == self.id {
                    found = true;
                    one(session, transport.url(), buried)?;
                }
                Ok(!found)
            })
            .await?;
        }
        if found { Ok(()) } else { Err(not_there(self.id)) }
    }
}

fn one(session: &Session, url: &str, buried: &Buried) -> Result<(), Failure> {
    if session.out.json() {
        let mut object = machine(url, buried);
        // The bytes as they came; as text where they are no JSON.
        object["body"] = String::from_utf8_lossy(&buried.body).into();
        return session.out.object(&object);
    }
    session.out.text(describe(url, buried))
}

fn describe(url: &str, buried: &Buried) -> String {
    let mut facts = Table::plain();
    facts.row(["id", &buried.id.to_string()]);
    facts.row(["queue", &shown_url(url)]);
    facts.row(["failed at", &time(buried.failed_at, Clock::Date)]);
    facts.row(["tries", &buried.attempts.to_string()]);
    facts.row(["reason", &shown(&buried.reason)]);
    let event = match annals::Event::decode(&buried.body) {
        Ok(event) => diff(&event),
        Err(error) => {
            let text = String::from_utf8_lossy(&buried.body).into_owned();
            format!("{BOLD}{}{BOLD:#}\n{}\n", shown(&error.to_string()), shown(&text))
        }
    };
    format!("{facts}\n{event}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_full_and_one_that_is_no_event() {
        let body = r#"{"id":"01a202b2-c57b-71f3-8a2b-5c0d9e4f1a67","occurred_at":"2026-11-22T10:00:00.123456Z","action":"updated","outcome":"success","entity":{"type":"product","id":"42"},"old_values":{"price":1},"new_values":{"price":2},"version":1}"#;
        let buried = Buried {
            number: 1,
            id: "01a202b2-c57b-71f3-8a2b-5c0d9e4f1a67".parse().unwrap(),
            body: body.as_bytes().to_vec(),
            reason: "the same id is stored with other bytes\u{1b}[2J".to_owned(),
            attempts: 4,
            failed_at: "2026-11-22T10:00:05Z".parse().unwrap(),
        };
        let broken = Buried { body: b"{\"id\":\x1b".to_vec(), ..buried.clone() };
        let text = format!(
            "{}\n---\n{}",
            describe("sqlite:q.db", &buried),
            describe("sqlite:q.db", &broken)
        );
        insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string());
        assert_eq!(row(&buried)[3], "the same id is stored with other bytes\\u{1b}[2J");
    }
}
