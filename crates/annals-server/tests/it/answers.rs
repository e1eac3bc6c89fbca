//! What is answered, and what is told of it.

use std::time::Duration;

use annals::access::Scope;
use annals::query::{Filter, Query};
use serde_json::{Value, json};

use crate::http::Request;
use crate::reading::{Scene, event};

#[tokio::test]
async fn events_are_answered_as_they_are_stored_page_by_page() {
    let scene = Scene::set().await;
    scene.fill(25).await;
    let key = scene.reader().await;
    let all = scene
        .store
        .query(Query::newest(Filter { tenant: Some("acme".into()), ..Filter::default() }))
        .await
        .unwrap();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let reply = scene.get(&format!("/v1/events?tenant=acme&limit=4{cursor}"), &key).await;
        assert_eq!(reply.status, 200);
        // The bytes, not only what they mean.
        for stored in &all.events[seen.len()..(seen.len() + 4).min(all.events.len())] {
            assert!(reply.text().contains(std::str::from_utf8(&stored.body).unwrap()));
        }
        let page = reply.json();
        seen.extend(
            page["events"].as_array().unwrap().iter().map(|row| row["position"].as_u64().unwrap()),
        );
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let positions: Vec<u64> = all.events.iter().map(|stored| stored.position).collect();
    assert_eq!(seen, positions);
    let one = scene.get(&format!("/v1/events/{}", all.events[0].id), &key).await.json();
    assert_eq!(one["event"]["id"], all.events[0].id.to_string());
}

#[tokio::test]
async fn wrong_questions_are_answered_with_what_is_wrong() {
    let scene = Scene::set().await;
    scene.fill(5).await;
    let key = scene.key(&Scope::OF_KEYS, &[]).await;
    let page = scene.get("/v1/events?limit=1", &key).await.json();
    let next = page["next"].as_str().unwrap();
    for (path, status, why) in [
        ("/v1/events?foo=1".to_owned(), 400, "\"foo\" is no parameter here; there are entity, "),
        ("/v1/events?limit=0".to_owned(), 400, "limit: expected 1 to 1000, found 0"),
        ("/v1/events?limit=many".to_owned(), 400, "limit: "),
        ("/v1/events?limit=1&limit=2".to_owned(), 400, "limit is given twice"),
        ("/v1/events?order=up".to_owned(), 400, "order: expected newest or oldest, found \"up\""),
        ("/v1/events?since=yesterday".to_owned(), 400, "since: "),
        ("/v1/events?outcome=good".to_owned(), 400, "outcome: "),
        ("/v1/events?entity=:".to_owned(), 400, "entity: "),
        ("/v1/events?tenant=%00".to_owned(), 400, "tenant: a NUL is in no event"),
        (
            "/v1/events?cursor=1-2-3-4".to_owned(),
            400,
            "cursor: expected a cursor that an earlier page gave",
        ),
        (format!("/v1/events?action=x&cursor={next}"), 409, "it belongs to another query"),
        ("/v1/events/x".to_owned(), 404, "there is no such event"),
        ("/v1/events/%ff".to_owned(), 400, ""),
        ("/v1/tail?last=10001".to_owned(), 400, "last: expected up to 10000"),
        ("/v1/export?format=xml".to_owned(), 400, "format: expected ndjson, json or csv"),
        (
            "/v1/entities/product:77/state".to_owned(),
            404,
            "no event tells anything about product:77",
        ),
        ("/v1/checkpoint".to_owned(), 404, "the log was not signed yet"),
        ("/v1/failed/x".to_owned(), 404, "no event with that id"),
        ("/v1/failed?after=x".to_owned(), 400, "after: expected the next of an earlier page"),
        ("/v1/nothing".to_owned(), 404, "there is nothing here"),
        ("/v1/stats?x=1".to_owned(), 400, "\"x\" is no parameter here"),
    ] {
        let reply = scene.get(&path, &key).await;
        assert_eq!(reply.status, status, "{path}: {}", String::from_utf8_lossy(reply.body()));
        assert!(reply.detail().starts_with(why), "{path}: {}", reply.detail());
    }
    for (body, kind, status) in [
        ("{", "application/json", 400),
        ("{\"reason\":\"x\",\"more\":1}", "application/json", 400),
        ("{\"reason\":\"\",\"entity\":\"a:b\"}", "application/json", 400),
        ("{\"reason\":\"x\"}", "application/json", 400),
        ("{}", "text/plain", 415),
        (&format!("{{\"reason\":\"{}\"}}", "x".repeat(1_100_000)), "application/json", 413),
    ] {
        let request = Request::post(scene.address, body).line("POST /v1/holds HTTP/1.1");
        let reply = request.with("Content-Type", kind).key(&key).send(scene.address).await;
        assert_eq!(reply.status, status, "{body:.40}");
        assert!(!reply.detail().is_empty());
    }
    let twice = Request::get(scene.address, "/v1/events").key(&key);
    let mut twice = twice;
    twice.headers.push(("Authorization".to_owned(), "Bearer x".to_owned()));
    assert_eq!(twice.send(scene.address).await.status, 401);
}

