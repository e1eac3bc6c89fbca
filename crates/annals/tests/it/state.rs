//! Rebuilding an entity's state, beside a plain map.

use std::collections::BTreeMap;
use std::time::Duration;

use annals::change::{Fields, diff};
use annals::query::{State, state_at};
use annals::{Actor, Auditable, Entity, Event, Object, Outcome, Timestamp};
use proptest::prelude::*;

type Values = BTreeMap<String, i64>;

/// An entity whose fields are not known when compiling.
struct Thing(Values);

impl Auditable for Thing {
    const ENTITY_TYPE: &'static str = "thing";

    fn entity_id(&self) -> String {
        "1".to_owned()
    }

    fn fields(&self, fields: &mut Fields) {
        for (name, value) in &self.0 {
            fields.add(name.clone(), value);
        }
    }
}

fn time(step: usize) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    start.after(Duration::from_secs(step as u64))
}

fn object(json: &str) -> Object {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    Object::from_value(&value).unwrap()
}

fn event(action: &'static str, step: usize, old: Option<&str>, new: Option<&str>) -> Event {
    let mut event = Event::new(action, Entity::new("thing", 1)).occurred_at(time(step));
    event.old_values = old.map(object);
    event.new_values = new.map(object);
    event
}

fn values(state: &State) -> &str {
    state.values.as_str()
}

