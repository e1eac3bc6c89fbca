//! `annals query`: find events.

use std::sync::Arc;

use annals::query::{ActorFilter, Cursor, Filter, Page, Query as Ask, Tenants};
use annals::redact;
use annals::seal::Opener;
use annals::store::{Store, Stored};
use annals::{Entity, Outcome, Timestamp};
use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use super::prune::by;
use crate::ask::secret_line;
use crate::failure::Failure;
use crate::out::Out;
use crate::render::line::{Clock, line};
use crate::render::shown;
use crate::render::style::{BAD, DIM, HINT};
use crate::session::Session;
use crate::when;

/// Find events
#[derive(Debug, Args)]
pub(crate) struct Query {
    /// Of this entity
    #[arg(long, value_name = "TYPE:ID")]
    entity: Option<Entity>,
    /// Of entities of this type
    #[arg(long, value_name = "TYPE")]
    entity_type: Option<String>,
    /// By this actor
    #[arg(long, value_name = "[TYPE:]ID")]
    actor: Option<ActorFilter>,
    /// With this action, such as updated
    #[arg(long)]
    action: Option<String>,
    /// That went this way: success, failure or denied
    #[arg(long)]
    outcome: Option<Outcome>,
    /// Of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// That changed this field
    #[arg(long, value_name = "FIELD")]
    changed: Option<String>,
    /// Caused by this request
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// From this time on: RFC 3339, a date, or a time ago such as 2h or 90d
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    since: Option<Timestamp>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    until: Option<Timestamp>,
    /// Oldest first, instead of newest first
    #[arg(long)]
    oldest_first: bool,
    /// Ask for a value of which only the hash is stored: it is read from standard input, and
    /// that it was asked for is told in the trail
    #[arg(long, conflicts_with = "cursor")]
    value_hash: bool,
    #[command(flatten)]
    page: PageArgs,
}

/// Which page of the answer.
#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    /// Events of a page
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000), value_name = "N")]
    limit: u16,
    /// Go on where the page before ended
    #[arg(long)]
    cursor: Option<Cursor>,
    #[command(flatten)]
    pub(crate) reveal: Reveal,
}

/// The events that hold a value that somebody types.
async fn asked_for(session: &Session, store: &dyn Store, ask: Ask) -> Result<Page, Failure> {
    let key = session.hash_key(false)?.ok_or_else(|| {
        Failure::usage("there is no key here that values were hashed with")
            .hint("set `redact.key_file`, as the workers have it")
    })?;
    let value = secret_line("value: ")?;
    if value.is_empty() {
        return Err(Failure::usage("no value came on standard input"));
    }
    let events = redact::ask(store, &key, &value, ask, by()).await?;
    Ok(Page { events, next: None })
}

/// Whether sealed values are shown.
#[derive(Debug, Args)]
pub(crate) struct Reveal {
    /// Open what is sealed, with the master key
    #[arg(long)]
    reveal: bool,
}

impl Reveal {
    pub(crate) fn is_wanted(&self) -> bool {
        self.reveal
    }

    /// What opens sealed values, if that is wanted.
    pub(crate) async fn opener(
        &self,
        session: &Session,
        store: &Arc<dyn Store>,
    ) -> Result<Option<Opener>, Failure> {
        session.here_only("--reveal", self.reveal)?;
        if !self.reveal {
            return Ok(None);
        }
        let opener = session.opener(Arc::clone(store)).await?;
        Ok(Some(opener.ok_or_else(|| {
            Failure::usage("there is no master key to open anything with")
                .hint("set `seal.key_file` or `seal.key_command`")
        })?))
    }
}

/// Opens what is sealed, if that is wanted.
pub(crate) async fn open(opener: Option<&Opener>, events: &mut [Stored]) -> Result<(), Failure> {
    if let Some(opener) = opener {
        let opened = opener.open(events).await?;
        for (event, opened) in events.iter_mut().zip(opened) {
            event.body = opened.body;
        }
    }
    Ok(())
}

impl PageArgs {
    pub(crate) fn of(&self, filter: Filter) -> Ask {
        Ask::newest(filter).limit(usize::from(self.limit)).after(self.cursor)
    }
}

/// A whole page. A store gives up looking after a while and says where to go on;
/// whoever asked at a terminal would only do that.
pub(crate) async fn whole_page(store: &dyn Store, mut ask: Ask) -> annals::Result<Page> {
    let limit = ask.limit;
    let mut whole = store.query(ask.clone()).await?;
    while whole.next.is_some() && whole.events.len() < limit {
        ask = ask.limit(limit - whole.events.len()).after(whole.next);
        let page = store.query(ask.clone()).await?;
        whole.events.extend(page.events);
        whole.next = page.next;
    }
    Ok(whole)
}

impl Query {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let filter = Filter {
            entity: self.entity,
            entity_type: self.entity_type,
            actor: self.actor,
            action: self.action,
            outcome: self.outcome,
            tenant: self.tenant,
            tenants: Tenants::All,
            changed: self.changed,
            request: self.request,
            since: self.since,
            until: self.until,
        };
        let mut ask = self.page.of(filter);
        if self.oldest_first {
            ask = ask.oldest_first();
        }
        session.here_only("--value-hash", self.value_hash)?;
        let store = session.store().await?;
        let opener = self.page.reveal.opener(session, &store).await?;
        let mut page = match self.value_hash {
            true => asked_for(session, &*store, ask).await?,
            false => whole_page(&*store, ask).await?,
        };
        open(opener.as_ref(), &mut page.events).await?;
        print(session.out, &page, |stored| readable(stored, |event| line(event, Clock::Date)))
    }
}

/// Prints a page: for people as `show` says, for machines one object a line, and
/// where to go on.
pub(crate) fn print(
    out: Out,
    page: &Page,
    show: impl Fn(&Stored) -> String,
) -> Result<(), Failure> {
    for stored in &page.events {
        if out.json() {
            out.object(&Row::of(stored)?)?;
        } else {
            out.line(show(stored))?;
        }
    }
    let Some(next) = page.next else {
        if page.events.is_empty() && !out.json() {
            out.note("no events match");
        }
        return Ok(());
    };
    if out.json() {
        return out.object(&serde_json::json!({ "next": next.to_string() }));
    }
    out.note(format!("{HINT}there is more:{HINT:#} add {DIM}--cursor {next}{DIM:#}"));
    Ok(())
}

/// What `show` makes of the event, or what is wrong with it: one damaged row must
/// not hide the others.
pub(crate) fn readable(stored: &Stored, show: impl Fn(&annals::Event) -> String) -> String {
    match stored.event() {
        Ok(event) => show(&event),
        Err(error) => format!("{BAD}damaged:{BAD:#} {}", shown(&error.to_string())),
    }
}

/// An event at rest, as machines read it: the bytes as they are stored.
#[derive(Serialize)]
pub(crate) struct Row<'a> {
    position: u64,
    appended_at: String,
    event: &'a RawValue,
}

impl<'a> Row<'a> {
    pub(crate) fn of(stored: &'a Stored) -> Result<Self, Failure> {
        let event = serde_json::from_slice(&stored.body).map_err(|error| {
            Failure::failed(format!(
                "read event {} at position {}: {error}",
                stored.id, stored.position
            ))
            .hint("the store was altered after the append; restore a backup of it")
        })?;
        Ok(Self { position: stored.position, appended_at: stored.appended_at.to_string(), event })
    }
}
