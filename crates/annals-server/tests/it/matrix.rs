//! Every operation that is described, asked for with every kind of key.

use std::time::Duration;

use annals::Timestamp;
use annals::access::{Role, Scope};
use serde_json::{Value, json};

use crate::http::{Reply, Request};
use crate::reading::{MARK, Scene};

/// What the tests know of an operation. One that is described and does not stand here fails
/// them.
#[derive(Clone, Copy)]
struct Operation {
    method: &'static str,
    path: &'static str,
    needs: Option<Scope>,
    /// Whether programs of this machine need no key.
    near: bool,
    /// Whether it is for whoever is let in, whatever for.
    anybody: bool,
    /// Whether keys that are bound to some tenants are refused.
    of_all_tenants: bool,
    body: Option<fn() -> Value>,
}

const fn public(path: &'static str) -> Operation {
    Operation {
        method: "get",
        path,
        needs: None,
        near: true,
        anybody: false,
        of_all_tenants: false,
        body: None,
    }
}

const fn read(path: &'static str) -> Operation {
    Operation {
        method: "get",
        path,
        needs: Some(Scope::Read),
        near: false,
        anybody: false,
        of_all_tenants: false,
        body: None,
    }
}

const fn operate(method: &'static str, path: &'static str) -> Operation {
    Operation {
        method,
        path,
        needs: Some(Scope::Operate),
        near: false,
        anybody: false,
        of_all_tenants: false,
        body: None,
    }
}

const fn administer(method: &'static str, path: &'static str) -> Operation {
    Operation { needs: Some(Scope::Administer), ..operate(method, path) }
}

const fn anybody(operation: Operation) -> Operation {
    Operation { anybody: true, ..operation }
}

const fn whole(operation: Operation) -> Operation {
    Operation { of_all_tenants: true, ..operation }
}

const fn near(operation: Operation) -> Operation {
    Operation { near: true, ..operation }
}

const fn with(operation: Operation, body: fn() -> Value) -> Operation {
    Operation { body: Some(body), ..operation }
}

const OPERATIONS: [Operation; 37] = [
    public("/livez"),
    near(whole(read("/readyz"))),
    near(whole(read("/metrics"))),
    public("/v1/openapi.json"),
    Operation {
        method: "post",
        path: "/v1/events",
        needs: Some(Scope::Ingest),
        near: false,
        anybody: false,
        of_all_tenants: false,
        body: Some(|| json!({"action": "made", "entity": {"type": "thing"}})),
    },
    read("/v1/events"),
    read("/v1/events/{id}"),
    read("/v1/events/{id}/proof"),
    read("/v1/entities/{entity}/events"),
    read("/v1/entities/{entity}/state"),
    read("/v1/tail"),
    read("/v1/export"),
    read("/v1/facets"),
    read("/v1/histogram"),
    read("/v1/checkpoint"),
    whole(read("/v1/stats")),
    whole(read("/v1/verify")),
    operate("get", "/v1/holds"),
    with(operate("post", "/v1/holds"), || json!({"entity": "product:1", "reason": "asked"})),
    with(operate("post", "/v1/holds/{id}/release"), || json!({"reason": "asked"})),
    whole(operate("get", "/v1/retention/plan")),
    whole(operate("get", "/v1/failed")),
    whole(operate("get", "/v1/failed/{id}")),
    whole(operate("delete", "/v1/failed/{id}")),
    whole(with(operate("post", "/v1/failed/retry"), || json!({"all": true}))),
    anybody(read("/v1/me")),
    administer("get", "/v1/people"),
    with(
        administer("post", "/v1/people"),
        || json!({"name": annals::EventId::at(Timestamp::now()).to_string(), "role": "reader", "tenants": ["acme"]}),
    ),
    with(administer("patch", "/v1/people/{id}"), || json!({"role": "reader"})),
    with(administer("post", "/v1/people/{id}/link"), || json!({})),
    administer("get", "/v1/sessions"),
    administer("delete", "/v1/sessions/{id}"),
    administer("get", "/v1/keys"),
    with(
        administer("post", "/v1/keys"),
        || json!({"name": "made", "scopes": ["read"], "tenants": ["acme"]}),
    ),
    with(administer("post", "/v1/keys/{id}/rotate"), || json!({})),
    administer("delete", "/v1/keys/{id}"),
    // What is not described, and must let nobody in.
    Operation {
        method: "put",
        path: "/v1/events",
        needs: None,
        near: false,
        anybody: false,
        of_all_tenants: false,
        body: None,
    },
];

