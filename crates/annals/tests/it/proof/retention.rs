//! Rules of retention: what is due goes, is told of and signed, and nothing else goes.

use std::collections::BTreeSet;
use std::time::Duration;

use annals::conformance::Random;
use annals::retention::{Apply, Keep, Policy, Rule, apply, plan};
use annals::store::hold::{self, Scope};
use annals::store::{Appended, Record, Store};
use annals::{Entity, ErrorKind, Event, EventId, Timestamp};

use super::scene::{Database, Scene, on_each_database};

on_each_database! {
    what_is_due_goes_by_its_rule_and_nothing_else
    what_was_cut_short_is_explained_and_goes_on
    what_is_held_after_it_was_listed_stays
    a_log_that_is_signed_wants_the_removal_signed
}

const DAY: Duration = Duration::from_secs(86_400);

fn rule(name: &str, days: u32) -> Rule {
    Rule { name: name.into(), keep: Keep::For(DAY * days), ..Rule::default() }
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|one| (*one).to_owned()).collect()
}

/// Cards for ever, sign-ins of acme 30 days, orders 150, the rest 300.
fn policy() -> Policy {
    Policy::new(vec![
        Rule { tags: texts(&["card"]), keep: Keep::ForEver, ..rule("cards", 0) },
        Rule {
            actions: texts(&["login", "logout"]),
            tenants: texts(&["acme"]),
            ..rule("sign-ins", 30)
        },
        Rule { entity_types: texts(&["order"]), ..rule("orders", 150) },
        rule("rest", 300),
    ])
    .unwrap()
}

/// The same, said once more: how many days an event is kept, and by which rule.
fn days(event: &Event) -> Option<(usize, u32)> {
    let login = ["login", "logout"].contains(&event.action.as_ref());
    if event.tags.iter().any(|tag| tag == "card") {
        None
    } else if login && event.tenant.as_deref() == Some("acme") {
        Some((1, 30))
    } else if event.entity.kind == "order" {
        Some((2, 150))
    } else {
        Some((3, 300))
    }
}

