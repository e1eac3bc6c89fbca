//! Keys of applications: made, shown, changed and revoked.

mod people;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use annals::access::{
    AccessKey, ApiKey, Grant, KEY_CREATED, KEY_REVOKED, KEY_ROTATED, Keyring, Known, Listed,
    Refused, Scope, TENANT, Tenants, Token,
};
use annals::query::{Filter, Query};
use annals::{Actor, ErrorKind, Timestamp};

use crate::proof::scene::{Database, Scene, on_each_database};

on_each_database! {
    a_key_lets_in_until_it_is_revoked
    a_rotated_key_overlaps_with_its_successor
    a_key_that_was_changed_in_the_database_lets_nobody_in
    keys_go_on_working_while_the_store_is_away
    who_made_which_key_is_in_the_trail
}

struct Keys {
    scene: Scene,
    key: AccessKey,
}

impl Keys {
    async fn set(database: Database) -> Option<Self> {
        Some(Self { scene: Scene::set(database).await?, key: AccessKey::generate().unwrap() })
    }

    fn ring(&self) -> Keyring {
        Keyring::new(Arc::clone(&self.scene.store), self.key.clone()).unwrap()
    }

    async fn known(&self) -> Known {
        let known = Known::new(&self.ring());
        known.refresh().await.unwrap();
        known
    }

    async fn make(&self, name: &str) -> (ApiKey, Token) {
        self.ring().create(name, acme(), None, None).await.unwrap()
    }
}

/// Reading, for one tenant.
fn acme() -> Grant {
    let tenants = Tenants::Only(BTreeSet::from(["acme".to_owned()]));
    Grant { scopes: BTreeSet::from([Scope::Read]), tenants, source: None }
}

fn now() -> Timestamp {
    Timestamp::now()
}