#[tokio::test]
async fn who_has_an_answer_already_does_not_get_it_again() {
    let scene = Scene::set().await;
    let [acme, ..] = scene.fill(5).await;
    let key = scene.reader().await;
    let path = format!("/v1/events/{acme}");
    let first = scene.get(&path, &key).await;
    let tag = first.header("etag").unwrap().to_owned();
    assert_eq!(first.header("cache-control"), Some("private, no-cache"));
    let ask = |tag: &str| Request::get(scene.address, &path).key(&key).with("If-None-Match", tag);
    let again = ask(&format!("\"other\", W/{tag}")).send(scene.address).await;
    assert_eq!((again.status, again.body()), (304, &b""[..]));
    assert_eq!(again.header("etag"), Some(&*tag));
    assert_eq!(ask("\"other\"").send(scene.address).await.status, 200);
    let other = scene.get("/v1/events", &key).await;
    assert_ne!(other.header("etag"), Some(&*tag));
}

#[tokio::test]
async fn each_request_has_a_name() {
    let scene = Scene::set().await;
    let key = scene.reader().await;
    let given = Request::get(scene.address, "/v1/events").key(&key).with("X-Request-Id", "mine-1");
    assert_eq!(given.send(scene.address).await.header("x-request-id"), Some("mine-1"));
    let one = scene.get("/v1/events", &key).await;
    let other = scene.get("/v1/nothing", &key).await;
    let names = [&one, &other].map(|reply| reply.header("x-request-id").unwrap().to_owned());
    assert_ne!(names[0], names[1]);
    let long = Request::get(scene.address, "/livez").with("X-Request-Id", &"x".repeat(129));
    let reply = long.send(scene.address).await;
    assert!(reply.header("x-request-id").unwrap().len() < 129);
}

#[tokio::test]
async fn who_looked_at_what_is_in_the_trail() {
    let scene = Scene::set().await;
    scene.fill(5).await;
    let key = scene.key(&[Scope::Operate, Scope::Read], &[]).await;
    let bound = scene.key(&[Scope::Read], &["acme"]).await;
    scene.get("/v1/events?entity=product:1", &key).await;
    scene.get("/v1/stats", &bound).await;
    let hold = json!({"entity": "product:1", "reason": "asked"}).to_string();
    let hold = Request::post(scene.address, hold).line("POST /v1/holds HTTP/1.1").key(&key);
    let held = hold.send(scene.address).await.json();
    scene.keyring().revoke(&key[7..23], None).await.unwrap();
    // Another unknown key makes the server look.
    let unknown = format!("annals_{}_{}", "0".repeat(16), "0".repeat(64));
    scene.get("/v1/events", &unknown).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    scene.get("/v1/events", &unknown).await;
    scene.get("/v1/events", &key).await;
    let events = scene.work().await;
    let told: Vec<Value> = events
        .iter()
        .map(|event| {
            assert_eq!(event.tenant.as_deref(), Some("annals"));
            let metadata: Value =
                serde_json::from_str(event.metadata.as_ref().unwrap().as_str()).unwrap();
            json!([
                &*event.action,
                event.outcome.as_str(),
                event.entity.id.as_deref(),
                event.actor.as_ref().and_then(|actor| actor.id.as_deref()),
                event.context.url.as_deref(),
                metadata["status"]
            ])
        })
        .collect();
    let (id, other) = (&key[7..23], &bound[7..23]);
    assert_eq!(
        told,
        [
            json!(["annals.read", "success", "/v1/events", id, "/v1/events?entity=product:1", 200]),
            json!(["annals.read", "denied", "/v1/stats", other, "/v1/stats", 403]),
            json!(["annals.operated", "success", "/v1/holds", id, "/v1/holds", 201]),
            json!(["annals.denied", "denied", "/v1/events", "0000000000000000", "/v1/events", 401]),
            json!(["annals.denied", "denied", "/v1/events", "0000000000000000", "/v1/events", 401]),
            json!(["annals.denied", "denied", "/v1/events", id, "/v1/events", 401]),
        ]
    );
    let metadata = events[2].metadata.as_ref().unwrap();
    let details: Value = metadata.get("details").unwrap();
    assert_eq!(details["hold"], held["id"]);
    assert_eq!(events[0].context.ip.as_deref(), Some("127.0.0.1"));
}

