//! Whatever is done rightly, in any order, nothing is found.

use std::collections::BTreeMap;
use std::time::Duration;

use annals::conformance::Random;
use annals::query::ActorFilter;
use annals::retention::{Apply, Keep, Policy, Rule, apply};
use annals::store::hold::{self, Hold, Scope};
use annals::store::{self, Appended, Prune, Record, prune};
use annals::{Actor, Entity, Event, EventId, Timestamp};

use super::scene::{Database, Scene, on_each_database};

on_each_database! {
    a_long_random_run_raises_no_alarm
}

const ROUNDS: usize = 12;
const MONTH: u64 = 30 * 86_400_000_000;

/// What there should be: each event that was appended and not rightly removed.
struct Trail {
    events: BTreeMap<EventId, Event>,
    holds: Vec<Hold>,
}

fn ago(micros: u64) -> Timestamp {
    Timestamp::from_micros(Timestamp::now().as_micros() - micros.cast_signed()).unwrap()
}

fn is_held(event: &Event, hold: &Hold) -> bool {
    let entity = hold.scope.entity.as_ref().is_none_or(|entity| *entity == event.entity);
    let actor = hold.scope.actor.as_ref().is_none_or(|actor| {
        event.actor.as_ref().is_some_and(|acts| acts.id.as_deref() == Some(&actor.id))
    });
    entity && actor
}

async fn a_long_random_run_raises_no_alarm(database: Database) {
    let Some(mut scene) = Scene::set(database).await else { return };
    let seed = std::env::var("ANNALS_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| Timestamp::now().as_micros().unsigned_abs());
    let mut random = Random::seeded(seed);
    let mut trail = Trail { events: BTreeMap::new(), holds: Vec::new() };
    for _ in 0..ROUNDS {
        for _ in 0..6 {
            match random.below(10) {
                0 => scene.store = store::open(&scene.url).await.unwrap(),
                1 => drop(scene.signer().sign().await.unwrap()),
                2 => place(&scene, &mut trail, &mut random).await,
                3 => release(&scene, &mut trail, &mut random).await,
                4 => remove(&scene, &mut trail, &mut random).await,
                5 => retain(&scene, &mut trail, &mut random).await,
                _ => append(&scene, &mut trail, &mut random).await,
            }
        }
        let report = scene.verify().await;
        assert_eq!(report.findings, [], "ANNALS_TEST_SEED={seed}");
        let mut there = 0;
        let mut from = 0;
        loop {
            let window = scene.store.window(from, 500).await.unwrap();
            let Some(last) = window.last() else { break };
            from = last.position + 1;
            for stored in window {
                let event = stored.event().unwrap();
                if !event.action.starts_with("annals.") {
                    assert!(
                        trail.events.contains_key(&event.id),
                        "{} was to go, seed {seed}",
                        event.id
                    );
                    there += 1;
                }
            }
        }
        assert_eq!(there, trail.events.len(), "ANNALS_TEST_SEED={seed}");
    }
}

async fn append(scene: &Scene, trail: &mut Trail, random: &mut Random) {
    let make = |random: &mut Random| {
        let mut event = Event::new("updated", Entity::new("product", random.below(4)))
            .occurred_at(ago(random.below(5 * MONTH)))
            .actor(Actor::user(random.below(3)));
        event.tags.extend((random.below(3) == 0).then(|| "one".into()));
        event
    };
    let events: Vec<Event> = (0..=random.below(150)).map(|_| make(random)).collect();
    let record = |event: &Event| Record::decode(event.encode().unwrap()).unwrap();
    let batch: Vec<Record> = events.iter().map(record).collect();
    let answers = scene.store.append(batch.into()).await.unwrap();
    for (event, answer) in events.into_iter().zip(answers) {
        match answer {
            Appended::Inserted(_) => drop(trail.events.insert(event.id, event)),
            // Its month went as a whole.
            Appended::Refused(reason) => assert!(reason.contains("pruned"), "{reason}"),
            Appended::Duplicate => panic!("ids differ"),
        }
    }
}

async fn remove(scene: &Scene, trail: &mut Trail, random: &mut Random) {
    let before = ago(random.below(6 * MONTH));
    let signer = scene.signer();
    prune(&*scene.store, &Prune::before(before).signed_by(&signer), |_| {}).await.unwrap();
    let holds = &trail.holds;
    let stays = |event: &Event| {
        event.occurred_at >= before || holds.iter().any(|hold| is_held(event, hold))
    };
    trail.events.retain(|_, event| stays(event));
}

async fn retain(scene: &Scene, trail: &mut Trail, random: &mut Random) {
    let mut keep = || Duration::from_micros(random.below(6 * MONTH));
    let (ones, others, now) = (keep(), keep(), Timestamp::now());
    let rule =
        |name: &str, keep| Rule { name: name.to_owned(), keep: Keep::For(keep), ..Rule::default() };
    let ones_alone = Rule { tags: vec!["one".to_owned()], ..rule("ones", ones) };
    let policy = Policy::new(vec![ones_alone, rule("others", others)]).unwrap();
    let signer = scene.signer();
    apply(&*scene.store, &Apply::new(&policy).signed_by(&signer), now, |_| {}).await.unwrap();
    let holds = &trail.holds;
    let stays = |event: &Event| {
        let keep = if event.tags.is_empty() { others } else { ones };
        event.occurred_at >= now.before(keep) || holds.iter().any(|hold| is_held(event, hold))
    };
    trail.events.retain(|_, event| stays(event));
}

async fn place(scene: &Scene, trail: &mut Trail, random: &mut Random) {
    let entity = || Some(Entity::new("product", 1));
    let actor = || Some(ActorFilter { kind: None, id: "2".to_owned() });
    let (entity, actor) = match random.below(3) {
        0 => (entity(), None),
        1 => (None, actor()),
        _ => (entity(), actor()),
    };
    let scope = Scope { entity, actor, ..Scope::default() };
    trail.holds.push(hold::place(&*scene.store, scope, "a case", None).await.unwrap());
}

async fn release(scene: &Scene, trail: &mut Trail, random: &mut Random) {
    if trail.holds.is_empty() {
        return;
    }
    let at = usize::try_from(random.below(trail.holds.len() as u64)).unwrap();
    let hold = trail.holds.remove(at);
    hold::release(&*scene.store, hold.id, "closed", None).await.unwrap();
}
