//! `annals prune`: remove old events.

use std::path::PathBuf;
use std::sync::Arc;

use annals::archive::Writer;
use annals::config::Flag;
use annals::store::laravel::AuditsTable;
use annals::store::{self, PrunePlan, Removed, Store};
use annals::{Actor, Timestamp};
use clap::Args;
use serde_json::json;

use crate::args::push;
use crate::failure::Failure;
use crate::render::line::{Clock, time};
use crate::render::shown;
use crate::render::size::{bytes, plural};
use crate::session::{Session, shown_url};
use crate::signals::Signals;

/// Remove old events
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Remove events that occurred longer ago than this, such as 90d
    #[arg(long, value_name = "AGE")]
    older_than: Option<String>,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Write what goes into archive files here first, with proofs, and check them
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
}

impl Prune {
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let mut flags = Vec::new();
        push(&mut flags, "prune.older_than", "--older-than", self.older_than.as_ref());
        flags
    }

    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let Some(age) = session.config.prune_older_than else {
            return Err(Failure::usage("how old must an event be to be removed?")
                .hint("give --older-than 90d, or set `prune.older_than`"));
        };
        let mut signals = Signals::listen()?;
        let before = Timestamp::now().before(age);
        let mut so_far = Removed::default();
        if AuditsTable::is_named_by(&session.config.store) {
            if self.archive.is_some() {
                return Err(Failure::usage(
                    "an application's own table has no log to archive with",
                ));
            }
            let table = AuditsTable::open(&session.config.store).await?;
            let plan = table.prune_plan(before).await?;
            if self.dry_run {
                return tell(session, &plan, before, None);
            }
            let pruned = tokio::select! {
                name = signals.next() => Err(name),
                pruned = table.prune(before, |removed| so_far = removed) => Ok(pruned?),
            };
            return match pruned {
                Ok(removed) => tell(session, &plan, before, Some(removed)),
                Err(name) => Err(cut_short(name, so_far)),
            };
        }
        let store = session.store().await?;
        if self.dry_run {
            let plan = store.prune_plan(before).await?;
            tell(session, &plan, before, None)?;
            return tell_of_holds(session, &*store, plan.held).await;
        }
        let signer = session.signer_of(Arc::clone(&store))?;
        let archivist = self.archive.clone().map(|directory| Writer::new(directory, &signer));
        let mut wanted = store::Prune::before(before).by(by()).signed_by(&signer);
        if let Some(archivist) = &archivist {
            wanted = wanted.archived_by(archivist);
        }
        let pruned = tokio::select! {
            name = signals.next() => Err(name),
            pruned = store::prune(&*store, &wanted, |removed| {
                so_far = removed;
                tracing::debug!(events = removed.events, bytes = removed.bytes, "pruned so far");
            }) => Ok(pruned?),
        };
        match pruned {
            Ok(pruned) => {
                tell(session, &pruned.plan, before, Some(pruned.removed))?;
                tell_of_holds(session, &*store, pruned.plan.held).await
            }
            Err(name) => Err(cut_short(name, so_far)),
        }
    }
}

/// Names the holds that keep what is as old.
pub(crate) async fn tell_of_holds(
    session: &Session,
    store: &dyn Store,
    held: u64,
) -> Result<(), Failure> {
    if held == 0 || session.out.json() {
        return Ok(());
    }
    session.out.line(format!("kept {} as old, under a hold:", plural(held, "event")))?;
    for hold in store.holds().await? {
        let (scope, reason) = (hold.scope.to_string(), &hold.reason);
        session.out.line(format!("  {}  {}: {}", hold.id, shown(&scope), shown(reason)))?;
    }
    Ok(())
}

pub(crate) fn cut_short(name: &str, so_far: Removed) -> Failure {
    let removed = plural(so_far.events, "event");
    Failure::failed(format!("{name}: stopped after {removed} were removed"))
        .hint("run it again to go on")
}

/// Who prunes: the user of the operating system whose process this is, by number,
/// since names can be claimed.
pub(crate) fn by() -> Option<Actor> {
    Some(Actor::new("uid", rustix::process::getuid().as_raw()))
}

fn tell(
    session: &Session,
    plan: &PrunePlan,
    before: Timestamp,
    removed: Option<Removed>,
) -> Result<(), Failure> {
    if session.out.json() {
        return session.out.object(&json!({
            "before": before.to_string(), "dry_run": removed.is_none(), "held": plan.held,
            "planned": { "events": plan.events, "bytes": plan.bytes,
                "oldest": plan.oldest.map(|time| time.to_string()), "newest": plan.newest.map(|time| time.to_string()) },
            "removed": { "events": removed.map_or(0, |r| r.events), "bytes": removed.map_or(0, |r| r.bytes) },
        }));
    }
    session.out.line(sentence(&shown_url(&session.config.store), plan, before, removed))
}

fn sentence(url: &str, plan: &PrunePlan, before: Timestamp, removed: Option<Removed>) -> String {
    let limit = time(before, Clock::Date);
    let span = match (plan.oldest, plan.newest) {
        (Some(oldest), Some(newest)) => {
            format!(", between {} and {}", time(oldest, Clock::Date), time(newest, Clock::Date))
        }
        _ => String::new(),
    };
    match removed {
        None => format!(
            "would remove {}{} that occurred before {limit}{span}; store {url}",
            plural(plan.events, "event"),
            size(plan.bytes, plan.events),
        ),
        Some(removed) => format!(
            "removed {}{} that occurred before {limit}{span}; store {url}",
            plural(removed.events, "event"),
            size(removed.bytes, removed.events),
        ),
    }
}

/// Bytes in brackets; an application's own table does not say how many there are.
fn size(of: u64, events: u64) -> String {
    if of == 0 && events > 0 { String::new() } else { format!(" ({})", bytes(of)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_it_would_and_what_it_did_remove() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let plan = PrunePlan {
            events: 1200,
            bytes: 700_000,
            oldest: Some(at("2026-01-01T00:00:00Z")),
            newest: Some(at("2026-08-23T00:00:00Z")),
            below: 5000,
            held: 0,
        };
        let nothing =
            PrunePlan { events: 0, bytes: 0, oldest: None, newest: None, below: 5000, held: 0 };
        let before = at("2026-08-24T10:00:00Z");
        let lines = [
            sentence("sqlite:s.db", &plan, before, None),
            sentence("sqlite:s.db", &plan, before, Some(Removed { events: 500, bytes: 300_000 })),
            sentence("sqlite:s.db", &nothing, before, Some(Removed::default())),
        ];
        insta::assert_snapshot!(lines.join("\n"));
    }
}
