//! The way in for events that someone else wrote as JSON.
//!
//! What comes in is read field by field, so that every fault is named at once,
//! and becomes an [`Event`] that is encoded anew: the bytes that are stored are
//! ours, a function of the input alone, so that sending an event again gives the
//! same bytes.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::fault::EventFault;
use super::{
    Actor, Context, Entity, Event, EventId, Object, Outcome, Producer, Text, Timestamp, json,
};

/// An accepted event, and whether sending it again is recognised.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Accepted {
    /// The event, with its id.
    pub event: Event,
    /// It, encoded: what [`crate::Audit::forward_encoded`] takes.
    pub encoded: Encoded,
    /// Whether the sender named the event, so that sending it twice stores it
    /// once: by a UUIDv7, or by another id from which the id is derived.
    pub idempotent: bool,
}

/// An encoded event, which was checked when it was encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    id: EventId,
    bytes: Vec<u8>,
}

impl Encoded {
    /// Encodes an event as [`Event::encode`] does.
    ///
    /// # Errors
    /// As that.
    pub fn of(event: &Event) -> Result<Self, EventFault> {
        Ok(Self { id: event.id, bytes: event.encode()? })
    }

    /// The event's id.
    #[must_use]
    pub fn id(&self) -> EventId {
        self.id
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, for who keeps them.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads one event that a producer wrote as a JSON object.
///
/// An absent `occurred_at` is the id's time, or now. An id that is not a UUIDv7
/// of that time becomes `source_id`, and the id is derived from it.
///
/// # Errors
/// Names every field that is missing, unknown, of the wrong type, too long or
/// not allowed.
pub fn accept(text: &str) -> Result<Accepted, EventFault> {
    read(text, None, Writer::default())
}

/// Whoever sends an event, and as whom it may write.
#[derive(Clone, Copy, Debug, Default)]
pub struct Writer<'a> {
    /// The tenants it writes for, if it is bound to some. An event without one is of the only
    /// one.
    pub tenants: Option<&'a BTreeSet<String>>,
    /// The source that its events have, if it is bound to one.
    pub source: Option<&'a str>,
}

/// As [`accept`], of an event that somebody sends who may not write as everybody: what
/// tenant and source it is of is settled before its id is derived of them.
///
/// # Errors
/// As [`accept`]; also for an event of another tenant or source.
pub fn accept_from(text: &str, writer: Writer<'_>) -> Result<Accepted, EventFault> {
    read(text, None, writer)
}

/// As [`accept`], of an event that waited under `id`: if it bears none of its own
/// it is of that id and of its time, however often it is read.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) fn accept_waiting(text: &str, id: EventId) -> Result<Event, EventFault> {
    read(text, Some(id), Writer::default()).map(|accepted| accepted.event)
}

fn read(
    text: &str,
    waited_as: Option<EventId>,
    writer: Writer<'_>,
) -> Result<Accepted, EventFault> {
    let whole = |fault: json::JsonFault| EventFault::single(fault.path, fault.what);
    let mut compact = String::with_capacity(text.len().min(super::MAX_EVENT_BYTES));
    let mut found = Vec::new();
    json::compact(text, &mut compact, &mut found).map_err(whole)?;
    let object = Object::from_checked(compact).map_err(whole)?;
    let mut read = Reader { faults: Vec::new(), waited_as, writer };
    read.faults.extend(found.into_iter().map(|fault| (fault.path, fault.what)));
    let (event, idempotent) = read.event(&object);
    // The encoder's own checks (lengths, reserved names) belong to the answer,
    // save of a field that could not even be read.
    let encoded = Encoded::of(&event);
    if let Err(fault) = &encoded {
        let unread = read.faults.len();
        for (field, what) in fault.faults() {
            if !read.faults[..unread].iter().any(|(known, _)| covers(known, field)) {
                read.faults.push((field.clone(), what.clone()));
            }
        }
    }
    EventFault::from_list(read.faults)?;
    Ok(Accepted { event, encoded: encoded?, idempotent })
}

/// Whether a fault of `known` says enough about `field`, which is it or in it.
fn covers(known: &str, field: &str) -> bool {
    field.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

struct Reader<'a> {
    faults: Vec<(String, String)>,
    /// The id of an event that brings none.
    waited_as: Option<EventId>,
    writer: Writer<'a>,
}

