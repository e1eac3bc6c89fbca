//! Rows as events.

use annals::foreign::symfony::{
    Body, Failure, Field, Mapping, Row, Symfony, failed, retried, revived,
};
use annals::{Event, Timestamp};
use serde_json::{Value, json};

use super::{CLASS, rows};

fn symfony() -> Symfony {
    Symfony::of([CLASS])
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn object(values: Option<&annals::Object>) -> Value {
    values.map_or(Value::Null, |values| serde_json::from_str(values.as_str()).unwrap())
}

/// What the message says of one side of every change; this application hides passwords
/// itself, and they are marked as redacted all the same.
fn side(changes: &Value, side: usize) -> Value {
    match changes {
        Value::Object(fields) => {
            let told = |(name, pair): (&String, &Value)| match &**name {
                "password" => (name.clone(), json!({"$annals": {"kind": "redacted"}})),
                _ => (name.clone(), pair[side].clone()),
            };
            fields.iter().map(told).collect()
        }
        _ => Value::Null,
    }
}

/// Compares an event with the properties of its message, as JSON.
fn compare(event: &Event, said: &Value) {
    assert_eq!(Some(event.action.to_string()), text(&said["action"]));
    assert_eq!(Some(event.entity.kind.to_string()), text(&said["entityClass"]));
    assert_eq!(event.entity.id.as_deref().map(str::to_owned), text(&said["entityId"]));
    assert_eq!(event.context.ip.as_deref().map(str::to_owned), text(&said["ipAddress"]));
    assert_eq!(event.context.user_agent.as_deref().map(str::to_owned), text(&said["userAgent"]));
    let (old, new) = (object(event.old_values.as_ref()), object(event.new_values.as_ref()));
    assert_eq!((old, new), (side(&said["changes"], 0), side(&said["changes"], 1)));
    let time = &event.occurred_at.to_string()[..19];
    let wanted: Timestamp = said["timestamp"].as_str().unwrap().parse().unwrap();
    assert_eq!(time, &wanted.to_string()[..19]);
    assert_eq!(event.id.millis(), event.occurred_at.as_millis());
    assert_eq!(event.source.as_deref(), Some("symfony"));
}

#[test]
fn every_row_of_every_serializer_is_an_event_field_by_field() {
    let (php, private, json) =
        (rows("messenger_php"), rows("messenger_php_private"), rows("messenger_json"));
    assert_eq!([php.len(), private.len(), json.len()], [60, 60, 60]);
    for ((php, private), json) in php.iter().zip(&private).zip(&json) {
        let said: Value = serde_json::from_str(&json.body).unwrap();
        for row in [php, json] {
            let event = symfony().event(row).unwrap();
            compare(&event, &said);
            assert_eq!(event.source_id.as_deref(), Some(&*row.id.to_string()));
            let mut properties = serde_json::Map::new();
            if let Some(user) = text(&said["userId"]) {
                let actor = event.actor.as_ref().unwrap();
                assert_eq!(
                    (actor.kind.as_deref(), actor.id.as_deref()),
                    (Some("user"), Some(&*user))
                );
                assert_eq!(actor.name.as_deref().map(str::to_owned), text(&said["username"]));
                properties.insert("userEmail".to_owned(), said["userEmail"].clone());
            } else {
                assert_eq!(event.actor, None);
            }
            let mut symfony = json!({ "class": CLASS });
            if !properties.is_empty() {
                symfony["properties"] = Value::Object(properties);
            }
            assert_eq!(object(event.metadata.as_ref()), json!({ "symfony": symfony }));
        }
        // Private and protected properties; this class has the address as the name.
        let event = symfony().event(private).unwrap();
        compare(&event, &said);
        let name = event.actor.as_ref().and_then(|actor| actor.name.as_deref());
        assert_eq!(name.map(str::to_owned), text(&said["userEmail"]));
        assert_eq!(object(event.metadata.as_ref()), json!({"symfony": {"class": CLASS}}));
    }
    // PHP's own format has the whole time.
    assert_eq!(
        symfony().event(&php[1]).unwrap().occurred_at.to_string(),
        "2025-10-03T10:16:38.008911Z"
    );
}

#[test]
fn a_message_stays_the_same_event_in_whatever_row_it_is() {
    let rows = rows("messenger_php_retry_and_failed");
    let events: Vec<Event> = rows.iter().map(|row| symfony().event(row).unwrap()).collect();
    // Four that wait for their time, and one that was retried and then given up.
    assert_eq!(events.len(), 6);
    for event in &events[..4] {
        assert_eq!(event.context.ip.as_deref(), Some("unknown, 10.1.1.1"));
    }
    assert_eq!(events[4].source_id.as_deref(), Some("394224"), "the row it was dispatched to");
    assert_eq!(events[4].encode().unwrap(), events[5].encode().unwrap());
    assert_eq!(events[4].entity.to_string(), "App\\Entity\\Course:poison");
    let (said, body) = (&rows[5], Body::of(&rows[5].body, "[]").unwrap());
    let envelope = body.envelope("[]").unwrap();
    assert_eq!(envelope.error().as_deref(), Some("poison"), "{}", said.id);
    assert_eq!((envelope.retries(), envelope.first_id().as_deref()), (0, Some("394224")));
}

#[test]
fn messages_that_say_the_same_stay_two() {
    let row = rows("messenger_php").remove(0);
    let again = Row { id: row.id + 1, ..row.clone() };
    let (one, other) = (symfony().event(&row).unwrap(), symfony().event(&again).unwrap());
    assert_ne!(one.id, other.id);
    assert_eq!(one.occurred_at, other.occurred_at);
}

#[test]
fn a_body_that_is_not_utf8_comes_in_base64() {
    let row = rows("messenger_php").remove(0);
    // In UTF-8 it is two bytes, in the other it is one.
    let latin: Vec<u8> = row.body.replace("s:3:\\\"ada\\\"", "s:3:\\\"\u{1}da\\\"").into_bytes();
    let latin: Vec<u8> =
        latin.into_iter().map(|byte| if byte == 1 { 0xe4 } else { byte }).collect();
    let body = annals::foreign::php::base64(&latin);
    let event = symfony().event(&Row { body, ..row.clone() }).unwrap();
    assert_eq!(event.actor.unwrap().name.as_deref(), Some("5GRh"));
    // The same message in base64 is the same event.
    let same = Row { body: annals::foreign::php::base64(row.body.as_bytes()), ..row.clone() };
    assert_eq!(symfony().event(&same).unwrap(), symfony().event(&row).unwrap());
}

/// Sends every row of the fixtures again, as a worker would.
#[test]
fn a_message_with_more_stamps_is_the_same_event() {
    let now: Timestamp = "2026-11-22T12:34:56.789012Z".parse().unwrap();
    let names = [
        "messenger_php",
        "messenger_php_private",
        "messenger_json",
        "messenger_php_retry_and_failed",
    ];
    for row in names.iter().flat_map(|name| rows(name).into_iter().step_by(5)) {
        let original = symfony().event(&row).unwrap();
        let read = |row: &Row| {
            Body::of(&row.body, &row.headers)
                .unwrap()
                .envelope(&row.headers)
                .map(|envelope| (envelope.retries(), envelope.error()))
                .unwrap()
        };
        let again = |row: &Row, written: Result<(String, String), String>| {
            let (body, headers) = written.unwrap();
            Row { id: row.id + 1000, body, headers, created_at: row.created_at.clone() }
        };
        let mut current = row;
        for count in 1..=12 {
            let body = Body::of(&current.body, &current.headers).unwrap();
            let envelope = body.envelope(&current.headers).unwrap();
            let written = retried(&envelope, current.id, count, 2000, now);
            current = again(&current, written);
            assert_eq!(symfony().event(&current).unwrap(), original);
            assert_eq!(read(&current).0, count);
        }
        let body = Body::of(&current.body, &current.headers).unwrap();
        let failure =
            Failure { reason: "it's \"no\" use \\ ä".to_owned(), receiver: "async".to_owned() };
        let written = failed(&body.envelope(&current.headers).unwrap(), current.id, &failure, now);
        let current = again(&current, written);
        assert_eq!(read(&current), (0, Some(failure.reason)));
        assert_eq!(symfony().event(&current).unwrap(), original);
        let told =
            |row: &Row| row.body.contains("SentToFailure") || row.headers.contains("SentToFailure");
        assert!(told(&current));
        let body = Body::of(&current.body, &current.headers).unwrap();
        let written = revived(&body.envelope(&current.headers).unwrap(), current.id);
        let current = again(&current, written);
        assert!(!told(&current));
        assert_eq!(symfony().event(&current).unwrap(), original);
    }
}

fn of_json(body: &Value) -> Row {
    let headers = json!({"type": CLASS}).to_string();
    Row { id: 7, body: body.to_string(), headers, created_at: "2026-11-22 01:51:52".to_owned() }
}

#[test]
fn changes_come_in_three_shapes_and_what_is_none_goes_to_the_metadata() {
    let values = |action: &str, changes: Value| {
        let body = json!({"action": action, "entityClass": "A", "changes": changes});
        let event = symfony().event(&of_json(&body)).unwrap();
        let rest = object(event.metadata.as_ref())["symfony"]["properties"]["changes"].clone();
        (object(event.old_values.as_ref()), object(event.new_values.as_ref()), rest)
    };
    let pair = (json!({"a": 1, "b": null}), json!({"a": 2, "b": [3]}), Value::Null);
    assert_eq!(values("x", json!({"a": [1, 2], "b": [null, [3]]})), pair);
    assert_eq!(
        values("x", json!({"a": {"old": 1, "new": 2}, "b": {"new": [3], "old": null}})),
        pair
    );
    assert_eq!(values("x", json!({"old": {"a": 1, "b": null}, "new": {"a": 2, "b": [3]}})), pair);
    assert_eq!(
        values("x", json!({"a": {"from": 1, "to": 2}, "b": {"before": null, "after": [3]}})),
        pair
    );
    let created = (Value::Null, json!({"a": 1}), Value::Null);
    assert_eq!(values("user_created", json!({"a": [null, 1]})), created);
    assert_eq!(values("x", json!({"old": [], "new": {"a": 1}})), created);
    // An entity with fields of those names.
    let named = (json!({"new": 1, "old": 3}), json!({"new": 2, "old": 4}), Value::Null);
    assert_eq!(values("x", json!({"old": [3, 4], "new": [1, 2]})), named);
    for other in [json!("price"), json!([1, 2]), json!({"a": 1}), json!({"a": [1, 2, 3]})] {
        assert_eq!(values("x", other.clone()), (Value::Null, Value::Null, other));
    }
    // What an application forgot to hide.
    let (old, new, _) = values("x", json!({"password": ["a", "b"], "name": ["c", "d"]}));
    assert_eq!(old["name"], "c");
    assert_eq!(
        [&old["password"], &new["password"]],
        [&json!({"$annals": {"kind": "redacted"}}); 2]
    );
}

#[test]
fn times_come_in_many_forms() {
    let time = |timestamp: Value| {
        let body = json!({"action": "x", "entityClass": "A", "timestamp": timestamp});
        symfony().event(&of_json(&body)).map(|event| event.occurred_at.to_string())
    };
    for (form, wanted) in [
        (json!("2025-10-03T12:16:38+02:00"), "2025-10-03T10:16:38.000000Z"),
        (json!("2025-10-03 12:16:38.5"), "2025-10-03T12:16:38.500000Z"),
        (json!("2025-10-03"), "2025-10-03T00:00:00.000000Z"),
        (json!(1_759_486_598), "2025-10-03T10:16:38.000000Z"),
        (json!(1_759_486_598.25), "2025-10-03T10:16:38.250000Z"),
        (json!("1759486598"), "2025-10-03T10:16:38.000000Z"),
        (json!("@1759486598"), "2025-10-03T10:16:38.000000Z"),
        (json!(1_759_486_598_123_i64), "2025-10-03T10:16:38.123000Z"),
        (json!({"timestamp": 1_759_486_598, "offset": 0}), "2025-10-03T10:16:38.000000Z"),
        (Value::Null, "2026-11-22T01:51:52.000000Z"),
    ] {
        assert_eq!(time(form.clone()).unwrap(), wanted, "{form}");
    }
    for wrong in [json!("soon"), json!([]), json!(true), json!("1960-01-01"), json!(1e30)] {
        let why = time(wrong.clone()).unwrap_err();
        assert!(why.starts_with("timestamp: "), "{wrong}: {why}");
    }
    // A clock that is not UTC's.
    let berlin = Symfony { zone: "Europe/Berlin".parse().unwrap(), ..symfony() };
    let body = json!({"action": "x", "entityClass": "A", "timestamp": "2025-10-03 12:16:38"});
    let event = berlin.event(&of_json(&body)).unwrap();
    assert_eq!(event.occurred_at.to_string(), "2025-10-03T10:16:38.000000Z");
}

#[test]
fn the_mapping_says_which_property_is_which_field() {
    let body = json!({
        "verb": "paid", "event": "kernel.request", "target": {"uid": "0192"}, "kind": "Order",
        "actor": {"id": 7, "email": "jo@example.test"}, "previous": {"state": "open"},
        "current": {"state": "paid"}, "ip": 5, "tags": ["a"],
    });
    let mapping = Mapping::default()
        .and("verb", Field::Action)
        .and("kind", Field::EntityType)
        .and("target", Field::EntityId)
        .and("previous", Field::OldValues)
        .and("current", Field::NewValues)
        .and("ip", Field::Metadata);
    let event = Symfony { mapping, ..symfony() }.event(&of_json(&body)).unwrap();
    assert_eq!((&*event.action, &*event.entity.to_string()), ("paid", "Order:0192"));
    assert_eq!(event.actor.unwrap().id.as_deref(), Some("7"));
    assert_eq!(object(event.old_values.as_ref()), json!({"state": "open"}));
    assert_eq!(object(event.new_values.as_ref()), json!({"state": "paid"}));
    assert_eq!(event.context.ip, None);
    let properties = &object(event.metadata.as_ref())["symfony"]["properties"];
    assert_eq!(
        *properties,
        json!({"event": "kernel.request", "actor": {"id": 7, "email": "jo@example.test"}, "ip": 5, "tags": ["a"]})
    );
    assert!("entity.kind".parse::<Field>().unwrap_err().contains("entity.type"));
    let why = symfony().event(&of_json(&json!({"price": 1}))).unwrap_err();
    assert_eq!(
        why,
        "no property is the event's action; it has price, and symfony.map says which is which"
    );
}

#[test]
fn what_is_no_message_is_refused_with_the_reason() {
    let good = rows("messenger_php").remove(0);
    let refused = |body: &str, headers: &str| {
        let row = Row { body: body.to_owned(), headers: headers.to_owned(), ..good.clone() };
        symfony().event(&row).unwrap_err()
    };
    let cut = &good.body[..good.body.len() - 3];
    assert!(refused(&format!("{cut}}}"), "[]").contains("the body is not PHP's, at byte"));
    assert!(refused("", "[]").contains("expected a value, found the end"));
    assert!(
        refused("O:8:\\\"stdClass\\\":0:{}", "[]").contains("it is no envelope of Messenger's")
    );
    let headers = json!({"type": CLASS}).to_string();
    assert!(refused("{\"action\":", &headers).contains("not JSON"));
    assert!(refused("[1]", &headers).contains("expected an object"));
    let reserved = json!({"action": "annals.erased", "entityClass": "A"});
    assert!(symfony().encode(&of_json(&reserved)).unwrap_err().contains("annals."));
}
