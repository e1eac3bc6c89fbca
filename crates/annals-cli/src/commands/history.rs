//! `annals history TYPE:ID`: one entity's events, or its state at a time.

use annals::query::{Filter, Query, Replay, State};
use annals::seal::Opener;
use annals::store::Store;
use annals::{Entity, Timestamp};
use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::query::{PageArgs, open, print, readable, whole_page};
use crate::failure::Failure;
use crate::render::diff::diff;
use crate::render::line::{Clock, time};
use crate::render::style::{BAD, BOLD, DIM, WARN};
use crate::render::table::Table;
use crate::render::{shown, value};
use crate::session::Session;
use crate::when;

/// Events of a state that are read in one go.
const PAGE: usize = 500;

/// Characters of a value, at most; `--json` gives all of it.
const MOST_VALUE: usize = 2000;

/// Show one entity's events, newest first, or its state at a time
#[derive(Debug, Args)]
pub(crate) struct History {
    /// The entity, such as product:42
    #[arg(value_name = "TYPE:ID")]
    entity: Entity,
    /// Show the state as of then instead: RFC 3339, a date, or a time ago such as 2h
    #[arg(long, value_name = "TIME", value_parser = when::parse, conflicts_with_all = ["limit", "cursor"])]
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
        let opener = self.page.reveal.opener(session, &store).await?;
        if let Some(at) = self.at {
            let state = self.state(&*store, opener.as_ref(), at).await?;
            if session.out.json() {
                return session.out.object(&machine(&self.entity, at, state.as_ref())?);
            }
            return session.out.text(human(&self.entity, at, state.as_ref()));
        }
        let filter = Filter { entity: Some(self.entity), tenant: self.tenant, ..Filter::default() };
        let mut page = whole_page(&*store, self.page.of(filter)).await?;
        open(opener.as_ref(), &mut page.events).await?;
        print(session.out, &page, |stored| readable(stored, diff))
    }
}

impl History {
    /// The state from the entity's events, page by page.
    async fn state(
        &self,
        store: &dyn Store,
        opener: Option<&Opener>,
        at: Timestamp,
    ) -> Result<Option<State>, Failure> {
        let (entity, tenant) = (Some(self.entity.clone()), self.tenant.clone());
        let filter = Filter { entity, tenant, ..Filter::default() };
        let mut query = Query::newest(filter).oldest_first().limit(PAGE);
        let mut replay = Replay::until(at);
        loop {
            let mut page = store.query(query.clone()).await?;
            open(opener, &mut page.events).await?;
            for stored in &page.events {
                if !replay.take(&stored.event()?) {
                    return Ok(replay.finish());
                }
            }
            if page.next.is_none() {
                return Ok(replay.finish());
            }
            query.cursor = page.next;
        }
    }
}

/// A state as machines read it; its values keep their digits and their order.
#[derive(Serialize)]
struct Machine<'a> {
    entity: Value,
    at: String,
    exists: Option<bool>,
    complete: Option<bool>,
    values: Option<&'a RawValue>,
    last: Option<Value>,
}

fn machine<'a>(
    entity: &Entity,
    at: Timestamp,
    state: Option<&'a State>,
) -> Result<Machine<'a>, Failure> {
    let values = state.map(|state| serde_json::from_str(state.values.as_str())).transpose();
    let last = state.and_then(|state| state.last.as_ref()).map(|last| {
        json!({ "id": last.id.to_string(), "occurred_at": last.occurred_at.to_string(), "action": last.action })
    });
    Ok(Machine {
        entity: json!({ "type": entity.kind, "id": entity.id }),
        at: at.to_string(),
        exists: state.map(|state| state.exists),
        complete: state.map(|state| state.complete),
        values: values
            .map_err(|error| Failure::failed(format!("read the state of {entity}: {error}")))?,
        last,
    })
}

fn human(entity: &Entity, at: Timestamp, state: Option<&State>) -> String {
    let mut text =
        format!("{BOLD}{}{BOLD:#} as of {}", shown(&entity.to_string()), time(at, Clock::Date));
    let Some(state) = state else {
        return format!("{text}: {WARN}no event tells anything about it{WARN:#}\n");
    };
    text.push_str(&match (&state.last, state.exists) {
        (Some(last), true) => {
            format!(", {} {}", shown(&last.action), time(last.occurred_at, Clock::Date))
        }
        (Some(last), false) => {
            format!(
                ", {BAD}{} {}{BAD:#}; its last state:",
                shown(&last.action),
                time(last.occurred_at, Clock::Date)
            )
        }
        (None, true) => ", before the first event of it".to_owned(),
        (None, false) => format!(", {BAD}which was not there yet{BAD:#}"),
    });
    text.push('\n');
    let mut fields = Table::plain();
    for (name, raw) in state.values.fields() {
        fields.row([format!("  {}", shown(&name)), value(raw, MOST_VALUE)]);
    }
    text.push_str(&fields.to_string());
    if !state.complete {
        text.push_str(&format!(
            "{DIM}  its beginning is not in the trail: there may be more fields{DIM:#}\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use annals::event::accept;
    use annals::query::state_at;

    use super::*;

    #[test]
    fn a_state_for_people() {
        let event = |text: &str| accept(text).unwrap().event;
        let trail = [
            r#"{"occurred_at":"2026-11-22T10:00:00Z","action":"created","entity":{"type":"product","id":"42"},
                "new_values":{"name":"Lamp\u001b[2J","price":1000}}"#,
            r#"{"occurred_at":"2026-11-22T11:00:00Z","action":"updated","entity":{"type":"product","id":"42"},
                "old_values":{"price":1000},"new_values":{"price":1200}}"#,
            r#"{"occurred_at":"2026-11-22T12:00:00Z","action":"deleted","entity":{"type":"product","id":"42"},
                "old_values":{"name":"Lamp","price":1200}}"#,
        ]
        .map(event);
        let product = Entity::new("product", 42);
        let at = |time: &str, events: &[annals::Event]| {
            let at = time.parse().unwrap();
            let text = human(&product, at, state_at(events, at).as_ref());
            anstream::adapter::strip_str(&text).to_string()
        };
        let shown = [
            at("2026-11-22T09:00:00Z", &trail),
            at("2026-11-22T10:30:00Z", &trail),
            at("2026-11-22T11:30:00Z", &trail[1..]),
            at("2026-11-22T10:30:00Z", &trail[1..]),
            at("2026-11-22T12:30:00Z", &trail),
            at("2026-11-22T12:30:00Z", &[]),
        ];
        insta::assert_snapshot!(shown.join("\n"));
    }
}
