//! The one encoding of an event, and its reader.
//!
//! Fields stand in the order of DESIGN.md's example and absent ones are left
//! out, so that the same event gives the same bytes. There is no white space,
//! so an encoded event is one line.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::fault::{DecodeError, EventFault};
use super::json::is_verbatim;
use super::{
    Actor, Context, EVENT_VERSION, Entity, Event, MAX_EVENT_BYTES, MAX_TEXT_BYTES, Object, Outcome,
    Producer, RESERVED_ACTIONS, Text, Timestamp,
};

/// What an event leaves open and its surroundings know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Defaults {
    /// Who acts.
    pub actor: Option<Actor>,
    /// Whose data it is.
    pub tenant: Option<Text>,
    /// Why.
    pub reason: Option<Text>,
    /// Where from.
    pub context: Context,
}

/// A key as it is written, with the comma before it and the colon behind it.
type Key = &'static str;

macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

impl Defaults {
    /// What is known, as a JSON object with the fields of an event.
    #[cfg(any(feature = "sqlx-sqlite", feature = "postgres", feature = "mysql"))]
    pub(crate) fn to_json(&self) -> Result<String, EventFault> {
        let mut out = vec![b'{'];
        let mut write = Writer { out: &mut out, faults: Vec::new() };
        if let Some(actor) = &self.actor {
            write.key(key!("actor"));
            write.actor(actor, 0);
        }
        write.indexed(key!("tenant"), "tenant", self.tenant.as_ref());
        write.context(&self.context, None, None);
        if let Some(reason) = &self.reason {
            write.text(key!("reason"), reason);
        }
        EventFault::from_list(std::mem::take(&mut write.faults))?;
        out.push(b'}');
        Ok(String::from_utf8(out).unwrap_or_else(|_| "{}".to_owned()))
    }
}

/// What goes into an encoded event beside the event itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp<'a> {
    /// What the event's surroundings know.
    pub(crate) defaults: Option<&'a Defaults>,
    /// The application's name, where neither event nor surroundings say it.
    pub(crate) service: Option<&'a Text>,
    /// Whether Annals itself is the author, which alone may use its actions.
    pub(crate) system: bool,
    /// Whether the event's own producer is written; else there is room for one.
    pub(crate) own_producer: bool,
}

impl Stamp<'_> {
    /// The event as it is.
    pub(crate) const KEEP: Self =
        Self { defaults: None, service: None, system: false, own_producer: true };
}

/// Appends the encoded event to `out`, and leaves `out` as it was on a fault.
/// Answers where in `out` a producer belongs, for [`write_producer`].
pub(crate) fn encode(
    event: &Event,
    stamp: Stamp<'_>,
    out: &mut Vec<u8>,
) -> Result<usize, EventFault> {
    let start = out.len();
    let mut write = Writer { out, faults: Vec::new() };
    let producer_at = write.event(event, stamp);
    let mut faults = write.faults;
    let reserve = if stamp.own_producer { 0 } else { PRODUCER_RESERVE };
    let bytes = out.len() - start + reserve;
    if bytes > MAX_EVENT_BYTES {
        let what = format!("{bytes} bytes encoded, over the limit of {MAX_EVENT_BYTES}");
        faults.push(("event".to_owned(), what));
    }
    match EventFault::from_list(faults) {
        Ok(()) => Ok(producer_at),
        Err(fault) => {
            out.truncate(start);
            Err(fault)
        }
    }
}

/// Bytes that [`write_producer`] adds, at most, for a producer of 64 bytes.
const PRODUCER_RESERVE: usize = 128;

/// Appends the producer's field; the sequence number is known last, under the
/// lock that orders a process's events. `id` needs no escaping.
pub(crate) fn write_producer(id: &str, seq: Option<u64>, out: &mut Vec<u8>) {
    Writer { out, faults: Vec::new() }.producer(id, seq);
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    faults: Vec<(String, String)>,
}

