//! Signing in by a provider of identities that really is one.

use std::collections::BTreeMap;
use std::path::Path;

use annals::access::{Change, Role, SESSION, Tenants};
use annals_server::{Limits, Provider, ProviderSettings, SignIn, Wire};
use annals_testbed::oidc::OidcProvider;
use annals_testbed::required;
use zeroize::Zeroizing;

use crate::http::{Reply, Request};
use crate::reading::{Scene, whose};

fn settings(issuer: &str) -> ProviderSettings {
    let of = |group: &str, role, tenants: &[&str]| (group.to_owned(), role, whose(tenants));
    ProviderSettings {
        name: "Example Ltd".to_owned(),
        issuer: issuer.to_owned(),
        client_id: "annals".to_owned(),
        client_secret: Some(Zeroizing::new("a secret & more".to_owned())),
        scopes: "profile email".to_owned(),
        claim: "groups".to_owned(),
        roles: vec![
            of("audit-team", Role::Auditor, &[]),
            of("acme-support", Role::Reader, &["acme"]),
        ],
    }
}

async fn scene(settings: ProviderSettings) -> Scene {
    let sign_in = SignIn::new(None, SESSION).provider(Provider::new(settings).unwrap());
    Scene::signing_in("127.0.0.1:0", Wire::Loopback, true, Limits::default(), sign_in).await
}

/// A browser, which keeps the cookies of several servers.
#[derive(Default)]
struct Surfer {
    cookies: BTreeMap<(String, String), String>,
}

impl Surfer {
    /// Asks for a page, and follows where it is sent to until the page is there.
    async fn open(&mut self, url: &str) -> (String, Reply) {
        let mut url = url.to_owned();
        for _ in 0..20 {
            let (host, path) = parts(&url);
            let link = Request::get(host.parse().unwrap(), path)
                .with("Sec-Fetch-Site", "cross-site")
                .with("Sec-Fetch-Mode", "navigate")
                .with("Sec-Fetch-Dest", "document");
            let reply = self.send(&host, link).await;
            match sent_to(&url, &reply) {
                Some(next) => url = next,
                None => return (url, reply),
            }
        }
        panic!("sent round and round: {url}");
    }

    /// Sends the form of a page, and follows where that leads.
    async fn submit(&mut self, page: &str, url: &str, fields: &[(&str, &str)]) -> (String, Reply) {
        let (host, _) = parts(page);
        let address = host.parse().unwrap();
        let (_, path) = parts(url);
        let form = Request::post(address, serde_urlencoded::to_string(fields).unwrap())
            .line(&format!("POST {path} HTTP/1.1"))
            .with("Content-Type", "application/x-www-form-urlencoded");
        let reply = self.send(&host, form).await;
        let next = sent_to(page, &reply).unwrap_or_else(|| panic!("{}", reply.text()));
        self.open(&next).await
    }

    async fn send(&mut self, host: &str, request: Request) -> Reply {
        let theirs = self.cookies.iter().filter(|((of, _), _)| of == host);
        let shown: Vec<String> =
            theirs.map(|((_, name), value)| format!("{name}={value}")).collect();
        let request =
            if shown.is_empty() { request } else { request.with("Cookie", &shown.join("; ")) };
        let reply = request.send(host.parse().unwrap()).await;
        for cookie in reply.headers("set-cookie") {
            let pair = cookie.split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert((host.to_owned(), name.to_owned()), value.to_owned());
        }
        reply
    }

    /// Who the server says they are.
    async fn me(&mut self, scene: &Scene) -> serde_json::Value {
        let host = scene.address.to_string();
        self.send(&host, Request::get(scene.address, "/v1/me")).await.json()
    }

    /// Goes to the server, from there to the provider, says there who they are, and comes back.
    async fn sign_in(&mut self, scene: &Scene, who: &str) -> (String, Reply) {
        let begin = format!("http://{}/sign-in/provider", scene.address);
        let (mut page, mut reply) = self.open(&begin).await;
        for _ in 0..3 {
            let text = reply.text();
            let Some(action) = text.split("action=\"").nth(1) else { break };
            let action = action.split('"').next().unwrap().to_owned();
            let fields: &[(&str, &str)] = if text.contains("name=\"login\"") {
                &[("prompt", "login"), ("login", who), ("password", "x")]
            } else if text.contains("value=\"consent\"") {
                &[("prompt", "consent")]
            } else {
                break;
            };
            (page, reply) = self.submit(&page, &action, fields).await;
        }
        (page, reply)
    }
}

/// The host and the path of a URL.
fn parts(url: &str) -> (String, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    match rest.find('/') {
        Some(at) => (rest[..at].to_owned(), &rest[at..]),
        None => (rest.to_owned(), "/"),
    }
}

fn sent_to(url: &str, reply: &Reply) -> Option<String> {
    let location = reply.header("location").filter(|_| (300..400).contains(&reply.status))?;
    let (host, _) = parts(url);
    let local = location.starts_with('/');
    Some(if local { format!("http://{host}{location}") } else { location.to_owned() })
}

fn provider() -> Option<OidcProvider> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/people/oidc/provider.mjs");
    required(OidcProvider::start(Path::new(script)))
}