/// The operations that are described.
fn described() -> Vec<(String, String)> {
    let api: Value = serde_json::from_str(&annals_server::openapi()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        let item = item.as_object().unwrap().iter();
        operations.extend(item.map(|(method, _)| (method.clone(), path.clone())));
    }
    operations
}

impl Operation {
    fn is_described(&self) -> bool {
        self.method != "put"
    }

    /// Whether somebody who may do that is let in.
    fn lets(&self, scopes: &[Scope]) -> bool {
        self.anybody || self.needs.is_none_or(|needs| scopes.contains(&needs))
    }

    /// Asks with what shows who somebody is, as headers.
    async fn ask_as(&self, scene: &Scene, id: &str, shown: &[(&str, &str)]) -> Reply {
        let path = self.path.replace("{id}", id).replace("{entity}", "product:1");
        let mut request = Request::get(scene.address, &path);
        request.line = format!("{} {path} HTTP/1.1", self.method.to_uppercase());
        if let Some(body) = self.body {
            request.body = body().to_string().into_bytes();
            request = request.with("Content-Type", "application/json");
        }
        let length = request.body.len().to_string();
        request = request.with("Content-Length", &length);
        for (name, value) in shown {
            request = request.with(name, value);
        }
        if self.path == "/v1/tail" && !shown.is_empty() {
            // It does not end by itself.
            let asked = request.send(scene.address);
            return tokio::time::timeout(Duration::from_millis(300), asked)
                .await
                .unwrap_or_else(|_| Reply::of_status(200));
        }
        request.send(scene.address).await
    }

    async fn ask(&self, scene: &Scene, id: &str, key: Option<&str>) -> Reply {
        match key {
            None => self.ask_as(scene, id, &[]).await,
            Some(key) => {
                self.ask_as(scene, id, &[("Authorization", &format!("Bearer {key}"))]).await
            }
        }
    }
}

#[test]
fn every_operation_that_is_described_is_listed_here() {
    let described = described();
    for (method, path) in &described {
        let listed = |known: &&Operation| known.method == method && known.path == path;
        assert!(OPERATIONS.iter().find(listed).is_some(), "{method} {path} is not listed");
    }
    let listed = OPERATIONS.iter().filter(|operation| operation.is_described());
    assert_eq!(listed.count(), described.len(), "an operation is listed that is not described");
}

#[tokio::test]
async fn each_key_may_what_its_scope_says_and_nothing_else() {
    let scene = Scene::with(false).await;
    let [acme, ..] = scene.fill(30).await;
    scene.sign().await;
    let expired = scene
        .make(&Scope::OF_KEYS, &[], None, Some(Timestamp::now().after(Duration::from_millis(50))))
        .await;
    let revoked = scene.key(&Scope::OF_KEYS, &[]).await;
    scene.keyring().revoke(&revoked[7..23], None).await.unwrap();
    let unknown = format!("annals_{}_{}", "0".repeat(16), "0".repeat(64));
    let forged = {
        let good = scene.key(&Scope::OF_KEYS, &[]).await;
        format!("{}_{}", &good[..23], "0".repeat(64))
    };
    tokio::time::sleep(Duration::from_millis(60)).await;
    let mut keys = Vec::new();
    for scope in Scope::OF_KEYS {
        keys.push((scope, false, scene.key(&[scope], &[]).await));
        keys.push((scope, true, scene.key(&[scope], &["acme"]).await));
    }
    let id = acme.to_string();
    for operation in &OPERATIONS {
        let named = format!("{} {}", operation.method, operation.path);
        let none = operation.ask(&scene, &id, None).await;
        match operation.needs {
            _ if !operation.is_described() => assert_eq!(none.status, 405, "{named}"),
            None => assert!(!matches!(none.status, 401 | 403), "{named}: {}", none.status),
            Some(_) => {
                if operation.near {
                    assert_eq!(none.status, 200, "{named} from this machine");
                } else {
                    assert_eq!(none.status, 401, "{named} without a key");
                    assert!(none.header("www-authenticate").unwrap().starts_with("Bearer"));
                }
                for (key, why) in [
                    (&expired, "this key has expired"),
                    (&revoked, "this key was revoked"),
                    (&unknown, "this key is not known"),
                    (&forged, "this key is not known"),
                    (&"nonsense".to_owned(), "it is no key"),
                ] {
                    let reply = operation.ask(&scene, &id, Some(key)).await;
                    assert_eq!(reply.status, 401, "{named}: {why}");
                    assert!(reply.detail().starts_with(why), "{named}: {}", reply.detail());
                }
            }
        }
        for (scope, bound, key) in &keys {
            let reply = operation.ask(&scene, &id, Some(key)).await;
            let with = format!("{named} with {scope}, bound: {bound}: {}", reply.status);
            match operation.needs {
                _ if !operation.is_described() => assert_eq!(reply.status, 405, "{with}"),
                Some(_) if !operation.lets(&[*scope]) => assert_eq!(reply.status, 403, "{with}"),
                Some(_) if *bound && operation.of_all_tenants => {
                    assert_eq!(reply.status, 403, "{with}");
                }
                _ => assert!(reply.status < 400 || reply.status == 404, "{with}"),
            }
        }
    }
}

