//! What is taken, what is refused, and what the answer says.

use std::sync::Arc;

use annals::redact::{Fields, Redactor};
use annals::transport::memory::MemoryTransport;
use annals_server::Limits;
use serde_json::{Value, json};

use crate::http::{Reply, Request};
use crate::served::{Served, event};

async fn post(served: &Served, body: &Value) -> Reply {
    Request::post(served.address, body.to_string()).send(served.address).await
}

#[tokio::test]
async fn one_event_an_array_and_lines_are_taken() {
    let served = Served::start().await;
    let one = post(&served, &event(1)).await;
    assert_eq!((one.status, &one.json()["accepted"]), (202, &json!(1)));
    let two = post(&served, &json!([event(2), event(3)])).await;
    assert_eq!((two.status, &two.json()["accepted"]), (202, &json!(2)));
    let lines = format!("{}\r\n\n{}", event(4), event(5));
    let lines = Request::ndjson(served.address, lines).send(served.address).await;
    assert_eq!((lines.status, &lines.json()["accepted"]), (202, &json!(2)));

    // Whoever has the answer has the events in the transport, in their order.
    let events = served.events().await;
    let entities: Vec<_> = events.iter().map(|event| event.entity.to_string()).collect();
    assert_eq!(entities, ["product:1", "product:2", "product:3", "product:4", "product:5"]);
    let ids: Vec<_> = events.iter().map(|event| event.id.to_string()).collect();
    let answered = [&one.json()["ids"], &two.json()["ids"], &lines.json()["ids"]]
        .into_iter()
        .flat_map(|ids| ids.as_array().unwrap().clone())
        .collect::<Vec<_>>();
    assert_eq!(json!(ids), json!(answered));
    assert!(events.iter().all(|event| event.producer.is_none() && event.context.service.is_none()));
}

#[tokio::test]
async fn sending_again_gives_the_same_ids_and_bytes() {
    let served = Served::start().await;
    let body = json!([event(1), {
        "id": "019aab5c-a880-7000-8000-000000000001",
        "action": "login", "entity": {"type": "session"},
    }]);
    let first = post(&served, &body).await;
    let again = post(&served, &body).await;
    assert_eq!(first.status, 202);
    assert_eq!(first.json(), again.json());
    let bodies = served.bodies().await;
    assert_eq!(bodies[..2], bodies[2..]);
}

#[tokio::test]
async fn one_bad_event_among_ten_thousand_harms_none_of_them() {
    let served = Served::start().await;
    let mut events: Vec<Value> = (0..10_000).map(event).collect();
    events[7_777] = json!({"action": "", "entity": {"type": "product"}, "colour": "red"});
    let reply = post(&served, &Value::Array(events)).await;
    assert_eq!(reply.status, 202);
    let answer = reply.json();
    assert_eq!(answer["accepted"], 9_999);
    let reason =
        "colour: unknown field; put your own data under metadata; action: must not be empty";
    assert_eq!(answer["rejected"], json!([{"index": 7_777, "reason": reason}]));
    assert_eq!(answer["ids"].as_array().unwrap().len(), 10_000);
    assert_eq!(answer["ids"][7_777], Value::Null);
    assert_eq!(served.events().await.len(), 9_999);
}

