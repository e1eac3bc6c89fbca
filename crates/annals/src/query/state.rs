//! An entity's state at a time, rebuilt from its events.
//!
//! - `created` sets all fields; `restored` brings the last state back, with its
//!   new values over it; `deleted` ends the entity.
//! - Any other event that succeeded and has values changes the fields that it
//!   names: a field that is only among the old values is removed.
//! - A trail that begins in the middle of the entity's life (auditing began
//!   later, or the beginning was pruned) is completed backwards: what a field was
//!   before the first event that names it stands in that event's old values.
//!   Fields that no event names remain unknown, and [`State::complete`] is false.
//!
//! Values are the JSON texts that were recorded, so large numbers keep their
//! digits and a redacted value stays the mark that stands for it.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{Filter, Query};
use crate::error::Result;
use crate::event::{Entity, Event, EventId, Object, Outcome, Text, Timestamp};
use crate::store::Store;

/// An entity's state at a time.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct State {
    /// Whether the entity existed then.
    pub exists: bool,
    /// Whether all of its fields are known, since its beginning is in the trail.
    pub complete: bool,
    /// Its fields; of an entity that is gone, the last ones.
    pub values: Object,
    /// The event that touched it last, until then.
    pub last: Option<Touch>,
}

/// An event that touched an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch {
    /// Its id.
    pub id: EventId,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// What was done.
    pub action: Text,
}

/// Rebuilds the state at `at` from all events of one entity, oldest first, those
/// after `at` included. `None` if no event says anything about the state.
pub fn state_at<'a>(events: impl IntoIterator<Item = &'a Event>, at: Timestamp) -> Option<State> {
    let mut replay = Replay::until(at);
    for event in events {
        if !replay.take(event) {
            break;
        }
    }
    replay.finish()
}

/// As [`state_at`], from the events of a store, page by page: holds one page and
/// the entity's fields in memory, however long the trail. Without a tenant, the
/// events of all tenants count.
///
/// # Errors
/// If the store cannot be read, or an event in it cannot.
pub async fn stored_state_at(
    store: &dyn Store,
    entity: &Entity,
    tenant: Option<&str>,
    at: Timestamp,
) -> Result<Option<State>> {
    let filter = Filter {
        entity: Some(entity.clone()),
        tenant: tenant.map(str::to_owned),
        ..Filter::default()
    };
    let mut query = Query::newest(filter).oldest_first().limit(500);
    let mut replay = Replay::until(at);
    loop {
        let page = store.query(query.clone()).await?;
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

/// A state being rebuilt, event by event.
#[derive(Debug)]
pub struct Replay {
    at: Timestamp,
    /// `None` as long as no event told.
    exists: Option<bool>,
    complete: bool,
    /// Nothing after the time can add to what is known.
    settled: bool,
    fields: Fields,
    last: Option<Touch>,
}

/// What an event did to its entity.
enum Deed {
    Created,
    Changed,
    Deleted,
    Restored,
}

impl Deed {
    fn of(event: &Event) -> Option<Self> {
        if event.outcome != Outcome::Success {
            return None;
        }
        match &*event.action {
            "created" => Some(Self::Created),
            "deleted" => Some(Self::Deleted),
            "restored" => Some(Self::Restored),
            _ if event.old_values.is_some() || event.new_values.is_some() => Some(Self::Changed),
            _ => None,
        }
    }
}

impl Replay {
    /// Nothing known yet about the state at `at`.
    #[must_use]
    pub fn until(at: Timestamp) -> Self {
        Self {
            at,
            exists: None,
            complete: false,
            settled: false,
            fields: Fields::default(),
            last: None,
        }
    }

    /// Takes the next event, in order of (`occurred_at`, position). Answers
    /// whether later ones could still matter.
    pub fn take(&mut self, event: &Event) -> bool {
        let passed = event.occurred_at > self.at;
        if let Some(deed) = Deed::of(event) {
            if !passed {
                self.apply(&deed, event);
            } else if !self.complete && !self.settled {
                self.look_back(&deed, event);
            }
        }
        !(passed && (self.complete || self.settled))
    }

    /// An event that happened until then.
    fn apply(&mut self, deed: &Deed, event: &Event) {
        match deed {
            Deed::Created => {
                self.fields = Fields::default();
                self.fields.set(event.new_values.as_ref());
                self.exists = Some(true);
                self.complete = true;
            }
            Deed::Changed => {
                self.fields.change(event);
                self.exists.get_or_insert(true);
            }
            Deed::Deleted => {
                self.fields.set(event.old_values.as_ref());
                self.exists = Some(false);
            }
            Deed::Restored => {
                self.fields.set(event.new_values.as_ref());
                self.exists = Some(true);
            }
        }
        self.last = Some(Touch {
            id: event.id,
            occurred_at: event.occurred_at,
            action: event.action.clone(),
        });
    }

    /// An event that happened later, and tells what was before it.
    fn look_back(&mut self, deed: &Deed, event: &Event) {
        if self.exists.is_none() {
            self.exists = Some(matches!(deed, Deed::Changed | Deed::Deleted));
            // Before it was created there is nothing to be known.
            self.complete = matches!(deed, Deed::Created);
        }
        match deed {
            _ if self.exists == Some(false) => self.settled = true,
            Deed::Changed => self.fields.complete(event),
            Deed::Deleted => {
                self.fields.complete(event);
                self.settled = true;
            }
            Deed::Created | Deed::Restored => self.settled = true,
        }
    }

    /// The state, as far as the events told.
    #[must_use]
    pub fn finish(self) -> Option<State> {
        Some(State {
            exists: self.exists?,
            complete: self.complete,
            values: self.fields.into_object(),
            last: self.last,
        })
    }
}

/// Fields by name, in the order they were first named. `None` stands for a field
/// that is known not to be there.
#[derive(Debug, Default)]
struct Fields(Vec<(String, Option<Box<RawValue>>)>);

impl Fields {
    fn knows(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    fn put(&mut self, name: &str, value: Option<&RawValue>) {
        let value = value.map(RawValue::to_owned);
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    fn set(&mut self, values: Option<&Object>) {
        for (name, value) in named(values) {
            self.put(&name, Some(value));
        }
    }

    /// Takes the new values, and removes what is only among the old ones.
    fn change(&mut self, event: &Event) {
        for (name, _) in named(event.old_values.as_ref()) {
            self.put(&name, None);
        }
        self.set(event.new_values.as_ref());
    }

    /// Learns from a later event what the fields that nobody named yet were.
    fn complete(&mut self, event: &Event) {
        for (name, value) in named(event.old_values.as_ref()) {
            if !self.knows(&name) {
                self.0.push((name.into_owned(), Some(value.to_owned())));
            }
        }
        for (name, _) in named(event.new_values.as_ref()) {
            if !self.knows(&name) {
                self.0.push((name.into_owned(), None));
            }
        }
    }

    fn into_object(self) -> Object {
        let mut text = vec![b'{'];
        for (name, value) in &self.0 {
            let Some(value) = value else { continue };
            if text.len() > 1 {
                text.push(b',');
            }
            // A text can always be written, and so can a vector.
            let _ = serde_json::to_writer(&mut text, name);
            text.push(b':');
            text.extend_from_slice(value.get().as_bytes());
        }
        text.push(b'}');
        Object::from_writer(text)
    }
}

fn named(values: Option<&Object>) -> Vec<(Cow<'_, str>, &RawValue)> {
    values.map(Object::fields).unwrap_or_default()
}