async fn a_key_lets_in_until_it_is_revoked(database: Database) {
    let Some(keys) = Keys::set(database).await else { return };
    let known = Known::new(&keys.ring());
    let (made, token) = keys.make("shop").await;
    assert_eq!(known.find(&token, now()), Err(Refused::NotYet));
    known.refresh().await.unwrap();
    let shown: Token = token.to_secret_text().parse().unwrap();
    let found = known.find(&shown, now()).unwrap();
    assert_eq!((&*found, &found.grant, &*found.name), (&made, &acme(), "shop"));
    // The same id with another secret.
    let text = token.to_secret_text();
    let (front, last) = text.split_at(text.len() - 1);
    let other: Token = format!("{front}{}", if last == "0" { "1" } else { "0" }).parse().unwrap();
    assert_eq!(known.find(&other, now()), Err(Refused::Unknown));
    assert!(keys.ring().revoke(token.id(), None).await.unwrap());
    assert!(known.find(&token, now()).is_ok(), "until the next look");
    known.refresh().await.unwrap();
    assert_eq!(known.find(&token, now()), Err(Refused::Revoked));
    assert!(!keys.ring().revoke(token.id(), None).await.unwrap(), "it was revoked before");
    let error = keys.ring().rotate(token.id(), Duration::ZERO, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    let error = keys.ring().revoke("0000000000000000", None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
}

async fn a_rotated_key_overlaps_with_its_successor(database: Database) {
    let Some(keys) = Keys::set(database).await else { return };
    let (_, old) = keys.make("shop").await;
    let hour = Duration::from_secs(3600);
    let (new, token) = keys.ring().rotate(old.id(), hour, None).await.unwrap();
    assert_eq!((&new.grant, &*new.name), (&acme(), "shop"));
    let known = keys.known().await;
    assert!(known.find(&old, now()).is_ok());
    assert!(known.find(&token, now()).is_ok());
    let later = now().after(hour);
    assert_eq!(known.find(&old, later), Err(Refused::Expired));
    assert!(known.find(&token, later).is_ok());
    assert_eq!(new.expires_at, None, "it works for ever, as the old one could");
    // A second rotation gives the old one no more time than it had.
    keys.ring().rotate(old.id(), 2 * hour, None).await.unwrap();
    let known = keys.known().await;
    assert_eq!(known.find(&old, later), Err(Refused::Expired));
    // What expires is replaced by what expires as late after its own beginning.
    let end = Some(now().after(24 * hour));
    let (expiring, token) = keys.ring().create("till", acme(), end, None).await.unwrap();
    for _ in 0..2 {
        let (new, _) = keys.ring().rotate(token.id(), hour, None).await.unwrap();
        let life = |key: &ApiKey| key.expires_at.unwrap().since(key.created_at);
        assert_eq!(life(&new), life(&expiring));
    }
}

async fn a_key_that_was_changed_in_the_database_lets_nobody_in(database: Database) {
    let Some(keys) = Keys::set(database).await else { return };
    let (_, first) = keys.make("first").await;
    let (_, second) = keys.make("second").await;
    let known = keys.known().await;
    // Whoever may write into the database gives it all tenants.
    let widen = "body = REPLACE(body, '[\"acme\"]', 'null')";
    keys.scene.sql(&format!(
        "UPDATE annals_access SET {widen}, revision = 90 WHERE id = '{}'",
        first.id()
    ));
    known.refresh().await.unwrap();
    assert_eq!(known.find(&first, now()), Err(Refused::Unknown));
    assert!(known.find(&second, now()).is_ok());
    let listed = keys.ring().list().await.unwrap();
    assert!(listed.contains(&Listed::Foreign(first.id().to_owned())), "{listed:?}");
    // One key's signed entry, under another's id.
    keys.scene.sql(&format!("DELETE FROM annals_access WHERE id = '{}'", first.id()));
    keys.scene.sql(&format!("UPDATE annals_access SET id = '{}', revision = 91", first.id()));
    known.refresh().await.unwrap();
    assert_eq!(known.find(&first, now()), Err(Refused::Unknown));
    // Servers with another access key know none of them.
    let others = Keyring::new(Arc::clone(&keys.scene.store), AccessKey::generate().unwrap());
    let others = Known::new(&others.unwrap());
    others.refresh().await.unwrap();
    assert_eq!(others.find(&second, now()), Err(Refused::Unknown));
}

async fn keys_go_on_working_while_the_store_is_away(database: Database) {
    let Some(keys) = Keys::set(database).await else { return };
    let (_, token) = keys.make("shop").await;
    let known = keys.known().await;
    keys.scene.sql("DROP TABLE annals_access");
    known.refresh().await.unwrap_err();
    assert!(known.find(&token, now()).is_ok());
}

async fn who_made_which_key_is_in_the_trail(database: Database) {
    let Some(keys) = Keys::set(database).await else { return };
    let by = || Some(Actor::new("os_user", "jo"));
    let (key, old) = keys.ring().create("shop", acme(), None, by()).await.unwrap();
    let (new, token) = keys.ring().rotate(old.id(), Duration::ZERO, by()).await.unwrap();
    keys.ring().revoke(&new.id, by()).await.unwrap();
    let query = Query::newest(Filter { tenant: Some(TENANT.to_owned()), ..Filter::default() });
    let page = keys.scene.store.query(query.oldest_first()).await.unwrap();
    let events: Vec<_> = page.events.iter().map(|stored| stored.event().unwrap()).collect();
    let told: Vec<_> = events
        .iter()
        .map(|event| (&*event.action, event.entity.id.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(told, [(KEY_CREATED, &*key.id), (KEY_ROTATED, &*new.id), (KEY_REVOKED, &*new.id)]);
    let jo = Actor::new("os_user", "jo");
    assert!(events.iter().all(|event| event.actor.as_ref() == Some(&jo)));
    let metadata = events[1].metadata.as_ref().unwrap();
    assert_eq!(metadata.get::<String>("replaces").as_deref(), Some(&*key.id));
    let secrets = [old.to_secret_text(), token.to_secret_text()];
    for (stored, secret) in
        page.events.iter().flat_map(|event| secrets.iter().map(move |secret| (event, secret)))
    {
        let hidden = &secret[secret.len() - 64..];
        assert!(
            !String::from_utf8_lossy(&stored.body).contains(hidden),
            "a secret is in the trail"
        );
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_key_is_said() {
    let Some(keys) = Keys::set(Database::Sqlite).await else { return };
    let none = Grant { scopes: BTreeSet::new(), ..acme() };
    let nobody = Grant { tenants: Tenants::Only(BTreeSet::new()), ..acme() };
    let nameless = Grant { tenants: Tenants::Only(BTreeSet::from([String::new()])), ..acme() };
    let long = Grant { source: Some("x".repeat(256)), ..acme() };
    for (name, grant, end) in [
        ("shop", none, None),
        ("shop", nobody, None),
        ("shop", nameless, None),
        ("shop", long, None),
        (" ", acme(), None),
        ("a\nb", acme(), None),
        ("shop", acme(), Some(now())),
        ("shop", Grant { scopes: BTreeSet::from([Scope::Administer]), ..acme() }, None),
    ] {
        let error = keys.ring().create(name, grant.clone(), end, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{name:?} {grant:?} {end:?}: {error}");
    }
    assert_eq!(keys.ring().list().await.unwrap(), []);
    for text in ["", "annals_", "annals_0123456789abcdef_", "Annals_0123456789abcdef_00"] {
        assert!(text.parse::<Token>().is_err(), "{text:?}");
    }
}

/// What of a key is in the files of the database: nothing that lets anybody in.
#[tokio::test]
async fn the_secret_is_in_no_file() {
    let Some(keys) = Keys::set(Database::Sqlite).await else { return };
    let (_, token) = keys.make("shop").await;
    let text = token.to_secret_text();
    let secret = &text.as_bytes()[text.len() - 64..];
    let id = token.id().as_bytes();
    let (mut with_id, mut with_secret) = (0, 0);
    for file in std::fs::read_dir(keys.scene.directory.path()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            with_id += usize::from(bytes.windows(id.len()).any(|window| window == id));
            with_secret += usize::from(bytes.windows(64).any(|window| window == secret));
        }
    }
    assert!(with_id > 0, "the key is there");
    assert_eq!(with_secret, 0);
}

/// What a key's entry looked like in the first version, which every later one must read.
#[test]
fn the_golden_entry_of_a_key() {
    let golden = include_str!("../golden/api_key_1.txt");
    let mut lines = golden.lines();
    let key = AccessKey::from_text(lines.next().unwrap()).unwrap();
    let token: Token = lines.next().unwrap().parse().unwrap();
    let entry = annals::store::Entry {
        kind: "key".to_owned(),
        id: token.id().to_owned(),
        revision: 1,
        mac: std::array::from_fn({
            let hex = lines.next().unwrap();
            move |at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()
        }),
        body: lines.next().unwrap().to_owned(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let scene = Scene::set(Database::Sqlite).await.unwrap();
        scene
            .store
            .registry()
            .unwrap()
            .write(annals::store::Entry { revision: 0, ..entry })
            .await
            .unwrap();
        let known = Known::new(&Keyring::new(Arc::clone(&scene.store), key).unwrap());
        known.refresh().await.unwrap();
        let found = known.find(&token, now()).unwrap();
        assert_eq!(*found.name, *"shop");
        assert_eq!(found.grant.scopes, BTreeSet::from([Scope::Ingest, Scope::Read]));
    });
}
