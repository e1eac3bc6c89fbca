//! Signing in, staying so, and signing out.

use std::time::Duration;

use annals::access::{Change, Role, Scope};
use annals_server::{Limits, Wire};
use serde_json::json;

use super::{PASSWORD, cookie};
use crate::http::Request;
use crate::reading::Scene;

#[tokio::test]
async fn who_knows_the_password_is_in_until_signing_out() {
    let scene = Scene::set().await;
    scene.person("jo", Role::Reader, &["acme"]).await;
    for (name, word) in [("jo", "wrong horse battery"), ("al", PASSWORD), ("", ""), ("jo", "")] {
        let reply = scene.sign_in(name, word).await;
        assert_eq!(reply.status, 403, "{name} {word}");
        assert!(reply.text().contains("The name or the password is wrong."), "{}", reply.text());
        assert_eq!(reply.header("set-cookie"), None);
    }
    let page = Request::get(scene.address, "/").send(scene.address).await;
    assert_eq!((page.status, page.header("location")), (303, Some("/sign-in")));
    let reply = scene.sign_in("JO ", PASSWORD).await;
    assert_eq!((reply.status, reply.header("location")), (303, Some("/")));
    let given = reply.header("set-cookie").unwrap();
    assert!(given.starts_with("annals-session=annals_"), "{given}");
    assert!(given.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax"), "{given}");
    let cookie = cookie(&reply);
    let get = async |path: &str| {
        Request::get(scene.address, path).with("Cookie", &cookie).send(scene.address).await
    };
    let home = get("/").await;
    assert!(home.text().contains("<strong>jo</strong>, reader for acme"), "{}", home.text());
    assert_eq!(home.header("cache-control"), Some("no-store"));
    assert!(home.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    // Who is in goes where they wanted to, and nowhere else.
    let there = get("/sign-in?next=/v1/me").await;
    assert_eq!((there.status, there.header("location")), (303, Some("/v1/me")));
    let elsewhere = get("/sign-in?next=//evil.example/").await;
    assert_eq!(elsewhere.header("location"), Some("/"));
    // Another page of the same site cannot sign them out.
    let out = async |token: &str| {
        let form = scene.form("/sign-out", &[("page_token", token)]).with("Cookie", &cookie);
        form.send(scene.address).await
    };
    assert_eq!(out(&"0".repeat(64)).await.status, 403);
    assert_eq!(get("/v1/me").await.status, 200);
    let token = get("/v1/me").await.json()["page_token"].as_str().unwrap().to_owned();
    let left = out(&token).await;
    assert_eq!((left.status, left.header("location")), (303, Some("/sign-in")));
    assert!(left.header("set-cookie").unwrap().starts_with("annals-session=; Path=/; Max-Age=0"));
    // The cookie that a thief kept is worth nothing.
    let reply = get("/v1/me").await;
    assert_eq!(reply.detail(), "your session is over; sign in again");
    let told: Vec<String> = scene
        .work()
        .await
        .iter()
        .filter(|event| event.action.starts_with("annals.session"))
        .map(|event| format!("{} {:?}", event.action, event.outcome))
        .collect();
    let denied = "annals.session.denied Denied";
    let [began, ended] = ["annals.session.began Success", "annals.session.ended Success"];
    assert_eq!(told, [denied, denied, denied, denied, began, ended]);
}

/// Nothing that lets in, and nothing that somebody typed, is in the trail.
#[tokio::test]
async fn a_link_is_used_once_and_is_in_no_event() {
    let scene = Scene::set().await;
    let link = scene.people().first().await.unwrap().unwrap();
    let text = link.to_secret_text().to_string();
    let path = format!("/welcome?link={text}");
    // Programs that read mail look at links.
    for _ in 0..3 {
        let page = Request::get(scene.address, &path).send(scene.address).await;
        assert_eq!(page.status, 200);
        assert!(page.text().contains("<strong>administrator</strong> for all tenants"));
        assert_eq!(page.header("referrer-policy"), Some("same-origin"));
    }
    let set = async |name: &str, password: &str| {
        let fields = [("link", &*text), ("name", name), ("password", password)];
        scene.form("/welcome", &fields).send(scene.address).await
    };
    let weak = set("jo", "too short").await;
    assert_eq!(weak.status, 422);
    assert!(weak.text().contains("A password has at least 12 characters."), "{}", weak.text());
    assert!(weak.text().contains("value=\"jo\""), "what was typed stays, but for the password");
    assert!(!weak.text().contains("too short"));
    let welcomed = set("<i>jo</i>", PASSWORD).await;
    assert_eq!((welcomed.status, welcomed.header("location")), (303, Some("/")));
    let home = Request::get(scene.address, "/").with("Cookie", &cookie(&welcomed));
    let home = home.send(scene.address).await;
    assert!(home.text().contains("&#60;i&#62;jo&#60;/i&#62;"), "{}", home.text());
    assert_eq!(set("jo", PASSWORD).await.status, 404);
    assert_eq!(Request::get(scene.address, &path).send(scene.address).await.status, 404);
    assert!(scene.people().first().await.unwrap().is_none());
    let secrets = [&text[24..], PASSWORD, "too short"];
    for event in scene.work().await {
        let shown = format!("{event:?}");
        assert!(secrets.iter().all(|secret| !shown.contains(secret)), "{shown}");
        let named = event.actor.and_then(|actor| actor.name);
        assert_eq!(named.as_deref(), Some("<i>jo</i>"));
    }
}

#[tokio::test]
async fn other_sites_pages_can_do_nothing_with_somebodys_cookie() {
    let scene = Scene::set().await;
    let boss = scene.browser("boss", Role::Administrator, &[]).await;
    let held = json!({"entity": "product:1", "reason": "asked"});
    let hold = || boss.request("POST", "/v1/holds", &held);
    let refused = [
        ("without the page's token", hold().without("X-Page-Token")),
        ("with another's", hold().with("X-Page-Token", &"0".repeat(64))),
        ("from another origin", hold().with("Origin", "https://evil.example")),
        ("from an origin that is hidden", hold().with("Origin", "null")),
        ("from another port", hold().with("Origin", "http://127.0.0.1:1")),
        ("from the same machine over TLS", hold().with("Origin", "https://127.0.0.1")),
        ("from another site", hold().without("Origin").with("Sec-Fetch-Site", "cross-site")),
        ("from a sibling", hold().without("Origin").with("Sec-Fetch-Site", "same-site")),
    ];
    for (how, request) in refused {
        assert_eq!(request.send(scene.address).await.status, 403, "{how}");
    }
    assert_eq!(hold().send(scene.address).await.status, 201);
    // Nor can they sign their own person in, so that what is done is done as that one.
    let form = || scene.form("/sign-in", &[("name", "boss"), ("password", PASSWORD)]);
    for (how, request) in [
        ("from another origin", form().with("Origin", "https://evil.example")),
        ("from another site", form().without("Origin").with("Sec-Fetch-Site", "cross-site")),
        ("from who knows where", form().without("Origin").without("Sec-Fetch-Site")),
    ] {
        let reply = request.send(scene.address).await;
        assert_eq!((reply.status, reply.header("set-cookie")), (403, None), "{how}");
    }
    // A link to a page may be followed, one to what is read may not.
    let follow = async |path: &str, dest: &str| {
        let link = Request::get(scene.address, path).with("Cookie", &boss.cookie);
        let link = link.with("Sec-Fetch-Site", "cross-site").with("Sec-Fetch-Mode", "navigate");
        link.with("Sec-Fetch-Dest", dest).send(scene.address).await.status
    };
    assert_eq!(follow("/", "document").await, 200);
    assert_eq!(follow("/", "iframe").await, 403);
    assert_eq!(follow("/v1/events", "document").await, 403);
    assert_eq!(follow("/v1/export", "document").await, 403);
}

#[tokio::test]
async fn a_session_is_no_key_and_a_key_no_session() {
    let scene = Scene::with(false).await;
    let boss = scene.browser("boss", Role::Administrator, &[]).await;
    let token = boss.cookie.split_once('=').unwrap().1;
    let reply = Request::get(scene.address, "/v1/me").key(token).send(scene.address).await;
    assert_eq!((reply.status, &*reply.detail()), (401, "this key is not known"));
    let key = scene.key(&Scope::OF_KEYS, &[]).await;
    let as_cookie = format!("annals-session={key}");
    let reply = Request::get(scene.address, "/v1/me").with("Cookie", &as_cookie);
    assert_eq!(reply.send(scene.address).await.status, 401);
    // With two there is no telling which one a browser was given.
    let twice = format!("{}; {}", boss.cookie, boss.cookie);
    let reply = Request::get(scene.address, "/v1/me").with("Cookie", &twice);
    assert_eq!(reply.send(scene.address).await.status, 401);
    let among = format!("theme=dark; {}; x=y", boss.cookie);
    let reply = Request::get(scene.address, "/v1/me").with("Cookie", &among);
    assert_eq!(reply.send(scene.address).await.status, 200);
    // What is read by a key says so.
    let me = scene.get("/v1/me", &key).await.json();
    assert_eq!((&me["kind"], &me["page_token"]), (&json!("key"), &json!(null)));
    // People do not send events in.
    let event = json!({"action": "made", "entity": {"type": "thing"}});
    let reply = boss.send("POST", "/v1/events", &event).await;
    assert_eq!((reply.status, &*reply.detail()), (403, "this is for applications: show a key"));
}

#[tokio::test]
async fn guessing_is_slow() {
    let scene = Scene::set().await;
    scene.person("jo", Role::Reader, &[]).await;
    let attempt = async |from: &str, name: &str, word: &str| {
        let form = scene.form("/sign-in", &[("name", name), ("password", word)]);
        form.with("X-Forwarded-For", from).send(scene.address).await
    };
    for _ in 0..5 {
        assert_eq!(attempt("192.0.2.1", "jo", "wrong horse battery").await.status, 403);
    }
    // Who comes too often is not let in with the right one either: else it would tell them.
    let reply = attempt("192.0.2.1", "JO", PASSWORD).await;
    assert_eq!(reply.status, 429);
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((50..=61).contains(&wait), "{wait}");
    assert!(reply.text().contains("too many attempts"), "{}", reply.text());
    // Somebody else is, and so is jo from elsewhere, as often as they like.
    for _ in 0..8 {
        assert_eq!(attempt("198.51.100.7", "jo", PASSWORD).await.status, 303);
    }
    for name in 0..25 {
        let reply = attempt("192.0.2.1", &format!("al{name}"), "wrong horse battery").await;
        assert!(matches!(reply.status, 403 | 429), "{}", reply.status);
    }
    assert_eq!(attempt("192.0.2.1", "another", "wrong horse battery").await.status, 429);
}

#[tokio::test]
async fn who_is_kept_out_is_out_within_a_look() {
    let scene = Scene::set().await;
    let jo = scene.browser("jo", Role::Operator, &[]).await;
    let boss = scene.browser("boss", Role::Administrator, &[]).await;
    assert_eq!(jo.get("/v1/holds").await.status, 200);
    let path = format!("/v1/people/{}", jo.person.id);
    let reply = boss.send("PATCH", &path, &json!({"role": "reader"})).await;
    assert_eq!((reply.status, &reply.json()["role"]), (200, &json!("reader")));
    assert_eq!(jo.get("/v1/holds").await.detail(), "your role may not operate");
    assert_eq!(jo.get("/v1/events").await.status, 200);
    // What another program changes in the store is seen within two seconds.
    let change = Change { disabled: Some(true), ..Change::default() };
    scene.people().change(&jo.person.id, change, None).await.unwrap();
    let begun = tokio::time::Instant::now();
    while jo.get("/v1/events").await.status == 200 {
        assert!(begun.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(jo.get("/v1/events").await.status, 401);
    assert_eq!(scene.sign_in("jo", PASSWORD).await.status, 403);
    // And a session that is ended ends its tail.
    let al = scene.browser("al", Role::Reader, &[]).await;
    let sessions = boss.get("/v1/sessions").await.json();
    let sessions = sessions["sessions"].as_array().unwrap();
    let of = |name: &str| {
        let found = sessions.iter().find(|session| session["name"] == name);
        found.and_then(|session| session["id"].as_str()).unwrap_or_default().to_owned()
    };
    assert!(sessions.iter().any(|session| session["own"] == true));
    assert_eq!(of("jo"), "", "whose session is over is not there");
    let ended = boss.send("DELETE", &format!("/v1/sessions/{}", of("al")), &json!({})).await;
    assert_eq!(ended.json(), json!({"ended": true}));
    assert_eq!(al.get("/v1/events").await.status, 401);
}

#[tokio::test]
async fn over_tls_the_cookie_is_for_tls_alone() {
    let origin = "https://audit.example.com";
    let scene =
        Scene::reached("127.0.0.1:0", Wire::Loopback, true, Limits::default(), Some(origin)).await;
    scene.person("jo", Role::Reader, &[]).await;
    // As a proxy hands it on, which speaks TLS.
    let form = |origin: &str| {
        scene
            .form("/sign-in", &[("name", "jo"), ("password", PASSWORD)])
            .with("Host", "audit.example.com")
            .with("X-Forwarded-For", "192.0.2.7")
            .with("Origin", origin)
    };
    let reply = form(origin).send(scene.address).await;
    let given = reply.header("set-cookie").unwrap();
    assert!(given.starts_with("__Host-annals-session=annals_"), "{given}");
    assert!(given.ends_with("; HttpOnly; SameSite=Lax; Secure"), "{given}");
    let evil = form("https://audit.example.com.evil.example").send(scene.address).await;
    assert_eq!(evil.status, 403);
    // A cookie without the prefix may have been set by a sibling, or without TLS.
    let bare = cookie(&reply).replace("__Host-", "");
    let me = Request::get(scene.address, "/v1/me").with("Cookie", &bare);
    assert_eq!(me.send(scene.address).await.status, 401);
}

/// Where a browser would send the cookie in clear, nobody is asked for a password.
#[tokio::test]
async fn without_tls_nobody_signs_in_from_elsewhere() {
    let scene = Scene::on("0.0.0.0:0", Wire::Plain, false).await;
    let page = Request::get(scene.address, "/sign-in").send(scene.address).await;
    assert_eq!(page.status, 404);
    let reply = Request::get(scene.address, "/v1/people").send(scene.address).await;
    assert_eq!((reply.status, &*reply.detail()), (401, "sign in"));
}

/// Nothing is fetched from elsewhere: the page's policy lets nothing be.
#[tokio::test]
async fn the_api_can_be_tried_on_a_page() {
    let scene = Scene::set().await;
    let get = async |path: &str, taken: &str| {
        let request = Request::get(scene.address, path).with("Accept-Encoding", taken);
        request.send(scene.address).await
    };
    let page = get("/api/", "gzip").await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(!policy.contains("http"), "{policy}");
    let mut parts = 0;
    for part in page.text().split('"').filter(|part| part.starts_with("/a")) {
        let there = get(part, "identity").await;
        assert_eq!(there.status, 200, "{part}");
        assert!(there.header("content-encoding").is_none());
        let zipped = get(part, "gzip, br").await;
        if zipped.header("content-encoding") == Some("gzip") {
            assert!(zipped.body().len() < there.body().len() / 2, "{part}");
        }
        parts += 1;
    }
    assert_eq!(parts, 6, "{}", page.text());
    let bundle = get("/api/swagger-ui-bundle.js", "identity").await;
    assert!(bundle.text().contains("SwaggerUIBundle"));
    assert_eq!(get("/api/nothing.js", "gzip").await.status, 404);
    assert_eq!(get("/api", "gzip").await.header("location"), Some("/api/"));
}

#[tokio::test]
async fn forms_that_are_no_forms() {
    let scene = Scene::set().await;
    for (body, status) in [
        (String::new(), 400),
        ("name=jo".to_owned(), 400),
        ("name=jo&name=al&password=x".to_owned(), 400),
        ("{\"name\":\"jo\"}".to_owned(), 400),
        (format!("name={}&password=x", "x".repeat(20_000)), 413),
        (format!("name={}&password=x", "x".repeat(5_000)), 403),
        ("name=%00&password=%ff%fe".to_owned(), 403),
    ] {
        let length = body.len().to_string();
        let mut form = scene.form("/sign-in", &[]).with("Content-Length", &length);
        form.body = body.clone().into_bytes();
        let reply = form.send(scene.address).await;
        assert_eq!(reply.status, status, "{}: {}", &body[..body.len().min(40)], reply.text());
    }
    let reply = Request::get(scene.address, "/sign-in?next=%00%3Cscript%3E");
    let page = reply.send(scene.address).await;
    assert_eq!(page.status, 200);
    assert!(!page.text().contains("<script>"), "{}", page.text());
    assert_eq!(Request::get(scene.address, "/assets/../x").send(scene.address).await.status, 404);
}
