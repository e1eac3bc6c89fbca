//! The encoding of events: golden files, round trips, ids.

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::PathBuf;

use annals::event::{MAX_EVENT_BYTES, Producer, accept, composite_id};
use annals::{Actor, Context, Entity, Event, EventId, Object, Outcome, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

fn object(value: &Value) -> Object {
    Object::from_value(value).unwrap()
}

/// The events of `tests/golden/v1`, each built as its file says.
fn goldens() -> Vec<(&'static str, Event)> {
    let at = |id: &str, time: &str, action: &'static str, entity: Entity| {
        let mut event = Event::new(action, entity);
        event.id = id.parse().unwrap();
        event.occurred_at = time.parse().unwrap();
        event
    };
    let minimal = at(
        "019ab000-0000-7000-8000-000000000001",
        "2025-11-23T09:16:21.376Z",
        "pinged",
        Entity::of_type("service"),
    );
    let updated = at(
        "019ab000-0001-7003-8000-000000000002",
        "2025-11-23T09:16:21.377001Z",
        "updated",
        Entity::new("product", 42),
    )
    .actor(Actor::user(7))
    .old_values(object(&json!({ "price": 1000, "code": null })))
    .new_values(object(&json!({ "price": 1200, "code": "A" })));
    let mut full = at(
        "019ab000-0002-7fff-bfff-ffffffffffff",
        "2025-11-23T09:16:21.378999Z",
        "refund.approved",
        Entity::new("order line", composite_id(["7,1", "100%"])),
    )
    .outcome(Outcome::Denied)
    .actor(Actor::user(7).named("Jo Doe").on_behalf_of(Actor::new("service", "billing")))
    .tenant("acme")
    .subject("user:7")
    .reason("asked \"twice\"\nby phone")
    .tag("vip")
    .tag("größe")
    .metadata(object(&json!({ "nested": { "list": [1, 2.50, "x", {}, []] } })));
    full.context = Context {
        ip: Some("203.0.113.9".into()),
        user_agent: Some("curl/8".into()),
        url: Some("https://shop.example/orders/7?a=1&b=%20".into()),
        method: Some("PUT".into()),
        request_id: Some("req-1".into()),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
        transaction_id: Some("8812".into()),
        service: Some("shop".into()),
    };
    full.producer = Some(Producer { id: "0a1b".into(), seq: Some(u64::MAX) });
    full.old_values = Some(object(&json!({ "big": u64::MAX, "small": i64::MIN })));
    full.new_values = Some(
        accept(r#"{"action":"a","entity":{"type":"t"},"new_values":{"big":123456789012345678901234567890,"card":{"$annals":{"kind":"redacted"}},"text":{"$annals":{"kind":"truncated","length":70000,"sha256":"00ff"}}}}"#)
            .unwrap()
            .event
            .new_values
            .unwrap(),
    );
    let mut imported = at(
        "019ab000-0003-7000-8000-000000000004",
        "2025-11-23T09:16:21.379Z",
        "deleted",
        Entity::new("kunde", "ä\u{1}\u{7f}\u{202e}"),
    )
    .outcome(Outcome::Failure)
    .tenant("acme")
    .imported("legacy", "row 17");
    imported.producer = Some(Producer { id: "p".into(), seq: None });
    vec![("minimal", minimal), ("updated", updated), ("full", full), ("imported", imported)]
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/v1/{name}.json"))
}

#[test]
fn events_encode_to_the_golden_bytes() {
    for (name, event) in goldens() {
        let bytes = String::from_utf8(event.encode().unwrap()).unwrap() + "\n";
        // A golden file is written once, by hand: it never changes with the code.
        if std::env::var_os("ANNALS_WRITE_GOLDEN").is_some() && !golden(name).exists() {
            std::fs::write(golden(name), &bytes).unwrap();
        }
        assert_eq!(bytes, std::fs::read_to_string(golden(name)).unwrap(), "{name}");
    }
}

#[test]
fn golden_bytes_decode_and_encode_again_to_the_same() {
    for (name, event) in goldens() {
        let bytes = std::fs::read(golden(name)).unwrap();
        let bytes = bytes.strip_suffix(b"\n").unwrap();
        let decoded = Event::decode(bytes).unwrap();
        assert_eq!(decoded, event, "{name}");
        assert_eq!(decoded.encode().unwrap(), bytes, "{name}");
    }
}

#[test]
fn readers_pass_over_what_a_newer_version_added() {
    let bytes = br#"{"id":"019ab000-0000-7000-8000-000000000001","occurred_at":"2025-11-23T09:16:21.376Z","action":"a","entity":{"type":"t","realm":"r"},"place":{"x":[1]},"actor":{"mood":1},"version":2}"#;
    let event = Event::decode(bytes).unwrap();
    assert_eq!((&*event.action, event.version), ("a", 2));
}

#[test]
fn the_encoder_names_every_fault_at_once() {
    let mut event = Event::new("annals.x", Entity::new("a:b", ""))
        .tenant("t".repeat(256))
        .tag("nul\0")
        .actor(Actor::user("").on_behalf_of(Actor::user("u".repeat(300))));
    event.occurred_at = Timestamp::MIN;
    event.source_id = Some("".into());
    let fault = event.encode().unwrap_err();
    let faults: Vec<String> =
        fault.faults().iter().map(|(field, what)| format!("{field}: {what}")).collect();
    assert_eq!(
        faults,
        [
            "id: is not of the event's time, 1970-01-01T00:00:00.000000Z",
            "action: \"annals.x\" is reserved: only Annals writes actions that begin with \"annals.\"",
            "entity.type: \"a:b\" holds a ':', which ends a type",
            "entity.id: must not be empty; leave it out if there is none",
            "actor.on_behalf_of.id: 300 bytes, over the limit of 255",
            "tenant: 256 bytes, over the limit of 255",
            "tags: holds a NUL character, which no index can",
            "source_id: must not be empty; leave it out if there is none",
        ]
    );
}

#[test]
fn an_event_may_fill_its_bound_to_the_byte() {
    let with = |length: usize| {
        Event::new("noted", Entity::new("note", 1))
            .metadata(object(&json!({ "text": "x".repeat(length) })))
    };
    let overhead = with(0).encode().unwrap().len();
    let largest = with(MAX_EVENT_BYTES - overhead).encode().unwrap();
    assert_eq!(largest.len(), MAX_EVENT_BYTES);
    let fault = with(MAX_EVENT_BYTES - overhead + 1).encode().unwrap_err();
    assert_eq!(fault.to_string(), "event: 262145 bytes encoded, over the limit of 262144");
}

#[test]
fn ids_of_one_process_sort_as_they_were_made() {
    let mut last = EventId::at(Timestamp::MIN);
    for _ in 0..10_000 {
        let now = Timestamp::now();
        let id = EventId::at(now);
        assert!(id > last, "{id} after {last}");
        assert_eq!(id.millis(), now.as_millis());
        last = id;
    }
    // The microseconds of one millisecond sort too.
    let fixed =
        |micros: i64| EventId::at(Timestamp::from_micros(1_000_000_000_000_000 + micros).unwrap());
    let ids: Vec<EventId> = (0..1000).map(fixed).collect();
    assert!(ids.is_sorted());
}

#[test]
fn ids_of_many_threads_at_one_moment_differ() {
    let moment = Timestamp::now();
    let make = move || (0..20_000).map(|_| EventId::at(moment)).collect::<Vec<_>>();
    let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(make)).collect();
    let made: Vec<EventId> =
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let distinct: HashSet<EventId> = made.iter().copied().collect();
    assert_eq!(distinct.len(), made.len());
}