impl Writer<'_> {
    fn event(&mut self, event: &Event, stamp: Stamp<'_>) -> usize {
        let defaults = stamp.defaults;
        self.out.extend_from_slice(b"{\"id\":\"");
        event.id.write(self.out);
        self.out.extend_from_slice(b"\",\"occurred_at\":\"");
        event.occurred_at.write(self.out);
        self.out.push(b'"');
        if event.id.millis() != event.occurred_at.as_millis() {
            let what = format!("is not of the event's time, {}", event.occurred_at);
            self.fault("id", what);
        }
        self.action(&event.action, stamp.system);
        self.raw(key!("outcome"), event.outcome.as_str());
        self.entity(&event.entity);
        if let Some(actor) = event.actor.as_ref().or(defaults.and_then(|d| d.actor.as_ref())) {
            self.key(key!("actor"));
            self.actor(actor, 0);
        }
        let tenant = event.tenant.as_ref().or(defaults.and_then(|d| d.tenant.as_ref()));
        self.indexed(key!("tenant"), "tenant", tenant);
        self.indexed(key!("subject"), "subject", event.subject.as_ref());
        self.context(&event.context, defaults.map(|d| &d.context), stamp.service);
        self.object(key!("old_values"), event.old_values.as_ref());
        self.object(key!("new_values"), event.new_values.as_ref());
        let reason = event.reason.as_ref().or(defaults.and_then(|d| d.reason.as_ref()));
        if let Some(reason) = reason {
            self.text(key!("reason"), reason);
        }
        self.tags(&event.tags);
        self.object(key!("metadata"), event.metadata.as_ref());
        let producer_at = self.out.len();
        if let Some(producer) = event.producer.as_ref().filter(|_| stamp.own_producer) {
            self.producer(&producer.id, producer.seq);
        }
        self.indexed(key!("source"), "source", event.source.as_ref());
        if event.source_id.as_deref() == Some("") {
            self.fault("source_id", "must not be empty; leave it out if there is none");
        }
        self.indexed(key!("source_id"), "source_id", event.source_id.as_ref());
        self.key(key!("version"));
        self.number(u64::from(EVENT_VERSION));
        self.out.push(b'}');
        producer_at
    }

    fn fault(&mut self, field: &str, what: impl Into<String>) {
        self.faults.push((field.to_owned(), what.into()));
    }

    fn action(&mut self, action: &str, system: bool) {
        if action.is_empty() {
            self.fault("action", "must not be empty");
        }
        if !system && action.starts_with(RESERVED_ACTIONS) {
            let what = format!(
                "{action:?} is reserved: only Annals writes actions that begin with {RESERVED_ACTIONS:?}"
            );
            self.fault("action", what);
        }
        self.checked(key!("action"), "action", action);
    }

    fn entity(&mut self, entity: &Entity) {
        if entity.kind.is_empty() {
            self.fault("entity.type", "must not be empty");
        }
        if entity.kind.contains(':') {
            self.fault("entity.type", format!("{:?} holds a ':', which ends a type", entity.kind));
        }
        if entity.id.as_deref() == Some("") {
            self.fault("entity.id", "must not be empty; leave it out if there is none");
        }
        self.open(key!("entity"));
        self.checked(key!("type"), "entity.type", &entity.kind);
        self.indexed(key!("id"), "entity.id", entity.id.as_ref());
        self.out.push(b'}');
    }

    fn actor(&mut self, actor: &Actor, depth: usize) {
        const DEEPEST: usize = 8;
        self.out.push(b'{');
        let fields = [
            (key!("type"), "type", &actor.kind),
            (key!("id"), "id", &actor.id),
            (key!("name"), "name", &actor.name),
        ];
        for (key, name, text) in fields {
            let before = self.faults.len();
            self.indexed(key, name, text.as_ref());
            for (field, _) in self.faults.iter_mut().skip(before) {
                *field = format!("actor.{}{name}", "on_behalf_of.".repeat(depth));
            }
        }
        if let Some(other) = &actor.on_behalf_of {
            if depth == DEEPEST {
                self.fault("actor.on_behalf_of", format!("nested deeper than {DEEPEST} levels"));
            } else {
                self.key(key!("on_behalf_of"));
                self.actor(other, depth + 1);
            }
        }
        self.out.push(b'}');
    }

    fn context(&mut self, own: &Context, around: Option<&Context>, service: Option<&Text>) {
        let start = self.out.len();
        self.open(key!("context"));
        let empty = self.out.len();
        for (key, field, get, indexed) in CONTEXT_FIELDS {
            let fallback = service.filter(|_| field == "context.service");
            let Some(text) = get(own).or(around.and_then(get)).or(fallback) else { continue };
            if indexed {
                self.checked(key, field, text);
            } else {
                self.text(key, text);
            }
        }
        if self.out.len() == empty {
            self.out.truncate(start);
        } else {
            self.out.push(b'}');
        }
    }

    fn tags(&mut self, tags: &[Text]) {
        if tags.is_empty() {
            return;
        }
        self.key(key!("tags"));
        for (index, tag) in tags.iter().enumerate() {
            self.out.push(if index == 0 { b'[' } else { b',' });
            let verbatim = self.quote(tag);
            self.check("tags", tag, verbatim);
        }
        self.out.push(b']');
    }

    fn producer(&mut self, id: &str, seq: Option<u64>) {
        self.open(key!("producer"));
        self.checked(key!("id"), "producer.id", id);
        if let Some(seq) = seq {
            self.key(key!("seq"));
            self.number(seq);
        }
        self.out.push(b'}');
    }

    fn object(&mut self, key: Key, object: Option<&Object>) {
        if let Some(object) = object {
            self.key(key);
            self.out.extend_from_slice(object.as_str().as_bytes());
        }
    }

    fn indexed(&mut self, key: Key, field: &str, text: Option<&Text>) {
        if let Some(text) = text {
            self.checked(key, field, text);
        }
    }

    /// Writes a text that is indexed.
    fn checked(&mut self, key: Key, field: &str, text: &str) {
        self.key(key);
        let verbatim = self.quote(text);
        self.check(field, text, verbatim);
    }

    /// What every store can index: at most 255 bytes, no NUL, which a verbatim
    /// text has not.
    fn check(&mut self, field: &str, text: &str, verbatim: bool) {
        if text.len() > MAX_TEXT_BYTES {
            let what = format!("{} bytes, over the limit of {MAX_TEXT_BYTES}", text.len());
            self.fault(field, what);
        }
        if !verbatim && text.as_bytes().contains(&0) {
            self.fault(field, "holds a NUL character, which no index can");
        }
    }

    /// Writes a key, after a comma unless it is the object's first.
    fn key(&mut self, key: Key) {
        let first = self.out.last() == Some(&b'{');
        self.out.extend_from_slice(&key.as_bytes()[usize::from(first)..]);
    }

    fn open(&mut self, key: Key) {
        self.key(key);
        self.out.push(b'{');
    }

    /// A text that needs no escaping.
    fn raw(&mut self, key: Key, text: &'static str) {
        self.key(key);
        self.out.push(b'"');
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(b'"');
    }

    fn text(&mut self, key: Key, text: &str) {
        self.key(key);
        self.quote(text);
    }

    /// Writes a text; answers whether it stands there as it is.
    fn quote(&mut self, text: &str) -> bool {
        let verbatim = is_verbatim(text.as_bytes());
        self.out.push(b'"');
        if verbatim {
            self.out.extend_from_slice(text.as_bytes());
        } else {
            self.escape(text);
        }
        self.out.push(b'"');
        verbatim
    }

    #[cold]
    fn escape(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                b'"' | b'\\' => self.out.extend_from_slice(&[b'\\', byte]),
                b'\n' => self.out.extend_from_slice(b"\\n"),
                b'\r' => self.out.extend_from_slice(b"\\r"),
                b'\t' => self.out.extend_from_slice(b"\\t"),
                0..=0x1f => self.out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                other => self.out.push(other),
            }
        }
    }

    fn number(&mut self, value: u64) {
        write_number(value, self.out);
    }
}