/// Somebody who tries keys fills neither queue nor trail.
#[tokio::test]
async fn refusals_are_told_of_up_to_a_bound_and_counted_beyond() {
    let scene = Scene::set().await;
    let end = annals::Timestamp::now().after(Duration::from_millis(50));
    let expired = scene.make(&[Scope::Read], &[], None, Some(end)).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    for number in 0..70 {
        let request = Request::get(scene.address, "/v1/events").key(&expired);
        let request = request.with("X-Forwarded-For", &format!("192.0.2.{number}"));
        assert_eq!(request.send(scene.address).await.status, 401);
    }
    assert_eq!(scene.work().await.len(), 60);
}

#[tokio::test]
async fn what_could_not_be_stored_is_looked_after() {
    let scene = Scene::set().await;
    let key = scene.key(&[Scope::Operate], &[]).await;
    let ids = crate::reading::bury(&scene, 5).await;
    let first = scene.get("/v1/failed?limit=3", &key).await.json();
    let next = first["next"].as_str().unwrap().to_owned();
    let rest = scene.get(&format!("/v1/failed?limit=3&after={next}"), &key).await.json();
    let listed = [&first, &rest].map(|page| page["failed"].as_array().unwrap().clone()).concat();
    let listed: Vec<&str> = listed.iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(listed, ids);
    assert_eq!(rest["next"], Value::Null);
    let one = scene.get(&format!("/v1/failed/{}", ids[0]), &key).await.json();
    assert_eq!(one["reason"], "it is bad");
    assert!(one["body"].as_str().unwrap().contains(&ids[0]));
    let post = async |body: Value| {
        let request = Request::post(scene.address, body.to_string()).key(&key);
        request.line("POST /v1/failed/retry HTTP/1.1").send(scene.address).await
    };
    let absent =
        post(json!({"ids": [ids[1], annals::EventId::at(annals::Timestamp::now()).to_string()]}))
            .await;
    assert_eq!(absent.status, 404, "nothing is done if one is missing");
    assert_eq!(scene.queue.stats().await.unwrap().failed, 5);
    assert_eq!(post(json!({"ids": [ids[1]]})).await.json(), json!({"events": 1}));
    let path = format!("DELETE /v1/failed/{} HTTP/1.1", ids[0]);
    let removed = Request::get(scene.address, "").line(&path).key(&key).send(scene.address).await;
    assert_eq!(removed.json(), json!({"events": 1}));
    assert_eq!(post(json!({"all": true})).await.json(), json!({"events": 3}));
    assert_eq!(post(json!({})).await.status, 400);
    assert_eq!(scene.queue.stats().await.unwrap().failed, 0);
}

#[tokio::test]
async fn an_entitys_state_at_a_time_is_rebuilt() {
    let scene = Scene::set().await;
    scene.append(&[event(0), event(30), event(60)]).await;
    let key = scene.key(&[Scope::Read], &["acme"]).await;
    let ask =
        async |at: &str| scene.get(&format!("/v1/entities/product:0/state{at}"), &key).await.json();
    assert_eq!(ask("?at=2026-11-22T10:00:00.031Z").await["values"]["price"], 31);
    assert_eq!(ask("").await["values"]["price"], 61);
}

/// One damaged row does not hide the others.
#[tokio::test]
async fn a_damaged_event_is_answered_as_one() {
    let scene = Scene::set().await;
    scene.fill(3).await;
    let file = scene.directory.path().join("events.db");
    let connection = rusqlite::Connection::open(file).unwrap();
    connection.execute("UPDATE annals_events SET body = x'7b' WHERE position = 0", []).unwrap();
    let key = scene.reader().await;
    let page = scene.get("/v1/events?order=oldest", &key).await.json();
    let rows = page["events"].as_array().unwrap();
    assert_eq!(rows[0]["event"], Value::Null);
    assert!(rows[0]["damaged"].as_str().unwrap().starts_with("what is stored is no event"));
    assert_eq!(rows[1]["event"]["tenant"], "globex");
    let found = scene.get("/v1/verify", &key).await.json();
    assert_eq!(
        (found["whole"].clone(), found["findings"][0]["kind"].clone()),
        (json!(false), json!("changed"))
    );
}
