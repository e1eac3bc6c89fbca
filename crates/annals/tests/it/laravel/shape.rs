//! Pushed rows as events, and back.

use annals::foreign::laravel::{COLUMNS, Laravel};
use annals::foreign::{Secrets, Zone};
use annals::{Event, EventId, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{column, fixture, payloads};

fn row(laravel: &Laravel, body: &[u8]) -> Vec<Option<String>> {
    laravel.row(body).unwrap().0.into_iter().map(|text| text.map(Into::into)).collect()
}

fn pushed(payload: &Value) -> Vec<Option<String>> {
    COLUMNS.iter().map(|name| column(payload, name)).collect()
}

#[test]
fn every_pushed_row_is_an_event_field_by_field() {
    let laravel = Laravel::default();
    let payloads = payloads();
    assert_eq!(payloads.len(), 150);
    for text in payloads {
        let payload: Value = serde_json::from_str(&text).unwrap();
        let event = laravel.event(text.as_bytes()).unwrap();
        let field = |name| column(&payload, name);
        assert_eq!(Some(event.action.to_string()), field("event"));
        assert_eq!(Some(event.entity.kind.to_string()), field("auditable_type"));
        assert_eq!(event.entity.id.as_ref().map(ToString::to_string), field("auditable_id"));
        let user = event.actor.as_ref().map(|actor| actor.id.as_ref().unwrap().to_string());
        assert_eq!(user, field("user_id"));
        let context = [&event.context.url, &event.context.ip, &event.context.user_agent];
        let columns = ["url", "ip_address", "user_agent"];
        assert_eq!(context.map(|text| text.as_ref().map(ToString::to_string)), columns.map(field));
        let values = [("old_values", &event.old_values), ("new_values", &event.new_values)];
        for (name, values) in values {
            let told: Value = serde_json::from_str(&field(name).unwrap()).unwrap();
            match values {
                None => assert_eq!(told, json!([])),
                Some(object) => {
                    assert_eq!(told, serde_json::from_str::<Value>(object.as_str()).unwrap());
                }
            }
        }
        let time = format!("{}.000000Z", field("created_at").unwrap().replace(' ', "T"));
        assert_eq!(event.occurred_at.to_string(), time);
        assert_eq!(event.source_id.as_ref().map(ToString::to_string), field("id"));
        assert_eq!(event.id.millis(), event.occurred_at.as_millis());
    }
}

#[test]
fn every_row_comes_back_as_it_was_pushed() {
    let laravel = Laravel::default();
    let texts = payloads();
    for text in &texts {
        let (_, body) = laravel.encode(text.as_bytes()).unwrap();
        let payload: Value = serde_json::from_str(text).unwrap();
        assert_eq!(row(&laravel, &body), pushed(&payload));
    }
    let mut rescued = 0;
    for entry in std::fs::read_dir(fixture("")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            for payload in file["data"].as_array().unwrap() {
                let (_, body) = laravel.encode(payload.to_string().as_bytes()).unwrap();
                assert_eq!(row(&laravel, &body), pushed(payload));
                rescued += 1;
            }
        }
    }
    assert_eq!(rescued, 300);
}

/// A pushed row with some columns otherwise.
fn with(changes: &Value) -> String {
    let mut payload = json!({
        "id": "2958d51e-3933-48d0-b419-adc24d1da412", "event": "updated",
        "auditable_type": "App\\Models\\User", "auditable_id": 7, "user_id": "u-1",
        "url": "console", "ip_address": null, "user_agent": null,
        "old_values": "{\"name\":\"a\"}", "new_values": "{\"name\":\"b\"}",
        "created_at": "2026-07-01 12:00:00",
    });
    for (name, value) in changes.as_object().unwrap() {
        payload[name] = value.clone();
    }
    payload.to_string()
}

#[test]
fn secrets_do_not_enter_wherever_they_stand() {
    let secret = "hunter2";
    let text = with(&json!({
        "old_values": format!("{{\"password\":\"{secret}\",\"name\":\"a\"}}"),
        "new_values": {"remember_token": secret, "two_factor_secret": secret,
            "profile": {"apiToken": [secret, secret]}, "pin": secret},
        "tags": {"access_token": secret, "note": "kept"},
    }));
    let laravel = Laravel { secrets: Secrets::default().and(["pin"]), ..Laravel::default() };
    let (_, body) = laravel.encode(text.as_bytes()).unwrap();
    let body = String::from_utf8(body).unwrap();
    assert!(!body.contains(secret), "{body}");
    assert_eq!(body.matches("redacted").count(), 6);
    assert!(body.contains("\"note\":\"kept\"") && body.contains("\"name\":\"a\""));
}