fn event(random: &mut Random, now: Timestamp, oldest: u64) -> Event {
    let ago = Duration::from_secs(random.below(oldest * 86_400));
    let mut pick =
        |of: &[&'static str]| of[usize::try_from(random.below(of.len() as u64)).unwrap()];
    let action = pick(&["login", "logout", "created", "updated"]);
    let kind = pick(&["order", "user", "page"]);
    let mut event = Event::new(action, Entity::new(kind, 7)).occurred_at(now.before(ago));
    let tenant = pick(&["acme", "other", ""]);
    if !tenant.is_empty() {
        event = event.tenant(tenant);
    }
    // The word alone, and not as a tag, says nothing.
    event.reason = Some("\"tags\":[\"card\"]".into());
    let tag = pick(&["", "", "", "", "card", "x\u{e9}"]);
    if !tag.is_empty() {
        event.tags = vec!["first".into(), tag.into()];
    }
    event
}

impl Scene {
    async fn events(&mut self, seed: u64, count: usize, oldest: u64) -> Vec<Event> {
        let (mut random, now) = (Random::seeded(seed), Timestamp::now());
        let mut all = Vec::new();
        for _ in 0..count.div_ceil(200) {
            let events: Vec<Event> = (0..200).map(|_| event(&mut random, now, oldest)).collect();
            let record = |event: &Event| Record::decode(event.encode().unwrap()).unwrap();
            let batch: Vec<Record> = events.iter().map(record).collect();
            let answers = self.store.append(batch.into()).await.unwrap();
            assert!(answers.iter().all(|answer| matches!(answer, Appended::Inserted(_))));
            all.extend(events);
            self.signer().sign().await.unwrap();
        }
        all
    }

    /// What is there, but for what Annals has told itself.
    async fn there(&self) -> BTreeSet<EventId> {
        let (mut there, mut from) = (BTreeSet::new(), 0);
        loop {
            let window = self.store.window(from, 1_000).await.unwrap();
            let Some(last) = window.last() else { return there };
            from = last.position + 1;
            let ours =
                |id: &&annals::store::Stored| !id.event().unwrap().action.starts_with("annals.");
            there.extend(window.iter().filter(ours).map(|stored| stored.id));
        }
    }
}

async fn what_is_due_goes_by_its_rule_and_nothing_else(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    let events = scene.events(7, 2_000, 500).await;
    let scope = Scope {
        entity: Some(Entity::new("page", 7)),
        tenant: Some("other".into()),
        ..Scope::default()
    };
    hold::place(&*scene.store, scope, "a case", None).await.unwrap();
    let held =
        |event: &Event| event.entity.kind == "page" && event.tenant.as_deref() == Some("other");
    let now = Timestamp::now();
    let due = |event: &Event| {
        let rule = days(event).filter(|(_, days)| event.occurred_at < now.before(DAY * *days));
        rule.map(|(rule, _)| rule)
    };

    let planned = plan(&*scene.store, &policy(), now, false).await.unwrap();
    for (index, planned) in planned.rules.iter().enumerate() {
        let wanted = || events.iter().filter(|event| due(event) == Some(index));
        let goes: Vec<&Event> = wanted().filter(|event| !held(event)).collect();
        let bytes: usize = goes.iter().map(|event| event.encode().unwrap().len()).sum();
        assert_eq!((planned.goes.events, planned.goes.bytes), (goes.len() as u64, bytes as u64));
        assert_eq!(planned.held, (wanted().count() - goes.len()) as u64, "rule {index}");
        let times = || goes.iter().map(|event| event.occurred_at);
        assert_eq!((planned.oldest, planned.newest), (times().min(), times().max()));
    }

    let (policy, signer) = (policy(), scene.signer());
    let applying = Apply::new(&policy).signed_by(&signer);
    let mut steps = Vec::new();
    let applied =
        apply(&*scene.store, &applying, now, |removed| steps.push(removed.events)).await.unwrap();
    let removed: u64 = planned.rules.iter().map(|rule| rule.goes.events).sum();
    assert_eq!(steps.last(), Some(&removed), "{steps:?}");
    assert!(steps.is_sorted() && steps.len() > 1, "{steps:?}");
    let stays = |event: &&Event| due(event).is_none() || held(event);
    let wanted: BTreeSet<EventId> = events.iter().filter(stays).map(|event| event.id).collect();
    assert_eq!(scene.there().await, wanted);
    assert_eq!(applied[0].events, [], "cards are kept for ever");
    for (rule, (applied, planned)) in policy.rules().iter().zip(applied.iter().zip(&planned.rules))
    {
        assert_eq!((applied.removed, applied.held), (planned.goes, planned.held));
        for told in &applied.events {
            let told = scene.store.get(*told).await.unwrap().unwrap().body;
            let told = String::from_utf8(told).unwrap();
            assert!(told.contains(&format!("\"rule\":\"{}\"", rule.name)), "{told}");
        }
    }
    scene.signer().sign().await.unwrap();
    assert_eq!(scene.verify().await.findings, []);

    // A second time nothing is left, and an event that was removed stays removed.
    let again = apply(&*scene.store, &applying, now, |_| {}).await.unwrap();
    assert!(again.iter().all(|applied| applied.events.is_empty()));
    let gone = events.iter().find(|event| !stays(event)).unwrap();
    let record = Record::decode(gone.encode().unwrap()).unwrap();
    let refused = scene.store.append(vec![record].into()).await.unwrap();
    assert!(matches!(&refused[0], Appended::Refused(why) if why.contains("pruned")), "{refused:?}");
}

async fn what_was_cut_short_is_explained_and_goes_on(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    let events = scene.events(11, 3_000, 200).await;
    let policy = Policy::new(vec![rule("all", 90)]).unwrap();
    let now = Timestamp::now();
    let signer = scene.signer();
    let applying = Apply::new(&policy).signed_by(&signer);
    // Whoever applies it is gone after the first step.
    let (stepped, mut has_stepped) = tokio::sync::mpsc::unbounded_channel();
    tokio::select! {
        _ = apply(&*scene.store, &applying, now, |removed| stepped.send(removed).unwrap()) => panic!(),
        _ = has_stepped.recv() => {}
    }
    scene.signer().sign().await.unwrap();
    assert_eq!(scene.verify().await.findings, []);
    let there = scene.there().await.len();
    let old = events.iter().filter(|event| event.occurred_at < now.before(DAY * 90)).count();
    assert!(there < events.len() && there > events.len() - old, "{there}");

    let rest = apply(&*scene.store, &applying, now, |_| {}).await.unwrap();
    assert_eq!(rest[0].removed.events as usize, there + old - events.len());
    assert_eq!(scene.there().await.len(), events.len() - old);
    assert_eq!(scene.verify().await.findings, []);
}

async fn what_is_held_after_it_was_listed_stays(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    scene.events(13, 200, 100).await;
    let (retain, now) = (scene.store.retain().unwrap(), Timestamp::now());
    let seen = retain.survey(None, now, u64::MAX >> 1, false, 1_000).await.unwrap();
    assert_eq!(seen.len(), 200);
    let scope = Scope { entity: Some(Entity::of_type("order")), ..Scope::default() };
    hold::place(&*scene.store, scope, "a case", None).await.unwrap();
    let all: Vec<_> = seen.iter().map(annals::store::Surveyed::spot).collect();
    let removed = retain.remove(&all).await.unwrap();
    let orders = seen.iter().filter(|event| event.entity_type == "order").count() as u64;
    assert_eq!(removed.events, 200 - orders);
    assert_eq!(scene.there().await.len() as u64, orders);
    assert_eq!(retain.remove(&all).await.unwrap().events, 0);
}

async fn a_log_that_is_signed_wants_the_removal_signed(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    scene.events(17, 200, 400).await;
    let policy = policy();
    let refused = apply(&*scene.store, &Apply::new(&policy), Timestamp::now(), |_| {}).await;
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("nothing here signs what is removed"), "{error}");
    assert_eq!(scene.there().await.len(), 200);
}