#[tokio::test]
async fn every_bad_event_is_named_with_its_reason() {
    let served = Served::start().await;
    let deep = format!(
        r#"{{"action":"x","entity":{{"type":"t"}},"metadata":{{"a":{}{}}}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let huge = json!({"action": "x", "entity": {"type": "t"}, "metadata": {"a": "x".repeat(256 * 1024 + 1)}});
    for (body, reason) in [
        ("42".to_owned(), "expected an object, found 42"),
        (r#"{"entity":{"type":"t"}}"#.to_owned(), "action: missing"),
        (r#"{"action":"","entity":{"type":"t"}}"#.to_owned(), "action: must not be empty"),
        (r#"{"action":"annals.x","entity":{"type":"t"}}"#.to_owned(), "is reserved"),
        (r#"{"action":7,"entity":{"type":"t"}}"#.to_owned(), "action: expected text, found 7"),
        (
            r#"{"action":"x","action":"y","entity":{"type":"t"}}"#.to_owned(),
            "action: the key stands twice",
        ),
        (
            r#"{"action":"x","entity":{"type":"t"},"metadata":{"n":1e999}}"#.to_owned(),
            "beyond what a 64-bit float holds",
        ),
        (
            r#"{"action":"x\u0000","entity":{"type":"t"}}"#.to_owned(),
            "action: holds a NUL character",
        ),
        (
            r#"{"action":"x","entity":{"type":"t"},"occurred_at":"10000-01-01T00:00:00Z"}"#
                .to_owned(),
            "occurred_at: ",
        ),
        (deep, "nested deeper than"),
        (huge.to_string(), "over the limit of 262144"),
    ] {
        let reply = Request::post(served.address, format!("[{body}]")).send(served.address).await;
        assert_eq!(reply.status, 422, "{body:.80}");
        let detail = reply.detail();
        assert!(detail.contains(reason), "{body:.80}: {detail}");
        assert_eq!(reply.json()["accepted"], 0);
        assert_eq!(reply.json()["rejected"][0]["index"], 0);
    }
    assert!(served.bodies().await.is_empty());
}

#[tokio::test]
async fn what_is_not_json_is_refused_whole() {
    let served = Served::start().await;
    let good = event(1).to_string();
    for (body, byte) in [
        (b"hello".to_vec(), "byte 0"),
        (Vec::new(), "empty"),
        (format!("[{good},{{]").into_bytes(), "byte"),
        (format!("[{good}").into_bytes(), "byte"),
        ([b"[\"".as_slice(), b"\xff\"]"].concat(), "not UTF-8 at byte 2"),
        (vec![b'['; 10_000], "byte 9999"),
    ] {
        let reply = Request::post(served.address, body).send(served.address).await;
        assert_eq!(reply.status, 400);
        assert!(reply.detail().contains(byte), "{}", reply.detail());
    }
    assert!(served.bodies().await.is_empty());
}

#[tokio::test]
async fn a_bad_line_leaves_the_others_whole() {
    let served = Served::start().await;
    let body = [
        event(1).to_string().as_bytes(),
        b"\n{\"action\":\n\xff\xfe\n",
        event(2).to_string().as_bytes(),
    ]
    .concat();
    let reply = Request::ndjson(served.address, body).send(served.address).await;
    assert_eq!(reply.status, 202);
    let answer = reply.json();
    assert_eq!(answer["accepted"], 2);
    assert_eq!(answer["rejected"][0]["index"], 1);
    assert_eq!(answer["rejected"][1], json!({"index": 2, "reason": "not UTF-8 at byte 0"}));
    assert_eq!(served.events().await.len(), 2);
}

#[tokio::test]
async fn a_foreign_id_and_strange_times_are_kept() {
    let served = Served::start().await;
    let body = json!([
        {"id": "order-17", "action": "x", "entity": {"type": "t"}, "occurred_at": "1970-01-01T00:00:00Z"},
        {"id": "019aab5c-a880-7000-8000-000000000001", "action": "x", "entity": {"type": "t"}, "occurred_at": "9999-01-01T00:00:00Z"},
    ]);
    assert_eq!(post(&served, &body).await.status, 202);
    let events = served.events().await;
    assert_eq!(events[0].source_id.as_deref(), Some("order-17"));
    assert_eq!(events[1].source_id.as_deref(), Some("019aab5c-a880-7000-8000-000000000001"));
    assert_eq!(events[1].id.millis(), events[1].occurred_at.as_millis());
}

#[tokio::test]
async fn an_empty_array_is_nothing_to_do() {
    let served = Served::start().await;
    let reply = post(&served, &json!([])).await;
    assert_eq!(
        (reply.status, reply.json()),
        (202, json!({"accepted": 0, "rejected": [], "ids": []}))
    );
}

#[tokio::test]
async fn what_is_to_be_redacted_is_not_even_queued() {
    let fields = Fields::of(&["product.pin".to_owned()], &[], &[]).unwrap();
    let redactor = Arc::new(Redactor::new(fields, None, true).unwrap());
    let transport = Arc::new(MemoryTransport::new());
    let served = Served::redacting(transport, Limits::default(), Some(redactor.clone())).await;
    let mut secret = event(1);
    secret["new_values"] = json!({"note": "card 4111111111111111", "pin": "needle"});
    let reply = post(&served, &json!([secret.clone(), event(2)])).await;
    assert_eq!((reply.status, &reply.json()["accepted"]), (202, &json!(2)));
    let again = post(&served, &secret).await;
    assert_eq!(again.json()["ids"][0], reply.json()["ids"][0], "it is the same event");
    let bodies = served.bodies().await;
    assert_eq!(bodies[0], bodies[2]);
    let text = String::from_utf8(bodies[0].clone()).unwrap();
    assert!(!text.contains("4111") && !text.contains("needle"), "{text}");
    assert!(text.contains(r#""note":"card [redacted: card number]""#), "{text}");
    assert_eq!(redactor.counts(), (2, 2));
}
