//! What each role sees and may do, and for whom.

use annals::access::{Role, TENANT};
use annals::{Entity, Event};
use serde_json::{Value, json};

use super::Browser;
use crate::reading::{MARK, Scene, event};

/// What only auditors see.
const LOOKED: &str = "looked-by-somebody";

/// Somebody's look, as the server tells of it.
fn look() -> Event {
    Event::new("annals.read", Entity::new("annals.api", LOOKED))
        .tenant(TENANT)
        .actor(annals::Actor::new("person", LOOKED))
        .occurred_at("2026-11-22T11:00:00Z".parse().unwrap())
}

#[tokio::test]
async fn who_looked_is_for_auditors_and_administrators() {
    let scene = Scene::set().await;
    scene.fill(30).await;
    let looked = look();
    scene.append_system(&looked).await;
    scene.sign().await;
    let paths = [
        "/v1/events?limit=1000".to_owned(),
        format!("/v1/events?actor=person:{LOOKED}"),
        "/v1/events?entity_type=annals.api".to_owned(),
        format!("/v1/entities/annals.api:{LOOKED}/events"),
        "/v1/export".to_owned(),
        "/v1/facets?by=tenant,actor,entity_type,action".to_owned(),
        "/v1/histogram?by=actor".to_owned(),
        format!("/v1/events/{}", looked.id),
        format!("/v1/events/{}/proof", looked.id),
    ];
    for (name, role, audits) in [
        ("reader", Role::Reader, false),
        ("operator", Role::Operator, false),
        ("auditor", Role::Auditor, true),
        ("administrator", Role::Administrator, true),
    ] {
        let browser = scene.browser(name, role, &[]).await;
        for path in &paths {
            let reply = browser.get(path).await;
            let text = String::from_utf8_lossy(reply.body()).into_owned();
            let shows =
                [LOOKED, "annals.read", "\"annals\""].iter().any(|what| text.contains(what));
            let named = path.ends_with("/proof") || path.contains("histogram");
            assert!(shows == audits || (audits && named), "{name} {path}: {text}");
            assert!(audits || !text.contains(LOOKED), "{name} {path}: {text}");
        }
        let own = browser.get(&format!("/v1/events?tenant={TENANT}")).await;
        assert_eq!(own.status, if audits { 200 } else { 403 }, "{name}");
        let all = browser.get("/v1/events?limit=1000").await.json();
        let applications = all["events"].as_array().unwrap().iter();
        let applications = applications.filter(|row| row["event"]["tenant"] != TENANT);
        assert_eq!(applications.count(), 30, "{name} sees what applications tell");
        let facets = browser.get("/v1/facets?by=tenant").await.json();
        let events = facets["events"].as_u64().unwrap();
        assert!(if audits { events > 30 } else { events == 30 }, "{name}: {facets}");
        if !audits {
            // One that there is and one that there is not look the same.
            let [there, absent] = [looked.id, event(1).id].map(|id| format!("/v1/events/{id}"));
            let (there, absent) = (browser.get(&there).await, browser.get(&absent).await);
            assert_eq!((there.status, there.text()), (absent.status, absent.text()));
        }
    }
}