#[test]
fn a_state_says_who_touched_it_last() {
    let events = [
        event("created", 1, None, Some(r#"{"a":1}"#)),
        event("updated", 3, Some(r#"{"a":1}"#), Some(r#"{"a":2}"#)),
    ];
    assert_eq!(state_at(&events, time(2)).unwrap().last.unwrap().id, events[0].id);
    let last = state_at(&events, time(9)).unwrap().last.unwrap();
    assert_eq!((last.id, &*last.action, last.occurred_at), (events[1].id, "updated", time(3)));
}

#[test]
fn before_its_creation_an_entity_is_not_there() {
    let events = [event("created", 5, None, Some(r#"{"a":1}"#))];
    let state = state_at(&events, time(4)).unwrap();
    assert!(!state.exists && state.complete && state.last.is_none());
    assert!(state.values.is_empty());
    assert!(state_at(&events, time(5)).unwrap().exists, "the moment itself counts");
    assert_eq!(state_at([], time(5)), None);
}

#[test]
fn what_failed_or_was_denied_changed_nothing() {
    let created = event("created", 1, None, Some(r#"{"a":1}"#));
    for outcome in [Outcome::Failure, Outcome::Denied] {
        let tried = event("updated", 2, Some(r#"{"a":1}"#), Some(r#"{"a":2}"#)).outcome(outcome);
        let state = state_at(&[created.clone(), tried], time(3)).unwrap();
        assert_eq!(values(&state), r#"{"a":1}"#);
        assert_eq!(state.last.unwrap().id, created.id);
    }
}

#[test]
fn an_action_of_ones_own_changes_the_fields_that_it_names() {
    let events = [
        event("created", 1, None, Some(r#"{"a":1,"b":1}"#)),
        event("viewed", 2, None, None).actor(Actor::user(7)),
        event("repriced", 3, Some(r#"{"a":1}"#), Some(r#"{"a":5}"#)),
    ];
    assert_eq!(values(&state_at(&events, time(3)).unwrap()), r#"{"a":5,"b":1}"#);
    assert_eq!(state_at(&events, time(2)).unwrap().last.unwrap().id, events[0].id);
}

#[test]
fn numbers_and_marks_come_back_as_recorded() {
    let new = r#"{"big":123456789012345678901234567890,"exact":0.10,"secret":{"$annals":{"kind":"redacted"}}}"#;
    // As stored: what an application captures may not look like a mark.
    let id = annals::EventId::at(time(1));
    let text = format!(
        r#"{{"id":"{id}","occurred_at":"{}","action":"created","entity":{{"type":"t","id":"1"}},"new_values":{new}}}"#,
        time(1)
    );
    let stored = Event::decode(text.as_bytes()).unwrap();
    assert_eq!(values(&state_at([&stored], time(1)).unwrap()), new);
}

#[test]
fn a_trail_that_begins_in_mid_life_is_completed_backwards() {
    let events = [
        event("updated", 2, Some(r#"{"a":1}"#), Some(r#"{"a":2}"#)),
        event("updated", 4, Some(r#"{"b":1}"#), Some(r#"{"b":2,"new":1}"#)),
        event("updated", 5, Some(r#"{"b":2}"#), Some(r#"{"b":3}"#)),
        event("deleted", 6, Some(r#"{"a":2,"b":3,"c":9,"new":1}"#), None),
    ];
    let state = state_at(&events, time(3)).unwrap();
    assert!(state.exists && !state.complete);
    assert_eq!(values(&state), r#"{"a":2,"b":1,"c":9}"#);
    let earlier = state_at(&events, time(1)).unwrap();
    assert_eq!(values(&earlier), r#"{"a":1,"b":1,"c":9}"#);
    assert_eq!(earlier.last, None);
    let gone = state_at(&events, time(6)).unwrap();
    assert!(!gone.exists);
    assert_eq!(values(&gone), r#"{"a":2,"b":3,"new":1,"c":9}"#);
}

#[test]
fn a_trail_that_begins_with_a_restoration_was_deleted_before() {
    let events = [event("restored", 2, None, Some(r#"{"a":1}"#))];
    let state = state_at(&events, time(1)).unwrap();
    assert!(!state.exists && !state.complete);
    assert!(state_at(&events, time(2)).unwrap().exists);
}

/// What happens to a thing, if it can.
#[derive(Clone, Debug)]
enum Step {
    Create(Values),
    Update(Values),
    Delete,
    Restore(Option<(String, i64)>),
}

fn some_values() -> impl Strategy<Value = Values> {
    prop::collection::btree_map("[a-d]", 0..4_i64, 0..4)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => some_values().prop_map(Step::Create),
        6 => some_values().prop_map(Step::Update),
        1 => Just(Step::Delete),
        2 => prop::option::of(("[a-d]", 0..4_i64)).prop_map(Step::Restore),
    ];
    prop::collection::vec(step, 1..25)
}

/// The events that the steps make, and the thing after each time.
#[derive(Default)]
struct Life {
    events: Vec<Event>,
    /// By time: whether it was there, and its fields.
    truth: Vec<(bool, Values)>,
}

impl Life {
    fn live(steps: Vec<Step>) -> Self {
        let mut life = Self { events: Vec::new(), truth: vec![(false, Values::new())] };
        let mut begun = false;
        for step in steps {
            let (there, values) = life.truth.last().unwrap().clone();
            let before = Thing(values.clone());
            let (event, truth) = match step {
                Step::Create(values) if !there && !begun => {
                    (Some(Event::created(&Thing(values.clone())).unwrap()), (true, values))
                }
                Step::Update(after) if there => {
                    let event = Event::updated(&before, &Thing(after.clone())).unwrap();
                    (event, (true, after))
                }
                Step::Delete if there => (Some(Event::deleted(&before).unwrap()), (false, values)),
                Step::Restore(change) if !there && begun => {
                    let mut after = values;
                    after.extend(change);
                    (Some(Event::restored(&Thing(after.clone())).unwrap()), (true, after))
                }
                _ => continue,
            };
            begun = true;
            let now = time(life.truth.len());
            life.events.extend(event.map(|event| event.occurred_at(now)));
            life.truth.push(truth);
        }
        life
    }
}

proptest! {
    #[test]
    fn replaying_gives_the_state_at_every_time(steps in steps()) {
        let life = Life::live(steps);
        prop_assume!(!life.events.is_empty());
        for (step, (there, values)) in life.truth.iter().enumerate() {
            let state = state_at(&life.events, time(step)).unwrap();
            prop_assert_eq!(state.exists, *there);
            prop_assert!(state.complete);
            prop_assert_eq!(state.values.to::<Values>().unwrap(), values.clone(), "at {}", step);
        }
    }

    /// Whatever the beginning is lost of: what is said is true.
    #[test]
    fn a_trail_without_its_beginning_says_nothing_wrong(steps in steps(), lost in 1..12_usize) {
        let life = Life::live(steps);
        prop_assume!(life.events.len() > lost);
        let trail = &life.events[lost..];
        for (step, (there, truth)) in life.truth.iter().enumerate() {
            if time(step) < life.events[lost - 1].occurred_at {
                continue;
            }
            let state = state_at(trail, time(step)).unwrap();
            prop_assert_eq!(state.exists, *there);
            if !there {
                continue;
            }
            let known = state.values.to::<Values>().unwrap();
            for (name, value) in &known {
                prop_assert_eq!(truth.get(name), Some(value), "{} at {}", name, step);
            }
            let told = trail.iter().filter(|event| event.occurred_at <= time(step));
            for name in told.flat_map(Event::changed_fields) {
                prop_assert_eq!(known.get(&name), truth.get(&name), "{} at {}", name, step);
            }
        }
    }

    /// Old values with the changes over them are the new values.
    #[test]
    fn a_difference_leads_from_one_to_the_other(old in some_values(), new in some_values()) {
        let Some((gone, come)) = diff(&Thing(old.clone()), &Thing(new.clone())).unwrap() else {
            prop_assert_eq!(old, new);
            return Ok(());
        };
        let (gone, come) = (gone.to::<Values>().unwrap(), come.to::<Values>().unwrap());
        prop_assert!(gone.iter().all(|(name, value)| old.get(name) == Some(value)));
        prop_assert!(gone.iter().all(|(name, value)| come.get(name) != Some(value)), "only what changed");
        let mut after = old;
        after.retain(|name, _| !gone.contains_key(name));
        after.extend(come);
        prop_assert_eq!(after, new);
    }
}
