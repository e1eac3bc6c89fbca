//! People: asked in, signing in, changed and kept out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use annals::access::{
    AccessKey, Change, Keyring, Known, Listed, Means, PASSWORD_SET, PERSON_CHANGED, PERSON_INVITED,
    People, Person, Refused, Role, SESSION, Scope, Session, Subject, TENANT, Tenants, Token,
};
use annals::query::{Filter, Query};
use annals::{Actor, ErrorKind, Timestamp};
use zeroize::Zeroizing;

use crate::proof::scene::{Database, Scene, on_each_database};

const PASSWORD: &str = "correct horse battery";

on_each_database! {
    who_is_asked_in_signs_in_until_kept_out
    a_link_sets_one_password
    a_session_ends_with_what_it_rests_on
    nobody_is_made_in_the_database
    what_is_done_to_people_is_in_the_trail
}

struct World {
    scene: Scene,
    people: People,
    known: Known,
}

impl World {
    async fn set(database: Database) -> Option<Self> {
        let scene = Scene::set(database).await?;
        let key = AccessKey::generate().unwrap();
        let people = People::new(Arc::clone(&scene.store), key.clone()).unwrap();
        let known = Known::new(&Keyring::new(Arc::clone(&scene.store), key).unwrap());
        Some(Self { scene, people, known })
    }

    /// Somebody who can sign in.
    async fn person(&self, name: &str, role: Role, tenants: Tenants) -> Person {
        let (_, link) = self.people.invite(name, role, tenants, None).await.unwrap();
        self.people.welcome(&link, None, password()).await.unwrap()
    }

    async fn session(&self, person: &Person) -> (Session, Token) {
        let begun =
            self.people.begin(person, Means::Password, annals::access::From::default(), SESSION);
        let begun = begun.await.unwrap();
        self.known.refresh().await.unwrap();
        begun
    }

    async fn finds(&self, token: &Token) -> Result<String, Refused> {
        self.known.refresh().await.unwrap();
        let found = self.known.find_session(token, Timestamp::now());
        found.map(|found| found.person.name.clone())
    }
}

fn password() -> Zeroizing<String> {
    Zeroizing::new(PASSWORD.to_owned())
}

fn acme() -> Tenants {
    Tenants::Only(BTreeSet::from(["acme".to_owned()]))
}

