//! The event that the benches record: an update of eight fields, by a user, in a
//! request. About 700 bytes.

use std::sync::atomic::{AtomicU64, Ordering};

use annals::{Actor, Auditable, Event, EventId, Scope, Timestamp};
use serde::{Serialize, Serializer};

#[derive(Clone, Serialize, Auditable)]
#[auditable(entity = "product")]
pub struct Product {
    #[auditable(id)]
    #[serde(skip)]
    pub id: u64,
    name: String,
    price: i64,
    stock: i64,
    category: String,
    supplier: String,
    colour: String,
    weight_grams: u32,
    visible: bool,
}

impl Product {
    /// Eight fields of plausible sizes, which depend on `number`.
    fn numbered(id: u64, number: u32) -> Self {
        Self {
            id,
            name: format!("Gooseneck kettle no. {number}"),
            price: 8_900 + i64::from(number),
            stock: i64::from(number % 97),
            category: format!("brewing/{number}"),
            supplier: format!("Kaffeehandel {number}"),
            colour: format!("ral-{number:04}"),
            weight_grams: 640 + number,
            visible: number.is_multiple_of(2),
        }
    }

    /// Before and after an update of all eight fields.
    pub fn change(id: u64, number: u32) -> (Self, Self) {
        (Self::numbered(id, number), Self::numbered(id, number + 1))
    }
}

const IP: &str = "203.0.113.9";
const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) Firefox/141.0";
const URL: &str = "/products/42";
const REQUEST: &str = "01a202b2-c57b-71f3-8a2b-5c0d9e4f1a67";

/// Who acts and from where, as a request sets it once.
pub fn scope() -> Scope {
    Scope::new()
        .actor(Actor::user(7).named("Jo Doe"))
        .ip(IP)
        .user_agent(AGENT)
        .url(URL)
        .method("PUT")
        .request_id(REQUEST)
        .service("shop")
}

/// An encoded event of the same kind, of entity `id`.
pub fn encoded(id: u64, number: u32) -> crate::Outcome<(EventId, Vec<u8>)> {
    let (before, after) = Product::change(id, number);
    let mut event = Event::updated(&before, &after)?.ok_or("nothing changed")?;
    let scope = scope();
    event.actor = scope.defaults().actor.clone();
    event.context = scope.defaults().context.clone();
    Ok((event.id, event.encode()?))
}

/// The same event as an application would write it with serde and no library for
/// audit trails: no diff, since its caller says what is old and new, no check of
/// lengths, no sequence under a lock.
#[derive(Serialize)]
pub struct Line<'a> {
    #[serde(serialize_with = "shown")]
    id: EventId,
    #[serde(serialize_with = "shown")]
    occurred_at: jiff::Timestamp,
    action: &'static str,
    outcome: &'static str,
    entity: Entity,
    actor: Who,
    context: Where,
    old_values: &'a Product,
    new_values: &'a Product,
    producer: Producer,
    version: u32,
}

#[derive(Serialize)]
struct Entity {
    r#type: &'static str,
    id: String,
}

#[derive(Serialize)]
struct Who {
    r#type: &'static str,
    id: &'static str,
    name: &'static str,
}

#[derive(Serialize)]
struct Where {
    ip: &'static str,
    user_agent: &'static str,
    url: &'static str,
    method: &'static str,
    request_id: &'static str,
    service: &'static str,
}

#[derive(Serialize)]
struct Producer {
    id: &'static str,
    seq: u64,
}

fn shown<T: std::fmt::Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

static SEQ: AtomicU64 = AtomicU64::new(0);

impl<'a> Line<'a> {
    pub fn of(before: &'a Product, after: &'a Product) -> Self {
        let now = Timestamp::now();
        Self {
            id: EventId::at(now),
            occurred_at: jiff::Timestamp::from_microsecond(now.as_micros()).unwrap_or_default(),
            action: "updated",
            outcome: "success",
            entity: Entity { r#type: "product", id: after.id.to_string() },
            actor: Who { r#type: "user", id: "7", name: "Jo Doe" },
            context: Where {
                ip: IP,
                user_agent: AGENT,
                url: URL,
                method: "PUT",
                request_id: REQUEST,
                service: "shop",
            },
            old_values: before,
            new_values: after,
            producer: Producer { id: "0123456789abcdef", seq: SEQ.fetch_add(1, Ordering::Relaxed) },
            version: 1,
        }
    }

    /// Writes the line, from an empty `out`.
    pub fn write(&self, out: &mut Vec<u8>) -> crate::Outcome {
        out.clear();
        serde_json::to_writer(&mut *out, self)?;
        out.push(b'\n');
        Ok(())
    }
}