#[tokio::test]
async fn each_role_may_what_it_says_and_nothing_else() {
    let scene = Scene::with(false).await;
    let [acme, ..] = scene.fill(30).await;
    scene.sign().await;
    let id = acme.to_string();
    for role in Role::ALL {
        for bound in [false, true] {
            let tenants: &[&str] = if bound { &["acme"] } else { &[] };
            let browser = scene.browser(&format!("{role} {bound}"), role, tenants).await;
            for operation in &OPERATIONS {
                let token = ("X-Page-Token", &*browser.page_token);
                let shown = [("Cookie", &*browser.cookie), token];
                let reply = operation.ask_as(&scene, &id, &shown).await;
                let with = format!(
                    "{} {} as {role}, bound: {bound}: {}",
                    operation.method, operation.path, reply.status
                );
                let safe = operation.method == "get";
                match operation.needs {
                    _ if !operation.is_described() => assert_eq!(reply.status, 405, "{with}"),
                    Some(_) if !operation.lets(role.scopes()) => {
                        assert_eq!(reply.status, 403, "{with}");
                        continue;
                    }
                    Some(_) if bound && operation.of_all_tenants => {
                        assert_eq!(reply.status, 403, "{with}");
                    }
                    _ => assert!(reply.status < 400 || reply.status == 404, "{with}"),
                }
                // Whoever may change something may not be made to by another site's page.
                if !safe && operation.is_described() {
                    let reply = operation.ask_as(&scene, &id, &shown[..1]).await;
                    assert_eq!(reply.status, 403, "{with}, without the page's token");
                }
            }
        }
    }
}