/// Appends a number's decimal digits.
pub(crate) fn write_number(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

type ContextField = (Key, &'static str, fn(&Context) -> Option<&Text>, bool);

/// The key of each context field, its path in a fault, its value, and whether
/// stores index it.
const CONTEXT_FIELDS: [ContextField; 8] = [
    (key!("ip"), "context.ip", |c| c.ip.as_ref(), true),
    (key!("user_agent"), "context.user_agent", |c| c.user_agent.as_ref(), false),
    (key!("url"), "context.url", |c| c.url.as_ref(), false),
    (key!("method"), "context.method", |c| c.method.as_ref(), true),
    (key!("request_id"), "context.request_id", |c| c.request_id.as_ref(), true),
    (key!("trace_id"), "context.trace_id", |c| c.trace_id.as_ref(), true),
    (key!("transaction_id"), "context.transaction_id", |c| c.transaction_id.as_ref(), true),
    (key!("service"), "context.service", |c| c.service.as_ref(), true),
];

/// An encoded event as it stands; what it borrows is the bytes'.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    occurred_at: Cow<'a, str>,
    action: String,
    #[serde(default, borrow)]
    outcome: Option<Cow<'a, str>>,
    entity: WireEntity,
    actor: Option<WireActor>,
    tenant: Option<String>,
    subject: Option<String>,
    #[serde(default)]
    context: WireContext,
    #[serde(default, borrow)]
    old_values: Option<&'a RawValue>,
    #[serde(default, borrow)]
    new_values: Option<&'a RawValue>,
    reason: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default, borrow)]
    metadata: Option<&'a RawValue>,
    producer: Option<WireProducer>,
    source: Option<String>,
    source_id: Option<String>,
    #[serde(default = "first_version")]
    version: u32,
}