fn text() -> impl Strategy<Value = Cow<'static, str>> {
    // At most 255 bytes of any characters but NUL.
    prop_oneof!["[a-z]{0,8}", "[^\u{0}]{0,60}"].prop_map(Cow::Owned)
}

fn maybe() -> impl Strategy<Value = Option<Cow<'static, str>>> {
    prop::option::of(text())
}

fn values() -> impl Strategy<Value = Option<Object>> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    let value = scalar.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(".{0,5}", inner, 0..4)
                .prop_map(|map| Value::from(serde_json::Map::from_iter(map))),
        ]
    });
    let map = prop::collection::hash_map(".{0,6}", value, 0..5);
    prop::option::of(map.prop_map(|map| Object::from_value(&map).unwrap()))
}

fn actor() -> impl Strategy<Value = Actor> {
    let one = || {
        (maybe(), maybe(), maybe()).prop_map(|(kind, id, name)| {
            let mut actor = Actor::default();
            (actor.kind, actor.id, actor.name) = (kind, id, name);
            actor
        })
    };
    (one(), prop::option::of(one())).prop_map(|(mut actor, other)| {
        actor.on_behalf_of = other.map(Box::new);
        actor
    })
}

fn event() -> impl Strategy<Value = Event> {
    let outcome =
        prop_oneof![Just(Outcome::Success), Just(Outcome::Failure), Just(Outcome::Denied)];
    let who = (prop::option::of(actor()), maybe(), maybe(), prop::collection::vec(maybe(), 8));
    let what =
        ("[^\u{0}:]{1,60}", prop::option::of("[^\u{0}]{1,60}"), values(), values(), values());
    let rest = (
        maybe(),
        prop::collection::vec(text(), 0..3),
        prop::option::of((text(), prop::option::of(any::<u64>()))),
        maybe(),
        prop::option::of("[^\u{0}]{1,60}"),
    );
    let head = (0..=Timestamp::MAX.as_micros(), "[^\u{0}]{1,60}", outcome);
    (head, who, what, rest).prop_map(|(head, who, what, rest)| {
        let mut event =
            Event::new(head.1, Entity { kind: what.0.into(), id: what.1.map(Into::into) })
                .occurred_at(Timestamp::from_micros(head.0).unwrap())
                .outcome(head.2);
        (event.actor, event.tenant, event.subject) = (who.0, who.1, who.2);
        let mut context = who.3.into_iter();
        let mut next = || context.next().flatten();
        event.context = Context {
            ip: next(),
            user_agent: next(),
            url: next(),
            method: next(),
            request_id: next(),
            trace_id: next(),
            transaction_id: next(),
            service: next(),
        };
        (event.old_values, event.new_values, event.metadata) = (what.2, what.3, what.4);
        (event.reason, event.tags) = (rest.0, rest.1);
        event.producer = rest.2.map(|(id, seq)| Producer { id, seq });
        (event.source, event.source_id) = (rest.3, rest.4.map(Into::into));
        event
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_event_comes_back_as_it_was(event in event()) {
        let bytes = event.encode().unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        prop_assert!(!text.bytes().any(|byte| byte < 0x20), "one line, nothing to interpret");
        prop_assert!(serde_json::from_str::<Value>(text).is_ok());
        prop_assert_eq!(&Event::decode(&bytes).unwrap(), &event);
        let accepted = accept(text).unwrap();
        prop_assert!(accepted.idempotent);
        prop_assert_eq!(&accepted.event, &event);
        prop_assert_eq!(accepted.event.encode().unwrap(), bytes);
    }
}

/// Found by cargo-fuzz: a text that nobody reads was not looked at.
#[test]
fn bytes_that_are_no_text_are_no_event_wherever_they_stand() {
    let event = Event::new("updated", Entity::new("product", 42)).encode().unwrap();
    let with = |bytes: &[u8]| {
        let mut body = event[..event.len() - 1].to_vec();
        body.extend_from_slice(b",\"unheard_of\":\"");
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\"}");
        (Event::decode(&body).is_ok(), annals::store::Record::decode(body).is_ok())
    };
    assert_eq!(with("é".as_bytes()), (true, true));
    assert_eq!(with(&[0xff]), (false, false));
}