/// Whatever a key of acme asks for, nothing of others is in the answer, and what is others'
/// looks as what is not there.
#[tokio::test]
async fn a_key_of_one_tenant_sees_nothing_of_another() {
    let scene = Scene::set().await;
    let [_, globex, nobody] = scene.fill(60).await;
    scene.sign().await;
    let hold = |tenant: &str| annals::store::hold::Scope {
        tenant: Some(tenant.to_owned()),
        ..Default::default()
    };
    let held = annals::store::hold::place(&*scene.store, hold("globex"), MARK, None).await.unwrap();
    let key = scene.key(&Scope::OF_KEYS, &["acme"]).await;
    let both = scene.key(&Scope::OF_KEYS, &["acme", "umbrella"]).await;
    let missing = annals::EventId::at("2026-11-22T10:00:00Z".parse().unwrap()).to_string();
    for key in [&key, &both] {
        for operation in &OPERATIONS {
            for others in [globex, nobody, held.id].map(|id| id.to_string()) {
                let named = format!("{} {} of {others}", operation.method, operation.path);
                let reply = operation.ask(&scene, &others, Some(key)).await;
                let answer = String::from_utf8_lossy(reply.body()).into_owned();
                assert!(!answer.contains(MARK), "{named}: {answer}");
                if operation.path.contains("{id}") {
                    let absent = operation.ask(&scene, &missing, Some(key)).await;
                    assert_eq!(
                        (reply.status, &answer),
                        (absent.status, &absent.text().to_owned()),
                        "{named}"
                    );
                }
            }
        }
        for asked in ["tenant=globex", "tenant=nowhere"] {
            for path in [
                "events",
                "export",
                "facets",
                "histogram",
                "tail",
                "entities/product:1/events",
                "entities/product:1/state",
            ] {
                let reply = scene.get(&format!("/v1/{path}?{asked}"), key).await;
                assert_eq!(reply.status, 403, "{path} {asked}");
            }
        }
        for filter in [
            "entity=product:1",
            "entity_type=product",
            "action=updated",
            "since=2026-01-01T00:00:00Z",
            "",
        ] {
            let reply = scene.get(&format!("/v1/events?limit=1000&{filter}"), key).await;
            let events = reply.json()["events"].as_array().unwrap().clone();
            assert!(!events.is_empty(), "{filter}");
            assert!(
                events.iter().all(|row| row["event"]["tenant"] == "acme"),
                "{filter}: {events:?}"
            );
        }
        let export = scene.get("/v1/export", key).await;
        assert_eq!(export.text().lines().count(), 20);
    }
}

#[tokio::test]
async fn a_key_of_one_tenant_writes_for_it_alone() {
    let scene = Scene::with(false).await;
    let key = scene.make(&[Scope::Ingest], &["acme"], Some("shop"), None).await;
    let both = scene.key(&[Scope::Ingest], &["acme", "umbrella"]).await;
    let send = async |key: &str, event: Value| {
        let request = Request::post(scene.address, event.to_string()).key(key);
        let reply = request.send(scene.address).await;
        (reply.status, reply.json())
    };
    let event = |more: Value| {
        let mut event = json!({"action": "made", "entity": {"type": "thing", "id": "1"},
            "occurred_at": "2026-11-22T10:00:00Z", "source_id": "1"});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let (status, plain) = send(&key, event(json!({}))).await;
    assert_eq!(status, 202, "{plain}");
    let (_, named) = send(&key, event(json!({"tenant": "acme", "source": "shop"}))).await;
    assert_eq!(plain["ids"], named["ids"], "its tenant and source go without saying");
    let (_, other) = send(&both, event(json!({"tenant": "umbrella", "source": "shop"}))).await;
    assert_ne!(plain["ids"], other["ids"], "another tenant's event of the same source id");
    for (key, wrong, why) in [
        (&key, json!({"tenant": "globex"}), "tenant: this key does not write for"),
        (&key, json!({"source": "till"}), "source: this key does not write as"),
        (&both, json!({}), "tenant: missing; this key writes for several"),
        (&both, json!({"tenant": "globex"}), "tenant: this key does not write for"),
    ] {
        let (status, reply) = send(key, event(wrong.clone())).await;
        assert_eq!(status, 422, "{wrong}");
        let reason = reply["rejected"][0]["reason"].as_str().unwrap();
        assert!(reason.contains(why), "{reason}");
    }
    let events = scene.work().await;
    let stored: Vec<_> = events
        .iter()
        .filter(|event| !event.action.starts_with("annals."))
        .map(|event| (event.tenant.as_deref(), event.source.as_deref()))
        .collect();
    let shop = Some("shop");
    assert_eq!(stored, [(Some("acme"), shop), (Some("acme"), shop), (Some("umbrella"), shop)]);
}

/// What a proxy on this machine hands on is not from this machine.
#[tokio::test]
async fn who_comes_through_a_proxy_needs_a_key() {
    let scene = Scene::set().await;
    let event = json!({"action": "made", "entity": {"type": "thing"}}).to_string();
    let near = Request::post(scene.address, event.clone()).send(scene.address).await;
    assert_eq!(near.status, 202);
    for header in ["Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"] {
        let request = Request::post(scene.address, event.clone()).with(header, "192.0.2.7");
        assert_eq!(request.send(scene.address).await.status, 401, "{header}");
    }
}