fn first_version() -> u32 {
    1
}

#[derive(Deserialize)]
struct WireEntity {
    #[serde(rename = "type")]
    kind: String,
    id: Option<String>,
}

#[derive(Deserialize)]
struct WireActor {
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
    name: Option<String>,
    on_behalf_of: Option<Box<WireActor>>,
}

#[derive(Deserialize, Default)]
struct WireContext {
    ip: Option<String>,
    user_agent: Option<String>,
    url: Option<String>,
    method: Option<String>,
    request_id: Option<String>,
    trace_id: Option<String>,
    transaction_id: Option<String>,
    service: Option<String>,
}

#[derive(Deserialize)]
struct WireProducer {
    id: String,
    seq: Option<u64>,
}

pub(super) fn decode(bytes: &[u8]) -> Result<Event, DecodeError> {
    // serde_json does not look at the bytes of a text that nobody reads.
    let text = std::str::from_utf8(bytes).map_err(|error| DecodeError::field("event", error))?;
    let wire: Wire<'_> = serde_json::from_str(text).map_err(|error| DecodeError::json(&error))?;
    let field = |name: &'static str| move |what: String| DecodeError::field(name, what);
    Ok(Event {
        id: wire.id.parse().map_err(field("id"))?,
        occurred_at: wire.occurred_at.parse::<Timestamp>().map_err(field("occurred_at"))?,
        action: Cow::Owned(wire.action),
        outcome: match wire.outcome {
            Some(outcome) => outcome.parse::<Outcome>().map_err(field("outcome"))?,
            None => Outcome::Success,
        },
        entity: Entity { kind: Cow::Owned(wire.entity.kind), id: wire.entity.id.map(Cow::Owned) },
        actor: wire.actor.map(Actor::from),
        tenant: wire.tenant.map(Cow::Owned),
        subject: wire.subject.map(Cow::Owned),
        context: Context::from(wire.context),
        old_values: object(wire.old_values, "old_values")?,
        new_values: object(wire.new_values, "new_values")?,
        reason: wire.reason.map(Cow::Owned),
        tags: wire.tags.into_iter().map(Cow::Owned).collect(),
        metadata: object(wire.metadata, "metadata")?,
        producer: wire
            .producer
            .map(|producer| Producer { id: Cow::Owned(producer.id), seq: producer.seq }),
        source: wire.source.map(Cow::Owned),
        source_id: wire.source_id.map(Cow::Owned),
        version: wire.version,
    })
}

fn object(raw: Option<&RawValue>, field: &str) -> Result<Option<Object>, DecodeError> {
    raw.filter(|raw| raw.get() != "null")
        .map(|raw| Object::from_checked(raw.get().to_owned()))
        .transpose()
        .map_err(|fault| DecodeError::value(&fault.under(field)))
}

impl From<WireActor> for Actor {
    fn from(wire: WireActor) -> Self {
        Self {
            kind: wire.kind.map(Cow::Owned),
            id: wire.id.map(Cow::Owned),
            name: wire.name.map(Cow::Owned),
            on_behalf_of: wire.on_behalf_of.map(|other| Box::new(Self::from(*other))),
        }
    }
}

impl From<WireContext> for Context {
    fn from(wire: WireContext) -> Self {
        Self {
            ip: wire.ip.map(Cow::Owned),
            user_agent: wire.user_agent.map(Cow::Owned),
            url: wire.url.map(Cow::Owned),
            method: wire.method.map(Cow::Owned),
            request_id: wire.request_id.map(Cow::Owned),
            trace_id: wire.trace_id.map(Cow::Owned),
            transaction_id: wire.transaction_id.map(Cow::Owned),
            service: wire.service.map(Cow::Owned),
        }
    }
}

/// Encodes an event that Annals itself is the author of, which alone may use its
/// actions.
pub(crate) fn encode_system(event: &Event) -> Result<Vec<u8>, EventFault> {
    let mut body = Vec::new();
    encode(event, Stamp { system: true, ..Stamp::KEEP }, &mut body)?;
    Ok(body)
}

/// The id that an encoded event bears, read without the rest.
#[cfg(feature = "file")]
pub(crate) fn peek_id(bytes: &[u8]) -> Option<super::EventId> {
    let text = bytes.strip_prefix(b"{\"id\":\"")?.get(..36)?;
    std::str::from_utf8(text).ok()?.parse().ok()
}