#[test]
fn what_an_event_has_no_place_for_is_kept() {
    let laravel = Laravel::default();
    let text = with(&json!({
        "old_values": null, "new_values": {}, "user_type": "App\\Models\\Admin",
        "tags": "a,b", "big": 123_456_789_012_345_678_901_234_567_890_f64,
    }));
    let event = laravel.event(text.as_bytes()).unwrap();
    let kept: Value = event.metadata.as_ref().unwrap().get("laravel").unwrap();
    assert_eq!(kept["user_type"], "App\\Models\\Admin");
    assert_eq!((&kept["tags"], &kept["old_values"]), (&json!("a,b"), &Value::Null));
    let row = row(&laravel, &event.encode().unwrap());
    let at = |name| row[COLUMNS.iter().position(|column| *column == name).unwrap()].as_deref();
    assert_eq!((at("old_values"), at("new_values")), (None, Some("{}")));
    assert_eq!((at("auditable_id"), at("user_id")), (Some("7"), Some("u-1")));
}

#[test]
fn the_same_row_is_the_same_event_every_time() {
    let laravel = Laravel::default();
    let text = with(&json!({}));
    let (id, body) = laravel.encode(text.as_bytes()).unwrap();
    assert_eq!(laravel.encode(text.as_bytes()).unwrap(), (id, body));
    let time: Timestamp = "2026-07-01T12:00:00Z".parse().unwrap();
    let source_id = "2958d51e-3933-48d0-b419-adc24d1da412";
    assert_eq!(id, EventId::derived(time, "", "laravel", source_id));
    let other = Laravel { tenant: Some("acme".into()), ..Laravel::default() };
    assert_ne!(other.encode(text.as_bytes()).unwrap().0, id, "another tenant's is another event");
    let berlin: Zone = "Europe/Berlin".parse().unwrap();
    let there = Laravel { zone: berlin, ..Laravel::default() };
    let (_, body) = there.encode(text.as_bytes()).unwrap();
    assert_eq!(
        Event::decode(&body).unwrap().occurred_at.to_string(),
        "2026-07-01T10:00:00.000000Z"
    );
    assert_eq!(row(&there, &body)[10].as_deref(), Some("2026-07-01 12:00:00"));
}

#[test]
fn what_is_no_row_is_refused_with_the_reason() {
    let laravel = Laravel::default();
    let long = "x".repeat(300);
    let cases = [
        (r#"{"id":"a","event"#.to_owned(), "EOF"),
        (String::new(), "EOF"),
        ("[1,2]".to_owned(), "a row of audits as a JSON object"),
        (r#"{"event":"created"}"#.to_owned(), "without id, auditable_type, created_at"),
        (with(&json!({"created_at": "yesterday"})), "created_at: expected a time"),
        (with(&json!({"old_values": "{\"a\":"})), "old_values"),
        (with(&json!({"new_values": "7"})), "new_values: expected an object, found 7"),
        (with(&json!({"auditable_id": {"a": 1}})), "auditable_id: expected text"),
        (with(&json!({"auditable_type": long})), "entity.type: 300 bytes"),
        (with(&json!({"event": "annals.erased"})), "reserved"),
        (with(&json!({"old_values": "{\"$annals\":1}"})), "$annals"),
        (
            with(&json!({"new_values": "{\"a\":\"\u{fffd}\"}"})).replace('\u{fffd}', "\\\\ud800"),
            "new_values",
        ),
    ];
    for (text, expected) in cases {
        let refused = laravel.encode(text.as_bytes()).unwrap_err();
        assert!(refused.contains(expected), "{text}\n{refused}");
    }
    let refused = laravel.encode(b"\xff\xfe").unwrap_err();
    assert!(refused.contains("UTF-8"), "{refused}");
}

/// What was stored once is found again by its id and its bytes, whichever version reads
/// the list: they are these for ever.
#[test]
fn the_bytes_of_what_a_real_application_pushed_never_change() {
    let text = std::fs::read_to_string(fixture("redis_payloads.jsonl")).unwrap();
    let mut hash = Sha256::new();
    let laravel = Laravel::default();
    let encoded = text.lines().filter_map(|line| laravel.encode(line.as_bytes()).ok());
    let count = encoded.map(|(id, body)| hash.update([id.as_bytes(), &body[..]].concat())).count();
    let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        (count, hash.as_str()),
        (150, "b6f3d562710bb32f0aa0c9d9dafd477ba028b399959053c00e7c20c2e66afc45")
    );
}
