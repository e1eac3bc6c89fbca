//! For the tests of applications: records in memory, and asserts what was recorded.
//!
//! ```
//! use annals::testing::Recorder;
//! # use annals::{Auditable, Scope, Actor};
//! # #[derive(Auditable)]
//! # #[auditable(entity = "product")]
//! # struct Product { #[auditable(id)] id: i64, price: i64 }
//! # fn raise_price(audit: &annals::Audit) {
//! #     let scope = Scope::new().actor(Actor::user(7));
//! #     scope.run(|| audit.updated(&Product { id: 42, price: 1000 }, &Product { id: 42, price: 1200 }));
//! # }
//! let recorder = Recorder::new();
//! raise_price(recorder.audit());
//! recorder.one("updated", "product:42").changed(&["price"]).field("price", 1000, 1200).by("user:7");
//! ```

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::Value;

use crate::capture::{Audit, AuditOptions, block_on};
use crate::event::{Event, Object};
use crate::transport::memory::MemoryTransport;
use crate::transport::{Transport, Want};

/// A handle to record with, and what was recorded with it.
#[derive(Debug)]
pub struct Recorder {
    audit: Audit,
    transport: Arc<MemoryTransport>,
    events: Mutex<Vec<Event>>,
}

/// One event, to be asserted about. Every assertion panics with what was recorded.
#[derive(Debug)]
pub struct Recorded(Event);

impl Recorder {
    /// A recorder that nothing was recorded with.
    ///
    /// # Panics
    /// If the capture thread cannot be started.
    #[must_use]
    pub fn new() -> Self {
        let transport = Arc::new(MemoryTransport::new());
        match Audit::start(transport.clone(), AuditOptions::default()) {
            Ok(audit) => Self { audit, transport, events: Mutex::default() },
            Err(error) => panic!("{error}"),
        }
    }

    /// The handle to give to the application.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Everything recorded so far, in order.
    ///
    /// # Panics
    /// If an event could not be recorded.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.collect().clone()
    }

    fn collect(&self) -> MutexGuard<'_, Vec<Event>> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.audit.flush().wait() {
            panic!("an event was not recorded: {error}");
        }
        loop {
            let got = block_on(self.transport.receive(Want::up_to(1000))).unwrap_or_default();
            if got.is_empty() {
                return events;
            }
            for delivery in &got {
                match Event::decode(&delivery.body) {
                    Ok(event) => events.push(event),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    /// The one event with this action on this entity (`TYPE:ID`).
    ///
    /// # Panics
    /// If there is none, or more than one.
    #[track_caller]
    pub fn one(&self, action: &str, entity: &str) -> Recorded {
        let mut found = self.all(action, entity);
        match (found.pop(), found.len()) {
            (Some(event), 0) => Recorded(event),
            (_, others) => {
                let count = if others == 0 { 0 } else { others + 1 };
                panic!("expected one {action} {entity}, found {count} among:{}", self.listing())
            }
        }
    }

    /// All events with this action on this entity (`TYPE:ID`), in order.
    #[must_use]
    pub fn all(&self, action: &str, entity: &str) -> Vec<Event> {
        let wanted = |event: &Event| event.action == action && event.entity.to_string() == entity;
        self.events().into_iter().filter(wanted).collect()
    }

    /// Asserts that nothing was recorded.
    ///
    /// # Panics
    /// If something was.
    #[track_caller]
    pub fn nothing(&self) {
        assert!(self.events().is_empty(), "expected no events, found:{}", self.listing());
    }

    fn listing(&self) -> String {
        let events = self.events();
        if events.is_empty() {
            return " nothing".to_owned();
        }
        events.iter().fold(String::new(), |mut text, event| {
            // Writing into a string has no way to fail.
            let _ = write!(text, "\n  {}", line(event));
            text
        })
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

fn line(event: &Event) -> String {
    let values =
        |values: &Option<Object>| values.as_ref().map_or("-".to_owned(), |v| v.as_str().to_owned());
    format!(
        "{} {} {} -> {}",
        event.action,
        event.entity,
        values(&event.old_values),
        values(&event.new_values)
    )
}

impl Recorded {
    /// The event itself.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.0
    }

    /// Asserts that exactly these fields are recorded.
    ///
    /// # Panics
    /// If they are others.
    #[track_caller]
    pub fn changed(self, fields: &[&str]) -> Self {
        let mut found = self.0.changed_fields();
        let mut expected: Vec<String> = fields.iter().map(ToString::to_string).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "the changed fields of {}", line(&self.0));
        self
    }

    /// Asserts a field's value before and after.
    ///
    /// # Panics
    /// If one of them is another.
    #[track_caller]
    pub fn field(self, name: &str, old: impl Serialize, new: impl Serialize) -> Self {
        self.check("old", &self.0.old_values, name, &old);
        self.check("new", &self.0.new_values, name, &new);
        self
    }

    /// Asserts a field's value after.
    ///
    /// # Panics
    /// If it is another.
    #[track_caller]
    pub fn new_value(self, name: &str, new: impl Serialize) -> Self {
        self.check("new", &self.0.new_values, name, &new);
        self
    }

    /// Asserts a field's value before.
    ///
    /// # Panics
    /// If it is another.
    #[track_caller]
    pub fn old_value(self, name: &str, old: impl Serialize) -> Self {
        self.check("old", &self.0.old_values, name, &old);
        self
    }

    /// Asserts who acted, as `TYPE:ID`.
    ///
    /// # Panics
    /// If it was someone else.
    #[track_caller]
    pub fn by(self, actor: &str) -> Self {
        let found = self.0.actor.as_ref().map_or("nobody".to_owned(), |found| {
            let part = |part: &Option<crate::event::Text>| part.as_deref().unwrap_or("").to_owned();
            format!("{}:{}", part(&found.kind), part(&found.id))
        });
        assert_eq!(found, actor, "the actor of {}", line(&self.0));
        self
    }

    #[track_caller]
    fn check(&self, side: &str, values: &Option<Object>, name: &str, expected: &impl Serialize) {
        let expected = serde_json::to_value(expected).unwrap_or(Value::Null);
        let found = values.as_ref().and_then(|values| values.get::<Value>(name));
        assert_eq!(found, Some(expected), "the {side} {name} of {}", line(&self.0));
    }
}
