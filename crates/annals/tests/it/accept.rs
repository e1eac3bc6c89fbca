//! What bad input gets on its way in: a fault that names field, value and limit.

use annals::event::{MAX_EVENT_BYTES, accept};
use annals::{EventId, Timestamp};
use serde_json::json;
use sha2::{Digest, Sha256};

/// The faults of a text, each as `field: what`.
fn faults(text: &str) -> Vec<String> {
    let fault = accept(text).expect_err(text);
    let line = |(field, what): &(String, String)| match field.as_str() {
        "" => what.clone(),
        field => format!("{field}: {what}"),
    };
    fault.faults().iter().map(line).collect()
}

/// The one fault of a good event with `fields` added.
fn fault(fields: &str) -> String {
    let text = format!(r#"{{"action":"a","entity":{{"type":"t"}},{fields}}}"#);
    let mut faults = faults(&text);
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.remove(0)
}

const V7: &str = "019ab000-0000-7000-8000-000000000001";
const V7_TIME: &str = "2025-11-23T09:16:21.376Z";

#[test]
fn what_is_not_json_is_told_with_its_place() {
    for (text, expected) in [
        ("", "not JSON: expected a value at byte 0, found the end"),
        ("hello", "not JSON: expected a value at byte 0, found 'h'"),
        (r#"{"action""#, "not JSON: expected ':' at byte 9, found the end"),
        (r#"{"action":"a",}"#, "not JSON: expected a key in double quotes at byte 14, found '}'"),
        (r#"{"action":"a"} x"#, "not JSON: expected nothing more at byte 15, found 'x'"),
        (r#"{"action":"a"#, "action: not JSON: a string has no end"),
        (
            "{\"action\":\"a\nb\"}",
            "action: not JSON: expected no control character in a string (escape it) at byte 12, found '\\n'",
        ),
        (
            r#"{"action":"\ud800"}"#,
            "action: not JSON: expected a whole pair of surrogates at byte 11, found '\\\\'",
        ),
        (
            r#"{"action":"\udc00\ud800"}"#,
            "action: not JSON: expected a whole pair of surrogates at byte 11, found '\\\\'",
        ),
        ("[1,2]", "expected an object, found [1,2]"),
        ("\"text\"", "expected an object, found \"text\""),
    ] {
        assert_eq!(faults(text), [expected], "{text}");
    }
}

#[test]
fn what_is_missing_or_unknown_is_named() {
    assert_eq!(faults("{}"), ["action: missing", "entity: missing"]);
    assert_eq!(faults(r#"{"action":"a","entity":{}}"#), ["entity.type: missing"]);
    let elsewhere = "unknown field; put your own data under metadata";
    assert_eq!(fault(r#""colour":"red""#), format!("colour: {elsewhere}"));
    assert_eq!(
        fault(r#""actor":{"id":"7","on_behalf_of":{"mail":"x"}}"#),
        format!("actor.on_behalf_of.mail: {elsewhere}")
    );
    assert_eq!(fault(r#""context":{"host":"x"}"#), format!("context.host: {elsewhere}"));
    assert_eq!(fault(r#""producer":{"id":"p","pid":1}"#), format!("producer.pid: {elsewhere}"));
    assert_eq!(fault(r#""producer":{"seq":1}"#), "producer.id: missing");
}

#[test]
fn wrong_types_are_named_with_what_was_found() {
    for (fields, expected) in [
        (r#""tenant":7"#, "tenant: expected text, found 7"),
        (r#""old_values":[1]"#, "old_values: expected an object, found [1]"),
        (r#""metadata":"x""#, "metadata: expected an object, found \"x\""),
        (r#""tags":"vip""#, "tags: expected an array of texts, found \"vip\""),
        (r#""tags":[null]"#, "tags: expected an array of texts, found [null]"),
        (r#""actor":"jo""#, "actor: expected an object, found \"jo\""),
        (r#""actor":{"id":{}}"#, "actor.id: expected text or a whole number, found {}"),
        (r#""context":{"ip":1.5}"#, "context.ip: expected text, found 1.5"),
        (
            r#""producer":{"id":"p","seq":-1}"#,
            "producer.seq: expected a whole number from 0, found -1",
        ),
        (r#""outcome":"maybe""#, "outcome: expected success, failure or denied, found \"maybe\""),
        (r#""version":2"#, "version: expected 1, found 2"),
        (
            r#""occurred_at":"yesterday""#,
            "occurred_at: expected an RFC 3339 time such as 2026-11-22T10:00:00Z, found \"yesterday\"",
        ),
        (r#""occurred_at":1700000000"#, "occurred_at: expected an RFC 3339 time, found 1700000000"),
    ] {
        assert_eq!(fault(fields), expected);
    }
    let long = format!(r#""tenant":[{}]"#, "1,".repeat(99_999) + "1");
    assert_eq!(
        fault(&long),
        "tenant: expected text, found [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1… (200001 bytes)"
    );
}

#[test]
fn every_fault_of_an_event_is_named_at_once() {
    let text = r#"{"action":"","entity":{"type":"a:b","id":""},"tenant":7,"x":1,"x":2,
        "source":"a\u0000b","new_values":{"n":1e999,"m":{"$annals":true}}}"#;
    assert_eq!(
        faults(text),
        [
            "x: the key stands twice in one object",
            "new_values.n: the number 1e999 is beyond what a 64-bit float holds (about 1.8e308)",
            "new_values.m: the key \"$annals\" is reserved for the marks that Annals writes",
            "tenant: expected text, found 7",
            "x: unknown field; put your own data under metadata",
            "x: unknown field; put your own data under metadata",
            "action: must not be empty",
            "entity.type: \"a:b\" holds a ':', which ends a type",
            "entity.id: must not be empty; leave it out if there is none",
            "source: holds a NUL character, which no index can",
        ]
    );
    let unknown: Vec<String> = (0..1000).map(|number| format!("\"f{number}\":0")).collect();
    let text = format!("{{{}}}", unknown.join(","));
    let fault = accept(&text).unwrap_err();
    assert_eq!(fault.faults().len(), 21);
    assert!(fault.to_string().ends_with("; and more"), "{fault}");
}

#[test]
fn an_action_of_annals_own_is_refused() {
    let text = r#"{"action":"annals.x","entity":{"type":"t"}}"#;
    assert_eq!(
        faults(text),
        [
            "action: \"annals.x\" is reserved: only Annals writes actions that begin with \"annals.\""
        ]
    );
    // Also where the name is disguised; its neighbours are free.
    assert_eq!(faults(r#"{"action":"\u0061nnals.x","entity":{"type":"t"}}"#).len(), 1);
    assert!(accept(r#"{"action":"annalsx","entity":{"type":"t"}}"#).is_ok());
}

#[test]
fn sizes_are_bounded_and_named() {
    assert_eq!(
        fault(&format!(r#""tenant":"{}""#, "ä".repeat(128))),
        "tenant: 256 bytes, over the limit of 255"
    );
    assert!(
        accept(&format!(r#"{{"action":"{}","entity":{{"type":"t"}}}}"#, "a".repeat(255))).is_ok()
    );
    let sized = |length: usize| {
        format!(
            r#"{{"id":"{V7}","occurred_at":"2025-11-23T09:16:21.376000Z","action":"a","outcome":"success","entity":{{"type":"t"}},"reason":"{}","version":1}}"#,
            "x".repeat(length)
        )
    };
    let room = MAX_EVENT_BYTES - sized(0).len();
    assert_eq!(accept(&sized(room)).unwrap().event.encode().unwrap(), sized(room).into_bytes());
    assert_eq!(faults(&sized(room + 1)), ["event: 262145 bytes encoded, over the limit of 262144"]);
}

#[test]
fn deep_nesting_is_refused_before_it_hurts() {
    let nested =
        |depth: usize| format!(r#""metadata":{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    // The event and metadata are two levels themselves.
    assert!(accept(&format!(r#"{{"action":"a","entity":{{"type":"t"}},{}}}"#, nested(62))).is_ok());
    let place = format!("metadata.a{}", "[0]".repeat(62));
    assert_eq!(fault(&nested(63)), format!("{place}: nested deeper than 64 levels"));
    assert_eq!(fault(&nested(10_000)), format!("{place}: nested deeper than 64 levels"));
    assert!(faults(&"[".repeat(10_000))[0].ends_with("nested deeper than 64 levels"));
    assert!(faults(&r#"{"a":"#.repeat(10_000))[0].ends_with("nested deeper than 64 levels"));
}

#[test]
fn control_characters_are_kept_in_values_and_escaped_in_messages() {
    let text = r#"{"action":"a\u001b[31m","entity":{"type":"t","id":"\u0007\u202e"},"reason":"nul \u0000"}"#;
    let event = accept(text).unwrap().event;
    assert_eq!((&*event.action, event.reason.as_deref()), ("a\u{1b}[31m", Some("nul \0")));
    assert_eq!(
        fault(r#""subject":"a\u0000""#),
        "subject: holds a NUL character, which no index can"
    );
    let text = r#"{"action":"a","entity":{"type":"t"},"\u001b[2J\u202egnp":1}"#;
    let message = accept(text).unwrap_err().to_string();
    assert_eq!(message, "\\u{1b}[2J\\u{202e}gnp: unknown field; put your own data under metadata");
}

#[test]
fn a_key_that_stands_twice_is_refused_wherever_it_is() {
    let twice = "the key stands twice in one object";
    assert_eq!(fault(r#""tenant":"a","tenant":"b""#), format!("tenant: {twice}"));
    assert_eq!(fault(r#""tenant":"a","ten\u0061nt":"b""#), format!("tenant: {twice}"));
    assert_eq!(
        fault(r#""new_values":{"lines":[{"price":1,"price":2}]}"#),
        format!("new_values.lines[0].price: {twice}")
    );
}

#[test]
fn numbers_are_kept_to_the_digit_or_refused() {
    let values = r#"{"big":18446744073709551616,"small":-9223372036854775809,"exact":0.10000000000000000000001,"e":1E5}"#;
    let text = format!(r#"{{"action":"a","entity":{{"type":"t"}},"new_values":{values}}}"#);
    let event = accept(&text).unwrap().event;
    assert_eq!(event.new_values.as_ref().unwrap().as_str(), values);
    assert!(String::from_utf8(event.encode().unwrap()).unwrap().contains(values));
    assert_eq!(
        fault(r#""new_values":{"n":-1e400}"#),
        "new_values.n: the number -1e400 is beyond what a 64-bit float holds (about 1.8e308)"
    );
    let digits = "9".repeat(400);
    assert_eq!(
        fault(&format!(r#""new_values":{{"n":{digits}}}"#)),
        format!(
            "new_values.n: the number {}… (400 bytes) is beyond what a 64-bit float holds (about 1.8e308)",
            &digits[..40]
        )
    );
}

#[test]
fn only_genuine_marks_may_bear_the_reserved_key() {
    let reserved = "the key \"$annals\" is reserved for the marks that Annals writes";
    for value in [
        r#"{"$annals":1}"#,
        r#"{"$annals":{"kind":"redacted"},"x":1}"#,
        r#"{"$annals":{"kind":"made-up"}}"#,
    ] {
        assert_eq!(
            fault(&format!(r#""old_values":{{"a":{value}}}"#)),
            format!("old_values.a: {reserved}")
        );
    }
    let genuine = r#"{"a":{"$annals":{"kind":"redacted"}}}"#;
    let text = format!(r#"{{"action":"a","entity":{{"type":"t"}},"old_values":{genuine}}}"#);
    assert_eq!(accept(&text).unwrap().event.old_values.unwrap().as_str(), genuine);
}

#[test]
fn times_lie_between_1970_and_9999() {
    let of = |time: &str| format!(r#""occurred_at":"{time}""#);
    let allowed =
        "expected a time from 1970-01-01T00:00:00.000000Z to 9999-12-30T22:00:00.999999Z, found";
    assert_eq!(
        fault(&of("1969-12-31T23:59:59.9Z")),
        format!("occurred_at: {allowed} 1969-12-31T23:59:59.9Z")
    );
    assert_eq!(
        fault(&of("-009999-01-02T03:00:00Z")),
        format!("occurred_at: {allowed} -009999-01-02T03:00:00Z")
    );
    let past_the_end = fault(&of("+010000-01-01T00:00:00Z"));
    assert!(past_the_end.starts_with("occurred_at: expected a"), "{past_the_end}");
    for (given, stored) in [
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z"),
        ("9999-12-30T22:00:00.999999Z", "9999-12-30T22:00:00.999999Z"),
        ("2026-11-22T11:00:00.1234567+01:00", "2026-11-22T10:00:00.123456Z"),
    ] {
        let text = format!(r#"{{"action":"a","entity":{{"type":"t"}},{}}}"#, of(given));
        let event = accept(&text).unwrap().event;
        assert_eq!(event.occurred_at.to_string(), stored);
        assert_eq!(event.id.millis(), event.occurred_at.as_millis());
    }
}

/// The event with these identifying fields, accepted.
fn identified(fields: &str) -> annals::event::Accepted {
    accept(&format!(r#"{{"action":"a","entity":{{"type":"t"}},{fields}}}"#)).unwrap()
}

#[test]
fn a_uuid_v7_of_its_time_is_kept() {
    let accepted = identified(&format!(r#""id":"{V7}","occurred_at":"{V7_TIME}""#));
    assert_eq!((accepted.event.id.to_string().as_str(), accepted.idempotent), (V7, true));
    assert_eq!(accepted.event.source_id, None);
    // Without a time, the id's is taken, to the millisecond.
    let event = identified(&format!(r#""id":"{}""#, V7.to_uppercase())).event;
    assert_eq!(event.id.to_string(), V7);
    assert_eq!(event.occurred_at, V7_TIME.parse().unwrap());
}

#[test]
fn any_other_id_becomes_the_source_id() {
    let time = r#""occurred_at":"2026-11-22T10:00:00.123456Z""#;
    let foreign = [
        ("another time", V7),
        ("version 4", "8e8f9a3c-8d1e-4a55-9f0e-2c1d3b4a5f60"),
        ("beyond the year 9999", "ffffffff-ffff-7000-8000-000000000001"),
        ("no UUID", "order-17"),
    ];
    for (what, id) in foreign {
        let fields = format!(r#""id":"{id}",{time},"tenant":"acme","source":"legacy""#);
        let accepted = identified(&fields);
        let event = &accepted.event;
        assert_eq!(event.source_id.as_deref(), Some(id), "{what}");
        assert_eq!(event.id, EventId::derived(event.occurred_at, "acme", "legacy", id), "{what}");
        assert!(accepted.idempotent, "{what}");
        assert_eq!(event.encode(), identified(&fields).event.encode(), "sent again: {what}");
    }
    // A number is taken as its digits, and named twice alike it is one name.
    let numbered = identified(&format!(r#""id":17,"source_id":"17",{time}"#)).event;
    assert_eq!(numbered.source_id.as_deref(), Some("17"));
    assert_eq!(
        fault(&format!(r#""id":"17","source_id":"18",{time}"#)),
        "id: is not a UUIDv7 of occurred_at, so it would become source_id, but another source_id is given; send one of the two"
    );
    assert_eq!(
        fault(r#""id":"17""#),
        "occurred_at: missing; the id of an event without a UUIDv7 is derived from it"
    );
    assert_eq!(fault(r#""id":"""#), "id: must not be empty; leave it out if there is none");
}

#[test]
fn an_event_without_any_id_is_taken_but_not_recognised_again() {
    let accepted = identified(r#""reason":"x""#);
    assert!(!accepted.idempotent);
    assert_eq!(accepted.event.id.millis(), accepted.event.occurred_at.as_millis());
    let timed = identified(&format!(r#""occurred_at":"{V7_TIME}""#));
    assert!(!timed.idempotent);
    assert_eq!(timed.event.occurred_at, V7_TIME.parse().unwrap());
}

/// The derivation as DESIGN.md has it, done by hand.
#[test]
fn a_derived_id_follows_its_definition() {
    let time: Timestamp = "2026-11-22T10:00:00.123456Z".parse().unwrap();
    let id = EventId::derived(time, "acme", "legacy", "order-17");
    let digest = Sha256::digest(
        b"annals/id/v1\n\x00\x00\x00\x04acme\x00\x00\x00\x06legacy\x00\x00\x00\x08order-17",
    );
    let bits: String = digest.iter().map(|byte| format!("{byte:08b}")).collect();
    let id_bits: String = id.as_bytes().iter().map(|byte| format!("{byte:08b}")).collect();
    assert_eq!(id_bits[..48], format!("{:048b}", 1_795_341_600_123_u64), "milliseconds");
    assert_eq!(id_bits[48..52], *"0111", "version 7");
    assert_eq!(id_bits[52..64], bits[..12], "12 bits of the digest");
    assert_eq!(id_bits[64..66], *"10", "variant");
    assert_eq!(id_bits[66..], bits[12..74], "62 bits of the digest");
    // Lengths keep the parts apart.
    assert_ne!(EventId::derived(time, "a", "bc", ""), EventId::derived(time, "ab", "c", ""));
    // Computed once, by another program; the same for ever.
    assert_eq!(id.to_string(), "01a202b2-c57b-702e-9376-41881aa46f2d");
}

#[test]
fn an_encoded_event_of_arbitrary_json_values_is_json() {
    let values = json!({ "a": [1, { "b": null }], "ü": "\u{7f}" });
    let text = json!({ "action": "a", "entity": { "type": "t", "id": 9 }, "new_values": values });
    let event = accept(&text.to_string()).unwrap().event;
    assert_eq!(event.entity.to_string(), "t:9");
    let bytes = event.encode().unwrap();
    let read: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(read["new_values"], values);
}