impl Reader<'_> {
    fn fault(&mut self, field: &str, what: impl Into<String>) {
        self.faults.push((field.to_owned(), what.into()));
    }

    /// The event, and whether its sender named it.
    fn event(&mut self, object: &Object) -> (Event, bool) {
        let mut event = Event::new("", Entity::of_type(""));
        let mut id: Option<Text> = None;
        let mut occurred_at = None;
        let mut outcome: Option<Text> = None;
        let (mut action_given, mut entity_given) = (false, false);
        for (name, raw) in object.fields() {
            if raw.get() == "null" && !matches!(&*name, "action" | "entity") {
                continue;
            }
            match &*name {
                "id" => id = self.id("id", raw),
                "occurred_at" => {
                    let text: Option<Text> = self.typed("occurred_at", raw, "an RFC 3339 time");
                    occurred_at = text.and_then(|text| self.parsed("occurred_at", &text));
                }
                "action" => {
                    action_given = true;
                    event.action = self.typed("action", raw, "text").unwrap_or_default();
                }
                "outcome" => outcome = self.typed("outcome", raw, "text"),
                "entity" => {
                    entity_given = true;
                    event.entity = self.entity(raw);
                }
                "actor" => event.actor = self.actor("actor", raw),
                "tenant" => event.tenant = self.typed("tenant", raw, "text"),
                "subject" => event.subject = self.typed("subject", raw, "text"),
                "context" => event.context = self.context(raw),
                "old_values" => event.old_values = self.object("old_values", raw),
                "new_values" => event.new_values = self.object("new_values", raw),
                "reason" => event.reason = self.typed("reason", raw, "text"),
                "tags" => {
                    event.tags = self.typed("tags", raw, "an array of texts").unwrap_or_default();
                }
                "metadata" => event.metadata = self.object("metadata", raw),
                "producer" => event.producer = self.producer(raw),
                "source" => event.source = self.typed("source", raw, "text"),
                "source_id" => event.source_id = self.id("source_id", raw),
                "version" => {
                    if self.typed::<u32>("version", raw, "1") != Some(super::EVENT_VERSION) {
                        self.fault("version", format!("expected 1, found {}", raw.get()));
                    }
                }
                other => {
                    let name = json::abbreviate(other);
                    self.fault(&name, "unknown field; put your own data under metadata");
                }
            }
        }
        if !action_given {
            self.fault("action", "missing");
        }
        if !entity_given {
            self.fault("entity", "missing");
        }
        if let Some(outcome) = outcome {
            event.outcome = self.parsed::<Outcome>("outcome", &outcome).unwrap_or_default();
        }
        self.bind(&mut event);
        let idempotent = self.identify(&mut event, id.as_ref(), occurred_at);
        (event, idempotent)
    }

    /// Settles as whom the sender writes.
    fn bind(&mut self, event: &mut Event) {
        let Writer { tenants, source } = self.writer;
        if let Some(tenants) = tenants {
            match &event.tenant {
                Some(tenant) if tenants.contains(&**tenant) => {}
                Some(tenant) => {
                    let tenant = json::abbreviate(tenant);
                    self.fault("tenant", format!("this key does not write for {tenant}"));
                }
                None if tenants.len() == 1 => {
                    event.tenant = tenants.first().map(|only| only.clone().into());
                }
                None => self.fault("tenant", "missing; this key writes for several, name one"),
            }
        }
        if let Some(own) = source {
            match &event.source {
                None => event.source = Some(own.to_owned().into()),
                Some(given) if *given == own => {}
                Some(given) => {
                    let given = json::abbreviate(given);
                    self.fault("source", format!("this key does not write as {given}"));
                }
            }
        }
    }

    /// Settles id, time and source id; answers whether the sender named the event.
    fn identify(&mut self, event: &mut Event, id: Option<&Text>, time: Option<Timestamp>) -> bool {
        let v7 = id.and_then(|id| id.parse::<EventId>().ok());
        let own_time = v7.and_then(|id| Timestamp::from_micros(id.millis().saturating_mul(1000)));
        if let (Some(v7), Some(own_time)) = (v7, own_time)
            && time.is_none_or(|time| time.as_millis() == own_time.as_millis())
        {
            event.id = v7;
            event.occurred_at = time.unwrap_or(own_time);
            return true;
        }
        match (id, &event.source_id) {
            (Some(id), _) if id.is_empty() => {
                self.fault("id", "must not be empty; leave it out if there is none");
                return false;
            }
            (Some(id), Some(source_id)) if id != source_id => {
                self.fault(
                    "id",
                    "is not a UUIDv7 of occurred_at, so it would become source_id, \
                     but another source_id is given; send one of the two",
                );
            }
            (Some(id), None) => event.source_id = Some(id.clone()),
            _ => {}
        }
        let Some(source_id) = &event.source_id else {
            match (self.waited_as, time) {
                (Some(id), time) => {
                    let own_time = Timestamp::from_micros(id.millis().saturating_mul(1000));
                    event.occurred_at = time.or(own_time).unwrap_or(Timestamp::MIN);
                    event.id = id;
                    if id.millis() != event.occurred_at.as_millis() {
                        let name = id.to_string();
                        event.id = EventId::derived(event.occurred_at, "", "annals_queue", &name);
                    }
                }
                (None, Some(time)) => {
                    event.occurred_at = time;
                    event.id = EventId::at(time);
                }
                (None, None) => {}
            }
            return false;
        };
        let Some(time) = time else {
            if !self.faults.iter().any(|(field, _)| field == "occurred_at") {
                let what = "missing; the id of an event without a UUIDv7 is derived from it";
                self.fault("occurred_at", what);
            }
            return false;
        };
        let tenant = event.tenant.as_deref().unwrap_or_default();
        let source = event.source.as_deref().unwrap_or_default();
        event.id = EventId::derived(time, tenant, source, source_id);
        event.occurred_at = time;
        true
    }

    fn typed<T: for<'de> Deserialize<'de>>(
        &mut self,
        field: &str,
        raw: &RawValue,
        expected: &str,
    ) -> Option<T> {
        serde_json::from_str(raw.get())
            .inspect_err(|_| {
                let found = json::abbreviate(raw.get());
                self.fault(field, format!("expected {expected}, found {found}"));
            })
            .ok()
    }

    fn parsed<T: std::str::FromStr<Err = String>>(&mut self, field: &str, text: &str) -> Option<T> {
        text.parse().inspect_err(|what: &String| self.fault(field, what)).ok()
    }

    fn object(&mut self, field: &str, raw: &RawValue) -> Option<Object> {
        Object::from_checked(raw.get().to_owned())
            .inspect_err(|fault| self.fault(field, &fault.what))
            .ok()
    }

    fn unknown(&mut self, field: &str, name: &str) {
        let name = json::abbreviate(name);
        self.fault(&format!("{field}.{name}"), "unknown field; put your own data under metadata");
    }

    /// An id: text, or a number taken as its digits.
    fn id(&mut self, field: &str, raw: &RawValue) -> Option<Text> {
        let digits = raw.get();
        if digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
            return Some(Cow::Owned(digits.to_owned()));
        }
        self.typed(field, raw, "text or a whole number")
    }

    fn entity(&mut self, raw: &RawValue) -> Entity {
        let mut entity = Entity::of_type("");
        let Some(object) = self.object("entity", raw) else {
            return entity;
        };
        let mut kind = None;
        for (name, raw) in present(&object) {
            match &*name {
                "type" => kind = Some(self.typed("entity.type", raw, "text").unwrap_or_default()),
                "id" => entity.id = self.id("entity.id", raw),
                other => self.unknown("entity", other),
            }
        }
        match kind {
            Some(kind) => entity.kind = kind,
            None => self.fault("entity.type", "missing"),
        }
        entity
    }

    fn actor(&mut self, field: &str, raw: &RawValue) -> Option<Actor> {
        let object = self.object(field, raw)?;
        let mut actor = Actor::default();
        for (name, raw) in present(&object) {
            let path = format!("{field}.{name}");
            match &*name {
                "type" => actor.kind = self.typed(&path, raw, "text"),
                "id" => actor.id = self.id(&path, raw),
                "name" => actor.name = self.typed(&path, raw, "text"),
                "on_behalf_of" => actor.on_behalf_of = self.actor(&path, raw).map(Box::new),
                other => self.unknown(field, other),
            }
        }
        Some(actor)
    }

    fn context(&mut self, raw: &RawValue) -> Context {
        let mut context = Context::default();
        let Some(object) = self.object("context", raw) else {
            return context;
        };
        for (name, raw) in present(&object) {
            let slot = match &*name {
                "ip" => &mut context.ip,
                "user_agent" => &mut context.user_agent,
                "url" => &mut context.url,
                "method" => &mut context.method,
                "request_id" => &mut context.request_id,
                "trace_id" => &mut context.trace_id,
                "transaction_id" => &mut context.transaction_id,
                "service" => &mut context.service,
                other => {
                    self.unknown("context", other);
                    continue;
                }
            };
            *slot = self.typed(&format!("context.{name}"), raw, "text");
        }
        context
    }

    fn producer(&mut self, raw: &RawValue) -> Option<Producer> {
        let object = self.object("producer", raw)?;
        let (mut id, mut seq) = (None, None);
        for (name, raw) in present(&object) {
            match &*name {
                "id" => id = self.typed("producer.id", raw, "text"),
                "seq" => seq = self.typed("producer.seq", raw, "a whole number from 0"),
                other => self.unknown("producer", other),
            }
        }
        if id.is_none() {
            self.fault("producer.id", "missing");
        }
        Some(Producer { id: id?, seq })
    }
}

/// The fields of a nested object that are not null.
fn present(object: &Object) -> impl Iterator<Item = (Cow<'_, str>, &RawValue)> {
    object.fields().into_iter().filter(|(_, raw)| raw.get() != "null")
}
