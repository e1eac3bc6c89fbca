//! One event on one line.

use annals::{Actor, Event, Object, Outcome, Timestamp};
use std::borrow::Cow;
use std::fmt::Write;

use super::shown::{cut, shown};
use super::style::{BAD, BOLD, DIM, GOOD};
use super::value;

/// Fields that a line names, at most; `history` shows them all.
const MOST_FIELDS: usize = 4;

/// Characters of a name or id in a line, at most.
const MOST_NAME: usize = 60;

/// Characters of a value in a line, at most.
const MOST_VALUE: usize = 32;

/// How a line begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// With the time of day in UTC, where today's events stream by.
    Time,
    /// With date and time, in UTC.
    Date,
}

/// One readable line, without its end:
/// `10:00:00  Jo Doe updated product:42  price 1000 -> 1200`.
pub(crate) fn line(event: &Event, clock: Clock) -> String {
    let mut line = format!("{DIM}{}{DIM:#}  ", time(event.occurred_at, clock));
    // Writing into a string has no way to fail.
    let _ = write!(
        line,
        "{} {} {BOLD}{}{BOLD:#}",
        who(event.actor.as_ref()),
        short(&event.action),
        short(&event.entity.to_string()),
    );
    if event.outcome != Outcome::Success {
        let _ = write!(line, " {BAD}({}){BAD:#}", event.outcome);
    }
    let changes = changes(event);
    if !changes.is_empty() {
        let _ = write!(line, "  {changes}");
    }
    if let Some(reason) = &event.reason {
        let _ = write!(line, "  {DIM}({}){DIM:#}", short(reason));
    }
    line
}

/// The actor by the name people know, and on whose behalf.
fn who(actor: Option<&Actor>) -> String {
    let Some(actor) = actor else {
        return "someone".to_owned();
    };
    let name = short(&actor.to_string()).into_owned();
    match &actor.on_behalf_of {
        Some(other) => format!("{name} for {}", short(&other.to_string())),
        None => name,
    }
}

/// A time in UTC: `2026-11-22 10:00:00Z`, or the time of day alone.
pub(crate) fn time(time: Timestamp, clock: Clock) -> String {
    let text = time.to_string();
    let (date, rest) = text.split_once('T').unwrap_or(("", &text));
    let seconds = rest.get(..8).unwrap_or(rest);
    match clock {
        Clock::Time => seconds.to_owned(),
        Clock::Date => format!("{date} {seconds}Z"),
    }
}

fn short(text: &str) -> Cow<'_, str> {
    Cow::Owned(shown(&cut(text, MOST_NAME)).into_owned())
}

fn changes(event: &Event) -> String {
    let names = event.changed_fields();
    let mut parts: Vec<String> = names
        .iter()
        .take(MOST_FIELDS)
        .map(|name| change(name, event.old_values.as_ref(), event.new_values.as_ref()))
        .collect();
    if names.len() > MOST_FIELDS {
        parts.push(format!("{DIM}and {} more{DIM:#}", names.len() - MOST_FIELDS));
    }
    parts.join(", ")
}

fn change(name: &str, old: Option<&Object>, new: Option<&Object>) -> String {
    let name_shown = short(name);
    match (text_of(old, name), text_of(new, name)) {
        (Some(old), Some(new)) => format!("{name_shown} {BAD}{old}{BAD:#} -> {GOOD}{new}{GOOD:#}"),
        (None, Some(new)) => format!("{name_shown} {GOOD}{new}{GOOD:#}"),
        (Some(old), None) => format!("{name_shown} {BAD}{old}{BAD:#}"),
        (None, None) => name_shown.into_owned(),
    }
}

fn text_of(values: Option<&Object>, name: &str) -> Option<String> {
    let fields = values?.fields();
    fields.iter().find(|(key, _)| key == name).map(|(_, raw)| value(raw, MOST_VALUE))
}
