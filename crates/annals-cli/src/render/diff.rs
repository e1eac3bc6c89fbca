//! One event in full: who, when, and each field's old and new value.

use std::fmt::Write;

use annals::{Actor, Event, Object, Outcome};

use super::line::{Clock, time};
use super::shown::{cut, shown};
use super::style::{BAD, BOLD, DIM, GOOD, WARN};
use super::table::width;
use super::value;

/// Characters of a value in a diff, at most; `--json` gives all of it.
const MOST_VALUE: usize = 2000;

/// Names and old values are aligned up to this width.
const WIDEST: usize = 32;

/// A block of lines about one event, with its line ends.
pub(crate) fn diff(event: &Event) -> String {
    let mut text = String::new();
    // Writing into a string has no way to fail.
    let _ = heading(&mut text, event);
    let rows = rows(event);
    let name_width = rows.iter().map(|row| width(&row.name)).max().unwrap_or(0).min(WIDEST);
    let both = rows.iter().filter(|row| row.new.is_some());
    let old_width =
        both.filter_map(|row| row.old.as_deref()).map(width).max().unwrap_or(0).min(WIDEST);
    for row in &rows {
        let _ = field(&mut text, row, name_width, old_width);
    }
    for (name, value) in surroundings(event) {
        let _ = writeln!(text, "  {DIM}  {name}: {}{DIM:#}", shown(&cut(&value, MOST_VALUE)));
    }
    text
}

fn heading(text: &mut String, event: &Event) -> std::fmt::Result {
    write!(
        text,
        "{BOLD}{}{BOLD:#}  {WARN}{}{WARN:#}",
        time(event.occurred_at, Clock::Date),
        shown(&event.action)
    )?;
    if event.outcome != Outcome::Success {
        write!(text, " {BAD}({}){BAD:#}", event.outcome)?;
    }
    write!(text, "  by {}", full(event.actor.as_ref()))?;
    writeln!(text, "  {DIM}{}{DIM:#}", event.id)
}

/// The actor with name and id, and on whose behalf, and so on.
fn full(actor: Option<&Actor>) -> String {
    let Some(actor) = actor else {
        return "someone".to_owned();
    };
    let mut text = shown(&actor.to_string()).into_owned();
    if let Some(identity) = identity(actor).filter(|_| actor.name.is_some()) {
        let _ = write!(text, " {DIM}({}){DIM:#}", shown(&identity));
    }
    if let Some(other) = &actor.on_behalf_of {
        let _ = write!(text, " for {}", full(Some(other)));
    }
    text
}

fn identity(actor: &Actor) -> Option<String> {
    match (&actor.kind, &actor.id) {
        (Some(kind), Some(id)) => Some(format!("{kind}:{id}")),
        (Some(one), None) | (None, Some(one)) => Some(one.to_string()),
        (None, None) => None,
    }
}

struct Row {
    name: String,
    old: Option<String>,
    new: Option<String>,
}

fn rows(event: &Event) -> Vec<Row> {
    let (old, new) = (fields(event.old_values.as_ref()), fields(event.new_values.as_ref()));
    let find = |fields: &[(String, String)], name: &str| {
        fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    };
    let names = event.changed_fields();
    names
        .iter()
        .map(|name| Row {
            name: shown(name).into_owned(),
            old: find(&old, name),
            new: find(&new, name),
        })
        .collect()
}

fn fields(object: Option<&Object>) -> Vec<(String, String)> {
    let Some(object) = object else {
        return Vec::new();
    };
    object
        .fields()
        .into_iter()
        .map(|(name, raw)| (name.into_owned(), value(raw, MOST_VALUE)))
        .collect()
}

fn field(text: &mut String, row: &Row, name_width: usize, old_width: usize) -> std::fmt::Result {
    let name = &row.name;
    let pad = name_width.saturating_sub(width(name));
    match (&row.old, &row.new) {
        (Some(old), Some(new)) => {
            let gap = old_width.saturating_sub(width(old));
            writeln!(
                text,
                "  ~ {name}{:pad$}  {BAD}{old}{BAD:#}{:gap$}  ->  {GOOD}{new}{GOOD:#}",
                "", ""
            )
        }
        (None, Some(new)) => {
            writeln!(text, "  {GOOD}+{GOOD:#} {name}{:pad$}  {GOOD}{new}{GOOD:#}", "")
        }
        (Some(old), None) => writeln!(text, "  {BAD}-{BAD:#} {name}{:pad$}  {BAD}{old}{BAD:#}", ""),
        (None, None) => Ok(()),
    }
}

/// What is known beside the values, in the event's order.
fn surroundings(event: &Event) -> Vec<(&'static str, String)> {
    let context = &event.context;
    let mut known: Vec<(&'static str, String)> = [
        ("tenant", &event.tenant),
        ("subject", &event.subject),
        ("ip", &context.ip),
        ("request", &context.request_id),
        ("service", &context.service),
        ("reason", &event.reason),
        ("source", &event.source),
        ("source id", &event.source_id),
    ]
    .into_iter()
    .filter_map(|(name, text)| text.as_ref().map(|text| (name, text.to_string())))
    .collect();
    if !event.tags.is_empty() {
        known.push(("tags", event.tags.join(", ")));
    }
    if let Some(metadata) = &event.metadata {
        known.push(("metadata", metadata.as_str().to_owned()));
    }
    known
}