#[tokio::test]
async fn a_month_goes_with_its_table_if_all_of_it_is_due() {
    let Some(mut scene) = Scene::set(Database::Postgres).await else { return };
    let events = scene.events(19, 4_000, 400).await;
    // Of old months all are due, by one rule or the other.
    let policy = Policy::new(vec![
        Rule { actions: texts(&["login"]), ..rule("sign-ins", 60) },
        rule("rest", 200),
    ])
    .unwrap();
    let now = Timestamp::now();
    let planned = plan(&*scene.store, &policy, now, false).await.unwrap();
    assert!((5..=7).contains(&planned.months.len()), "{:?}", planned.months);
    let signer = scene.signer();
    let tables = || scene.sql("SELECT count(*) FROM annals_partitions WHERE dropped_at IS NULL");
    let before: usize = tables().parse().unwrap();
    let mut steps = Vec::new();
    let applying = Apply::new(&policy).signed_by(&signer);
    apply(&*scene.store, &applying, now, |removed| steps.push(removed.events)).await.unwrap();
    let after: usize = tables().parse().unwrap();
    assert_eq!(before - after, planned.months.len());
    // Months first, one a step.
    let old = |event: &&Event| event.occurred_at < planned.months.last().unwrap().until;
    let old = events.iter().filter(old).count() as u64;
    assert_eq!(steps[planned.months.len() - 1], old);
    assert_eq!(scene.verify().await.findings, []);
    let stays = |event: &&Event| {
        let days = if event.action == "login" { 60 } else { 200 };
        event.occurred_at >= now.before(DAY * days)
    };
    assert_eq!(scene.there().await.len(), events.iter().filter(stays).count());
}