#[tokio::test]
async fn who_the_provider_knows_is_in_with_the_role_of_their_group() {
    let Some(provider) = provider() else { return };
    let scene = scene(settings(provider.issuer())).await;
    let page = Request::get(scene.address, "/sign-in").send(scene.address).await;
    assert!(page.text().contains("Sign in with Example Ltd"), "{}", page.text());
    for (who, name, role, tenants) in [
        ("jo+audit-team", "jo@example.com", Role::Auditor, Tenants::All),
        ("al+sales+acme-support", "al@example.com", Role::Reader, whose(&["acme"])),
        // An address that nobody has checked names nobody.
        ("unchecked+acme-support", "unchecked", Role::Reader, whose(&["acme"])),
    ] {
        let mut surfer = Surfer::default();
        let (at, reply) = surfer.sign_in(&scene, who).await;
        assert_eq!(at, format!("http://{}/", scene.address), "{}", reply.text());
        let me = surfer.me(&scene).await;
        assert_eq!((&me["name"], &me["role"]), (&name.into(), &role.as_str().into()));
        assert_eq!(me["tenants"], serde_json::json!(tenants));
    }
    // Who is of no group that has a role is nobody here.
    let (_, reply) = Surfer::default().sign_in(&scene, "eve+sales").await;
    assert_eq!(reply.status, 403);
    assert!(reply.text().contains("knows you as eve@example.com"), "{}", reply.text());
    assert_eq!(scene.people().list().await.unwrap().len(), 3);
    // Their role follows their groups, and they stay the same person.
    let mut jo = Surfer::default();
    jo.sign_in(&scene, "jo+audit-team").await;
    let id = jo.me(&scene).await["id"].as_str().unwrap().to_owned();
    // Who has been kept out here is, whatever the provider says.
    let change = Change { disabled: Some(true), ..Change::default() };
    scene.people().change(&id, change, None).await.unwrap();
    let (_, reply) = Surfer::default().sign_in(&scene, "jo+audit-team").await;
    assert_eq!(reply.status, 403);
    assert!(reply.text().contains("kept you out"), "{}", reply.text());
    // A name that somebody has here is not given to whom the provider calls so.
    scene.person("boss@example.com", Role::Administrator, &[]).await;
    let (_, reply) = Surfer::default().sign_in(&scene, "boss+audit-team").await;
    assert_eq!(reply.status, 409);
    let told = scene.work().await;
    let of = |action: &str| told.iter().filter(|event| event.action == action).count();
    assert_eq!((of("annals.session.began"), of("annals.session.denied")), (4, 3));
    assert!(told.iter().all(|event| !format!("{event:?}").contains("code=")));
}

#[tokio::test]
async fn nobody_comes_back_for_somebody_else() {
    let Some(provider) = provider() else { return };
    let scene = scene(settings(provider.issuer())).await;
    let back =
        |query: &str| Request::get(scene.address, &format!("/sign-in/provider/callback?{query}"));
    // Without having been sent there, as from a link that somebody else made.
    let reply = back("code=abc&state=def").send(scene.address).await;
    assert_eq!(reply.status, 403);
    assert!(reply.text().contains("begun elsewhere"), "{}", reply.text());
    // With what somebody was sent there with, and another's state.
    let begun = Request::get(scene.address, "/sign-in/provider").send(scene.address).await;
    let there = begun.header("location").unwrap();
    assert!(there.starts_with(provider.issuer()), "{there}");
    for part in [
        "response_type=code",
        "code_challenge_method=S256",
        "nonce=",
        "state=",
        "scope=openid+profile+email",
    ] {
        assert!(there.contains(part), "{there}");
    }
    let cookie = super::cookie(&begun);
    let state = there.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let come = async |query: String| {
        let reply = back(&query).with("Cookie", &cookie).send(scene.address).await;
        (reply.status, reply.text().to_owned())
    };
    for wrong in [
        "code=abc&state=def".to_owned(),
        "code=abc".to_owned(),
        format!("code=abc&state={state}&iss=https%3A%2F%2Fevil.example"),
    ] {
        let (status, text) = come(wrong.clone()).await;
        assert!(status == 403 && text.contains("begun elsewhere"), "{wrong}: {text}");
    }
    let (status, text) = come(format!("error=access_denied&state={state}")).await;
    assert!(status == 403 && text.contains("access_denied"), "{text}");
    // A code that the provider never gave.
    let (status, text) = come(format!("code=abc&state={state}")).await;
    assert!(status == 502 && text.contains("cannot be reached"), "{text}");
    // A cookie that we never gave.
    let (name, value) = cookie.split_once('=').unwrap();
    let forged = format!("{name}={}{}", "0".repeat(64), &value[64..]);
    let reply = back(&format!("code=abc&state={state}")).with("Cookie", &forged);
    assert_eq!(reply.send(scene.address).await.status, 403);
}

#[tokio::test]
async fn a_client_without_a_secret_shows_what_it_began_with() {
    let Some(provider) = provider() else { return };
    let public = ProviderSettings {
        client_id: "public".to_owned(),
        client_secret: None,
        ..settings(provider.issuer())
    };
    let scene = scene(public).await;
    let (at, reply) = Surfer::default().sign_in(&scene, "jo+audit-team").await;
    assert!(reply.text().contains("jo@example.com"), "{at}: {}", reply.text());
}

/// A provider that is away, or is not who it should be, lets nobody in; passwords go on.
#[tokio::test]
async fn without_its_provider_a_server_goes_on() {
    let gone = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", free.local_addr().unwrap())
    };
    let scene = scene(settings(&gone)).await;
    let reply = Request::get(scene.address, "/sign-in/provider").send(scene.address).await;
    assert_eq!(reply.status, 502);
    scene.person("jo", Role::Reader, &[]).await;
    assert_eq!(scene.sign_in("jo", super::PASSWORD).await.status, 303);
    let error = Provider::new(settings("http://id.example.com")).unwrap_err();
    assert!(error.to_string().contains("give its https:// URL"), "{error}");
}