/// What somebody of acme sees of who may use the server.
#[tokio::test]
async fn an_administrator_of_one_tenant_gives_no_more_than_that() {
    let scene = Scene::set().await;
    let boss = scene.browser("boss", Role::Administrator, &[]).await;
    let of_acme = scene.browser("of acme", Role::Administrator, &["acme"]).await;
    let hidden = scene.browser(MARK, Role::Reader, &["globex"]).await;
    let both = scene.person("both", Role::Reader, &["acme", "globex"]).await;
    let jo = scene.person("jo", Role::Reader, &["acme"]).await;
    let made = |reply: &crate::http::Reply| {
        assert_eq!(reply.status, 201, "{}", reply.text());
        reply.json()
    };
    let key = json!({"name": "shop", "scopes": ["ingest"], "tenants": ["globex"]});
    let globex = made(&boss.send("POST", "/v1/keys", &key).await)["key"]["id"].clone();
    let globex = globex.as_str().unwrap();
    // Their lists tell of their own.
    let names = |reply: Value, what: &str| -> Vec<String> {
        let listed = reply[what].as_array().unwrap().iter();
        let mut names: Vec<String> =
            listed.map(|one| one["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(of_acme.get("/v1/people").await.json(), "people"), ["jo", "of acme"]);
    assert_eq!(names(of_acme.get("/v1/sessions").await.json(), "sessions"), ["of acme"]);
    assert_eq!(names(of_acme.get("/v1/keys").await.json(), "keys"), [] as [&str; 0]);
    assert_eq!(names(boss.get("/v1/people").await.json(), "people").len(), 5);
    // What is others' is as what is not there.
    let session = &hidden.cookie[22..38];
    let absent = "0".repeat(16);
    for (method, path, body, theirs) in [
        ("PATCH", "/v1/people/ID", json!({"disabled": true}), &hidden.person.id[..]),
        ("PATCH", "/v1/people/ID", json!({"role": "auditor"}), &boss.person.id),
        ("PATCH", "/v1/people/ID", json!({"role": "auditor"}), &both.id),
        ("POST", "/v1/people/ID/link", json!({}), &hidden.person.id),
        ("POST", "/v1/people/ID/link", json!({}), &boss.person.id),
        ("DELETE", "/v1/sessions/ID", json!({}), session),
        ("DELETE", "/v1/keys/ID", json!({}), globex),
        ("POST", "/v1/keys/ID/rotate", json!({}), globex),
    ] {
        let there = of_acme.send(method, &path.replace("ID", theirs), &body).await;
        let none = of_acme.send(method, &path.replace("ID", &absent), &body).await;
        assert_eq!((there.status, there.text()), (404, none.text()), "{method} {path}");
    }
    // They give what they have.
    for (path, body) in [
        ("/v1/people", json!({"name": "x", "role": "reader", "all_tenants": true})),
        ("/v1/people", json!({"name": "x", "role": "reader", "tenants": ["globex"]})),
        ("/v1/people", json!({"name": "x", "role": "auditor", "tenants": ["acme", "annals"]})),
        ("/v1/keys", json!({"name": "x", "scopes": ["read"], "all_tenants": true})),
        ("/v1/keys", json!({"name": "x", "scopes": ["read"], "tenants": ["acme", "globex"]})),
    ] {
        let reply = of_acme.send("POST", path, &body).await;
        assert_eq!(reply.status, 403, "{path} {body}: {}", reply.text());
    }
    let path = format!("/v1/people/{}", jo.id);
    let reply = of_acme.send("PATCH", &path, &json!({"all_tenants": true})).await;
    assert_eq!(reply.status, 403);
    let reply = of_acme.send("PATCH", &path, &json!({"role": "operator"})).await;
    assert_eq!((reply.status, &reply.json()["role"]), (200, &json!("operator")));
    let own = json!({"name": "x", "scopes": ["read"], "tenants": ["acme"]});
    let made = made(&of_acme.send("POST", "/v1/keys", &own).await);
    let secret = made["secret"].as_str().unwrap();
    assert_eq!(scene.get("/v1/events", secret).await.status, 200);
    let path = format!("/v1/keys/{}", made["key"]["id"].as_str().unwrap());
    assert_eq!(of_acme.send("DELETE", &path, &json!({})).await.json(), json!({"revoked": true}));
    assert_eq!(scene.get("/v1/events", secret).await.status, 401);
}

#[tokio::test]
async fn an_administrator_makes_people_and_keys() {
    let scene = Scene::set().await;
    let boss = scene.browser("boss", Role::Administrator, &[]).await;
    let post = async |browser: &Browser<'_>, path: &str, body: Value| {
        let reply = browser.send("POST", path, &body).await;
        (reply.status, reply.json())
    };
    let (status, made) =
        post(&boss, "/v1/people", json!({"name": "jo", "role": "reader", "tenants": ["acme"]}))
            .await;
    assert_eq!((status, &made["person"]["can_sign_in"]), (201, &json!(false)));
    let link = made["path"].as_str().unwrap().strip_prefix("/welcome?link=").unwrap();
    let fields = [("link", link), ("name", "jo"), ("password", "another horse battery")];
    let reply = scene.form("/welcome", &fields).send(scene.address).await;
    assert_eq!(reply.status, 303);
    // A link sets another password; the first one is good until then.
    let id = made["person"]["id"].as_str().unwrap();
    let (status, again) = post(&boss, &format!("/v1/people/{id}/link"), json!({})).await;
    assert_eq!(status, 200);
    assert_eq!(scene.sign_in("jo", "another horse battery").await.status, 303);
    assert_ne!(again["path"], made["path"]);
    // Keys are made, replaced and revoked.
    let new = json!({"name": "shop", "scopes": ["ingest", "read"], "all_tenants": true, "source": "shop"});
    let (status, made) = post(&boss, "/v1/keys", new).await;
    assert_eq!((status, &made["key"]["scopes"]), (201, &json!(["ingest", "read"])));
    let id = made["key"]["id"].as_str().unwrap();
    let (status, rotated) =
        post(&boss, &format!("/v1/keys/{id}/rotate"), json!({"overlap": "1h"})).await;
    assert_eq!(status, 201);
    for made in [&made, &rotated] {
        assert_eq!(scene.get("/v1/events", made["secret"].as_str().unwrap()).await.status, 200);
    }
    let keys = boss.get("/v1/keys").await;
    assert!(!keys.text().contains(&made["secret"].as_str().unwrap()[24..]));
    // What is wrong is said, and nothing is done.
    for (path, body, told) in [
        (
            "/v1/people",
            json!({"name": "JO", "role": "reader", "all_tenants": true}),
            "there already",
        ),
        (
            "/v1/people",
            json!({"name": "al", "role": "boss", "all_tenants": true}),
            "role: expected",
        ),
        ("/v1/people", json!({"name": "al", "role": "reader"}), "give tenants"),
        ("/v1/people", json!({"name": "al", "role": "reader", "tenants": []}), "1 to 100"),
        (
            "/v1/people",
            json!({"name": "al", "role": "reader", "tenants": ["annals"]}),
            "for auditors",
        ),
        (
            "/v1/keys",
            json!({"name": "x", "scopes": ["administer"], "all_tenants": true}),
            "for people",
        ),
        ("/v1/keys", json!({"name": "x", "scopes": [], "all_tenants": true}), "without a scope"),
        (
            "/v1/keys",
            json!({"name": "x", "scopes": ["read"], "all_tenants": false}),
            "give tenants",
        ),
        (
            "/v1/keys",
            json!({"name": "x", "scopes": ["read"], "all_tenants": true, "expires_at": "2020-01-01T00:00:00Z"}),
            "expired already",
        ),
    ] {
        let (status, reply) = post(&boss, path, body.clone()).await;
        let detail = reply["detail"].as_str().unwrap();
        assert!(status == 400 && detail.contains(told), "{path} {body}: {status} {detail}");
    }
    let path = format!("/v1/people/{}", boss.person.id);
    let reply = boss.send("PATCH", &path, &json!({"disabled": true})).await;
    assert!(reply.detail().contains("nobody else administers"), "{}", reply.detail());
    // All of it is in the trail, by whom.
    let by_boss = scene.work().await.into_iter().filter(|event| {
        event.actor.as_ref().and_then(|actor| actor.id.as_deref()) == Some(&*boss.person.id)
    });
    let told: Vec<String> = by_boss.map(|event| event.action.to_string()).collect();
    for action in ["annals.person.invited", "annals.key.created", "annals.key.rotated"] {
        assert!(told.iter().any(|told| told == action), "{action}: {told:?}");
    }
}
