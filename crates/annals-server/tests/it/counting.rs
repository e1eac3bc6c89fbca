//! Counts of events, and who sees which.

use std::sync::Arc;

use annals::access::Scope;
use annals::rollup::Roller;
use serde_json::{Value, json};

use crate::reading::{MARK, Scene};

/// Counted or not counted yet, the answers are the same.
#[tokio::test]
async fn facets_and_histograms_tell_what_there_is() {
    let scene = Scene::set().await;
    scene.fill(30).await;
    // An event of its own, which is of no product.
    let key = scene.reader().await;
    let mut roller = Roller::new(Arc::clone(&scene.store)).unwrap();
    for counted in [false, true] {
        if counted {
            while roller.roll().await.unwrap() {}
        }
        let reply =
            scene.get("/v1/facets?entity_type=product&by=action,tenant,service", &key).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let scope = json!({"position": 31, "complete": true, "recounting": 0});
        assert_eq!(
            reply.json(),
            json!({
                "events": 30, "since": null, "until": null, "counted": scope,
                "facets": [
                    {"by": "action", "values": [{"value": "updated", "events": 30}], "distinct": 1, "other": 0},
                    {"by": "tenant", "distinct": 3, "other": 0, "values": [
                        {"value": null, "events": 10}, {"value": "acme", "events": 10},
                        {"value": "globex", "events": 10}]},
                    {"by": "service", "values": [{"value": null, "events": 30}], "distinct": 1, "other": 0},
                ],
            })
        );
        let path = "/v1/facets?by=actor&limit=2&tenant=acme&entity_type=product&outcome=success";
        let actors = scene.get(path, &key).await.json();
        // Of 0, 3, 6 … 27 by their remainder of 7.
        let values =
            json!([{"value": "user:seen-0", "events": 2}, {"value": "user:seen-3", "events": 2}]);
        assert_eq!(actors["facets"][0]["values"], values);
        assert_eq!(
            (&actors["facets"][0]["distinct"], &actors["facets"][0]["other"]),
            (&json!(7), &json!(6))
        );
        let of_one = scene.get("/v1/facets?actor=user:seen-3", &key).await.json();
        assert_eq!(of_one["events"], 2);
        let path = "/v1/histogram?entity_type=product&since=2026-11-22T08:30:00Z&until=2026-11-22T10:00:00.5Z&step=hour&by=tenant&limit=2";
        let histogram = scene.get(path, &key).await.json();
        assert_eq!(
            histogram,
            json!({
                "events": 30, "since": "2026-11-22T08:00:00.000000Z", "until": "2026-11-22T11:00:00.000000Z",
                "counted": scope, "step": "hour", "lines": [null, "acme"],
                "buckets": [
                    {"from": "2026-11-22T08:00:00.000000Z", "events": 0, "lines": [0, 0]},
                    {"from": "2026-11-22T09:00:00.000000Z", "events": 0, "lines": [0, 0]},
                    {"from": "2026-11-22T10:00:00.000000Z", "events": 30, "lines": [10, 10]},
                ],
            })
        );
        let years = scene
            .get("/v1/histogram?entity_type=product&since=1970-01-01T00:00:00Z&step=hour", &key)
            .await
            .json();
        assert_eq!(years["step"], "week", "no more than 10,000 buckets");
        assert_eq!(
            years["buckets"]
                .as_array()
                .unwrap()
                .iter()
                .map(|bucket| bucket["events"].as_u64().unwrap())
                .sum::<u64>(),
            30
        );
        let month = "since=2026-11-01T00:00:00Z&until=2026-12-01T00:00:00Z";
        let month = scene.get(&format!("/v1/histogram?{month}"), &key).await.json();
        assert_eq!(
            (&month["step"], month["buckets"].as_array().unwrap().len()),
            (&json!("day"), 30)
        );
        let nothing = scene.get("/v1/histogram?action=nothing", &key).await.json();
        assert_eq!((&nothing["events"], &nothing["buckets"]), (&json!(0), &json!([])));
    }
}

#[tokio::test]
async fn what_is_not_counted_by_is_refused() {
    let scene = Scene::set().await;
    let key = scene.reader().await;
    for (path, why) in [
        ("facets?entity=product:1", "\"entity\" is no parameter here; there are entity_type, "),
        ("facets?changed=price", "\"changed\" is no parameter here"),
        ("histogram?request=r-1", "\"request\" is no parameter here"),
        (
            "facets?by=action,price",
            "by: expected action, entity_type, actor, tenant, outcome or service, found \"price\"",
        ),
        ("facets?by=", "by is empty"),
        ("facets?limit=1001", "limit: expected 1 to 1000, found 1001"),
        ("histogram?limit=101", "limit: expected 1 to 100, found 101"),
        (
            "histogram?step=minute",
            "step: expected hour, day, week, month or year, found \"minute\"",
        ),
        ("histogram?by=action,actor", "by: "),
        ("facets?since=soon", "since: "),
    ] {
        let reply = scene.get(&format!("/v1/{path}"), &key).await;
        assert_eq!(reply.status, 400, "{path}");
        assert!(reply.detail().contains(why), "{path}: {}", reply.detail());
    }
}

/// Neither counts nor values of others.
#[tokio::test]
async fn a_key_of_one_tenant_counts_its_own() {
    let scene = Scene::set().await;
    scene.fill(60).await;
    let key = scene.key(&[Scope::Read], &["acme"]).await;
    let both = scene.key(&[Scope::Read], &["acme", "umbrella"]).await;
    let mut roller = Roller::new(Arc::clone(&scene.store)).unwrap();
    for counted in [false, true] {
        if counted {
            while roller.roll().await.unwrap() {}
        }
        for key in [&key, &both] {
            for path in
                ["facets", "facets?tenant=acme", "histogram", "histogram?by=actor&limit=100"]
            {
                let reply = scene.get(&format!("/v1/{path}"), key).await;
                assert_eq!(reply.json()["events"], 20, "{path}: {}", reply.text());
                assert!(!reply.text().contains(MARK) && !reply.text().contains("globex"), "{path}");
            }
            let tenants = scene.get("/v1/facets?by=tenant", key).await.json();
            let acme = json!([{"value": "acme", "events": 20}]);
            assert_eq!(tenants["facets"][0]["values"], acme);
            for path in ["facets", "histogram"] {
                let reply = scene.get(&format!("/v1/{path}?tenant=globex"), key).await;
                assert_eq!(reply.status, 403, "{path}");
            }
        }
    }
    // That somebody else's events were removed is none of its business.
    let all: Value = scene.get("/v1/facets", &scene.reader().await).await.json();
    assert_eq!(all["counted"]["recounting"], 0);
    let globex = scene.get("/v1/events?tenant=globex&limit=1", &scene.reader().await).await.json();
    let position = globex["events"][0]["position"].as_u64().unwrap();
    let stored = scene.store.window(position, 1).await.unwrap().remove(0);
    let occurred_at = stored.event().unwrap().occurred_at;
    let spot = annals::store::Spot { position, id: stored.id, occurred_at };
    scene.store.retain().unwrap().remove(&[spot]).await.unwrap();
    let all: Value = scene.get("/v1/facets", &scene.reader().await).await.json();
    assert_eq!(all["counted"]["recounting"], 1);
    let own = scene.get("/v1/facets", &key).await.json();
    assert_eq!(own["counted"]["recounting"], Value::Null);
}