async fn who_is_asked_in_signs_in_until_kept_out(database: Database) {
    let Some(world) = World::set(database).await else { return };
    let people = &world.people;
    world.person("boss", Role::Administrator, Tenants::All).await;
    let jo = world.person("Jo@Example.com ", Role::Reader, acme()).await;
    assert_eq!(jo.name, "Jo@Example.com");
    for (name, word, known) in [
        ("jo@example.com", PASSWORD, true),
        (" JO@EXAMPLE.COM", PASSWORD, true),
        ("jo@example.com", "correct horse batterz", false),
        ("jo@example.com", "", false),
        ("jo", PASSWORD, false),
        ("", "", false),
    ] {
        let found = people.recognise(name, Zeroizing::new(word.to_owned())).await.unwrap();
        assert_eq!(found.is_some(), known, "{name:?} {word:?}");
    }
    let (session, token) = world.session(&jo).await;
    assert_eq!(world.finds(&token).await.as_deref(), Ok("Jo@Example.com"));
    let found = world.known.find_session(&token, Timestamp::now()).unwrap();
    assert_eq!(found.person.grant().scopes, BTreeSet::from([Scope::Read]));
    assert_eq!(found.person.grant().tenants, acme());
    // A session is no key, and a key no session.
    assert_eq!(world.known.find(&token, Timestamp::now()), Err(Refused::Unknown));
    // What it may do changes with the person.
    let change = Change { role: Some(Role::Operator), ..Change::default() };
    people.change(&jo.id, change, None).await.unwrap();
    world.known.refresh().await.unwrap();
    assert!(!world.known.still_admits_person(&found, Timestamp::now()), "to something else");
    assert_eq!(world.finds(&token).await.as_deref(), Ok("Jo@Example.com"));
    // Who is kept out is out at once, and cannot sign in.
    let change = Change { disabled: Some(true), ..Change::default() };
    people.change(&jo.id, change, None).await.unwrap();
    assert_eq!(world.finds(&token).await, Err(Refused::Revoked));
    assert_eq!(people.recognise("jo@example.com", password()).await.unwrap(), None);
    let error = people.link(&jo.id, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    // Let in again, they sign in anew: the session of before stays over.
    let change = Change { disabled: Some(false), ..Change::default() };
    people.change(&jo.id, change, None).await.unwrap();
    assert!(people.recognise("jo@example.com", password()).await.unwrap().is_some());
    assert_eq!(world.finds(&token).await, Err(Refused::Revoked));
    assert_eq!(session.means, Means::Password);
}

async fn a_link_sets_one_password(database: Database) {
    let Some(world) = World::set(database).await else { return };
    let people = &world.people;
    let link = people.first().await.unwrap().unwrap();
    // Another server that starts makes another link.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let second = people.first().await.unwrap().unwrap();
    assert_ne!(link.id(), second.id());
    assert!(people.list().await.unwrap().is_empty(), "nothing is written for it");
    let set = async |link: &Token, name: Option<&str>, word: &str| {
        people.welcome(link, name, Zeroizing::new(word.to_owned())).await
    };
    let other: Token = {
        let text = second.to_secret_text();
        format!("{}{}", &text[..24], "0".repeat(64)).parse().unwrap()
    };
    let error = set(&other, None, PASSWORD).await.unwrap_err();
    assert!(error.to_string().contains("was used"), "{error}");
    // A link that says it was made at another time is none: the time is signed.
    for id in [0, 1, u64::MAX, i64::MAX.unsigned_abs()].map(|id| format!("{id:016x}")) {
        let text = second.to_secret_text().replace(second.id(), &id);
        assert!(people.asked(&text.parse().unwrap()).await.unwrap().is_none(), "{id}");
    }
    // Too weak: the link is good still.
    let error = set(&second, None, "password").await.unwrap_err();
    assert!(error.to_string().contains("at least 12"), "{error}");
    let first = people.asked(&second).await.unwrap().unwrap();
    assert_eq!((first.role, &first.tenants), (Role::Administrator, &Tenants::All));
    // Of two who use the two at once, one does.
    let (one, two) = tokio::join!(
        set(&second, Some("jo"), PASSWORD),
        set(&link, Some("jo"), "another horse battery")
    );
    let (made, lost) = if one.is_ok() { (one, two) } else { (two, one) };
    assert_eq!(made.unwrap().name, "jo");
    let lost = lost.unwrap_err().to_string();
    assert!(lost.contains("was used") || lost.contains("there already"), "{lost}");
    assert!(people.first().await.unwrap().is_none(), "there is an administrator now");
    for link in [&link, &second] {
        assert_eq!(people.asked(link).await.unwrap(), None);
    }
    // Another link sets another password; until then the first one is good.
    let jo = people.list().await.unwrap();
    let [Listed::Ours(jo)] = jo.as_slice() else { panic!("{jo:?}") };
    let (_, token) = world.session(jo).await;
    let (_, link) = people.link(&jo.id, None).await.unwrap();
    assert!(world.finds(&token).await.is_ok());
    set(&link, None, "a third horse battery").await.unwrap();
    assert_eq!(world.finds(&token).await, Err(Refused::Revoked), "sessions end with it");
    assert_eq!(people.recognise("jo", password()).await.unwrap(), None);
}

async fn a_session_ends_with_what_it_rests_on(database: Database) {
    let Some(world) = World::set(database).await else { return };
    let people = &world.people;
    let jo = world.person("jo", Role::Auditor, Tenants::All).await;
    let (first, token) = world.session(&jo).await;
    assert_eq!(world.finds(&token).await.as_deref(), Ok("jo"));
    let later = Timestamp::now().after(SESSION);
    assert_eq!(world.known.find_session(&token, later).unwrap_err(), Refused::Expired);
    // A page of it is nobody else's.
    let (second, another) = world.session(&jo).await;
    assert_ne!(first.id, second.id);
    let page = world.known.page_token(&first);
    assert!(world.known.is_page_token(&first, &page));
    for wrong in [world.known.page_token(&second), "0".repeat(64), String::new(), page + "0"] {
        assert!(!world.known.is_page_token(&first, &wrong), "{wrong}");
    }
    assert!(people.end(&first.id).await.unwrap());
    assert!(!people.end(&first.id).await.unwrap(), "it is over");
    assert_eq!(world.finds(&token).await, Err(Refused::Revoked));
    assert_eq!(world.finds(&another).await.as_deref(), Ok("jo"));
    assert_eq!(people.sessions().await.unwrap(), [second]);
    // The place of one that is over is taken by the next; what was shown for it is nothing.
    let (third, anew) = world.session(&jo).await;
    assert_eq!(third.id, first.id);
    assert_eq!(world.finds(&token).await, Err(Refused::Unknown));
    assert_eq!(world.finds(&anew).await.as_deref(), Ok("jo"));
    // There are no more than twenty of one person: the oldest ends.
    for _ in 0..25 {
        world.session(&jo).await;
    }
    assert_eq!(people.sessions().await.unwrap().len(), 20);
    assert_eq!(world.finds(&another).await, Err(Refused::Unknown));
}

async fn nobody_is_made_in_the_database(database: Database) {
    let Some(world) = World::set(database).await else { return };
    let jo = world.person("jo", Role::Reader, acme()).await;
    let eve = world.person("eve", Role::Reader, acme()).await;
    let (_, token) = world.session(&jo).await;
    let (_, eves) = world.session(&eve).await;
    assert_eq!(world.finds(&token).await.as_deref(), Ok("jo"));
    // Whoever may write into the database makes jo an administrator.
    world.scene.sql(&format!(
        "UPDATE annals_access SET body = REPLACE(body, '\"reader\"', '\"administrator\"'), \
         revision = 90 WHERE id = '{}'",
        jo.id
    ));
    assert_eq!(world.finds(&token).await, Err(Refused::Unknown));
    assert_eq!(world.people.recognise("jo", password()).await.unwrap(), None);
    // Or gives eve's session to somebody else.
    let to = format!("REPLACE(body, '{}', '{}')", eve.id, jo.id);
    world.scene.sql(&format!(
        "UPDATE annals_access SET body = {to}, revision = 91 WHERE id = '{}'",
        eves.id()
    ));
    assert_eq!(world.finds(&eves).await, Err(Refused::Unknown));
    let listed = world.people.list().await.unwrap();
    assert!(listed.contains(&Listed::Foreign(jo.id)), "{listed:?}");
}

async fn what_is_done_to_people_is_in_the_trail(database: Database) {
    let Some(world) = World::set(database).await else { return };
    let boss = || Some(Actor::new("person", "b055"));
    let (jo, link) = world.people.invite("jo", Role::Reader, Tenants::All, boss()).await.unwrap();
    world.people.welcome(&link, None, password()).await.unwrap();
    let change = Change { role: Some(Role::Auditor), ..Change::default() };
    world.people.change(&jo.id, change, boss()).await.unwrap();
    let query = Query::newest(Filter { tenant: Some(TENANT.to_owned()), ..Filter::default() });
    let page = world.scene.store.query(query.oldest_first()).await.unwrap();
    let told: Vec<_> = page
        .events
        .iter()
        .map(|stored| {
            let event = stored.event().unwrap();
            let body = String::from_utf8_lossy(&stored.body).into_owned();
            assert!(!body.contains("argon2") && !body.contains(&link.to_secret_text()[24..]));
            assert_eq!(event.entity.id.as_deref(), Some(&*jo.id));
            let by = event.actor.unwrap().id.unwrap().to_string();
            let role = event.metadata.unwrap().get::<String>("role").unwrap();
            (event.action.to_string(), by, role)
        })
        .collect();
    let expected = [
        (PERSON_INVITED, "b055", "reader"),
        (PASSWORD_SET, &*jo.id, "reader"),
        (PERSON_CHANGED, "b055", "auditor"),
    ];
    assert_eq!(told, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
}

#[tokio::test]
async fn somebody_is_left_who_says_who_uses_the_server() {
    let Some(world) = World::set(Database::Sqlite).await else { return };
    let boss = world.person("boss", Role::Administrator, Tenants::All).await;
    let of_acme = world.person("of acme", Role::Administrator, acme()).await;
    let people = &world.people;
    let changes = [
        Change { role: Some(Role::Reader), ..Change::default() },
        Change { tenants: Some(acme()), ..Change::default() },
        Change { disabled: Some(true), ..Change::default() },
    ];
    for change in &changes {
        let error = people.change(&boss.id, change.clone(), None).await.unwrap_err();
        assert!(error.to_string().contains("nobody else administers"), "{error}");
    }
    // One who was asked in, and has not come, does not count.
    people.invite("new", Role::Administrator, Tenants::All, None).await.unwrap();
    people.change(&boss.id, changes[0].clone(), None).await.unwrap_err();
    people
        .change(&of_acme.id, Change { tenants: Some(Tenants::All), ..Change::default() }, None)
        .await
        .unwrap();
    people.change(&boss.id, changes[0].clone(), None).await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_somebody_is_said() {
    let Some(world) = World::set(Database::Sqlite).await else { return };
    let people = &world.people;
    people.invite("jo", Role::Reader, Tenants::All, None).await.unwrap();
    let annals = || Tenants::Only(BTreeSet::from([TENANT.to_owned()]));
    for (name, role, tenants, told) in [
        ("", Role::Reader, Tenants::All, "between 1 and 255"),
        ("a\u{7}", Role::Reader, Tenants::All, "visible"),
        ("JO", Role::Reader, Tenants::All, "there already"),
        ("al", Role::Reader, Tenants::Only(BTreeSet::new()), "1 to 100"),
        ("al", Role::Operator, annals(), "for auditors"),
        ("al", Role::Reader, Tenants::Besides { besides: "x".into() }, "for some"),
    ] {
        let error = people.invite(name, role, tenants, None).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Usage && error.to_string().contains(told), "{error}");
    }
    people.invite("al", Role::Auditor, annals(), None).await.unwrap();
    assert_eq!(people.list().await.unwrap().len(), 2);
}

#[tokio::test]
async fn whom_a_provider_recognises_has_what_it_says() {
    let Some(world) = World::set(Database::Sqlite).await else { return };
    let people = &world.people;
    let subject = |subject: &str| Subject {
        issuer: "https://id.example".to_owned(),
        subject: subject.to_owned(),
    };
    let known = async |who: &str, name: &str, role| {
        people.recognise_subject(subject(who), name, role, Tenants::All).await
    };
    let jo = known("1", "jo", Role::Reader).await.unwrap().unwrap();
    let again = known("1", "jo has another name now", Role::Auditor).await.unwrap().unwrap();
    assert_eq!((&again.id, &*again.name, again.role), (&jo.id, "jo", Role::Auditor));
    // A name is no proof: whoever has it there is not who has it here.
    let error = known("2", "JO", Role::Administrator).await.unwrap_err();
    assert!(error.to_string().contains("there already"), "{error}");
    assert_eq!(people.recognise("jo", Zeroizing::new(String::new())).await.unwrap(), None);
    let change = Change { disabled: Some(true), ..Change::default() };
    people.change(&jo.id, change, None).await.unwrap();
    assert_eq!(known("1", "jo", Role::Auditor).await.unwrap(), None);
}

/// A session of a minute is over after a minute, whatever the server's own bound is.
#[tokio::test]
async fn a_session_lasts_as_long_as_was_said() {
    let Some(world) = World::set(Database::Sqlite).await else { return };
    let jo = world.person("jo", Role::Reader, Tenants::All).await;
    let minute = Duration::from_secs(60);
    let from = annals::access::From::default();
    let (session, _) = world.people.begin(&jo, Means::Link, from, minute).await.unwrap();
    assert!(session.lasts_at(session.created_at.after(minute / 2)));
    assert!(!session.lasts_at(session.created_at.after(minute)));
}
