//! Cases for legal holds.

use super::{StorePlace, append_new, whole};
use crate::conformance::sample::{decoded, moment};
use crate::error::{ErrorKind, Result};
use crate::event::{Actor, Entity, Event, EventId, Timestamp};
use crate::query::ActorFilter;
use crate::store::hold::{self, HELD, RELEASED, Scope};
use crate::store::{Prune, Record, Store, prune};

/// Milliseconds: 31 days.
const MONTH: u64 = 31 * 86_400_000;

/// Thirty-six events of a month of their own, of each of three tenants or none, three entities and three actors.
fn of_all_kinds(month: u64) -> Vec<Event> {
    let mut events = Vec::new();
    for number in 0..36_usize {
        let entity =
            [Entity::new("order", "1"), Entity::new("order", "2"), Entity::of_type("page")];
        let mut event = Event::new("updated", entity[number % 3].clone())
            .occurred_at(moment(month * MONTH + number as u64))
            .actor(Actor::new(["user", "job", "user"][number / 3 % 3], number / 3 % 2));
        if number / 9 > 0 {
            event = event.tenant(["acme", "acme ", "Acme"][number / 9 - 1]);
        }
        events.push(event);
    }
    events
}

/// Whether an event fits a scope, by its definition.
fn fits(event: &Event, scope: &Scope) -> bool {
    let Scope { tenant, entity, actor } = scope;
    let tenant = tenant.as_ref().is_none_or(|tenant| event.tenant.as_deref() == Some(tenant));
    let entity = entity.as_ref().is_none_or(|entity| {
        event.entity.kind == entity.kind && (entity.id.is_none() || event.entity.id == entity.id)
    });
    let actor = actor.as_ref().is_none_or(|actor| {
        event.actor.as_ref().is_some_and(|acts| {
            acts.id.as_deref() == Some(&actor.id)
                && (actor.kind.is_none() || acts.kind.as_deref() == actor.kind.as_deref())
        })
    });
    tenant && entity && actor
}

fn scopes() -> Vec<Scope> {
    let tenant = || Some("acme".to_owned());
    let order = || Some(Entity::new("order", "2"));
    let user = || Some(ActorFilter { kind: Some("user".to_owned()), id: "1".to_owned() });
    let anyone = || Some(ActorFilter { kind: None, id: "0".to_owned() });
    vec![
        Scope { tenant: tenant(), ..Scope::default() },
        Scope { entity: order(), ..Scope::default() },
        Scope { entity: Some(Entity::of_type("order")), ..Scope::default() },
        Scope { actor: anyone(), ..Scope::default() },
        Scope { actor: user(), ..Scope::default() },
        Scope { tenant: tenant(), entity: order(), actor: user() },
        Scope { entity: Some(Entity::new("order", "3")), ..Scope::default() },
    ]
}

/// The events that are there, but for those that tell of holds and removals.
async fn left(store: &dyn Store) -> Result<Vec<EventId>> {
    let mut left = Vec::new();
    for stored in whole(store).await? {
        if !stored.event()?.action.starts_with("annals.") {
            left.push(stored.id);
        }
    }
    Ok(left)
}

/// What fits a hold stays when the rest goes, and goes when the hold is released. Whatever a
/// scope names, it covers what its definition says.
pub async fn what_is_held_stays(place: &dyn StorePlace) -> Result<()> {
    for (scope, month) in scopes().into_iter().zip(0..) {
        let store = place.open().await?;
        let events = of_all_kinds(month);
        let all: Result<Vec<Record>> =
            events.iter().map(|event| decoded(event.encode()?)).collect();
        append_new(&*store, &all?).await?;
        let held = hold::place(&*store, scope.clone(), "a case in court", None).await?;
        let (line, below) =
            (Timestamp::now().before(std::time::Duration::from_secs(3_600)), u64::MAX >> 1);
        let kept: Vec<&Event> = events.iter().filter(|event| fits(event, &scope)).collect();
        let plan = store.prune_plan(line).await?;
        assert_eq!(
            (plan.events, plan.held),
            (36 - kept.len() as u64, kept.len() as u64),
            "{scope}"
        );
        assert_eq!(store.prune_list(line, below).await?.count(), plan.events, "{scope}");
        let pruned = prune(&*place.open().await?, &Prune::before(line), |_| ()).await?;
        assert_eq!((pruned.removed.events, pruned.removed.bytes), (plan.events, plan.bytes));
        let ids: Vec<EventId> = kept.iter().map(|event| event.id).collect();
        assert_eq!(left(&*store).await?, ids, "{scope}");

        hold::release(&*store, held.id, "the case is closed", None).await?;
        let rest = prune(&*store, &Prune::before(line), |_| ()).await?;
        assert_eq!(rest.removed.events, kept.len() as u64, "{scope}");
        assert_eq!(left(&*store).await?, [], "{scope}");
        // Those that tell of it are not that old.
        let system = whole(&*store).await?.len() as u64;
        assert_eq!(store.stats().await?.events, system);
        place.check().await?;
    }
    Ok(())
}

/// Who placed what and why, and who released it, is in the trail.
pub async fn holds_tell_of_themselves(place: &dyn StorePlace) -> Result<()> {
    let store = place.open().await?;
    let nothing = hold::place(&*store, Scope::default(), "why", None).await;
    assert!(nothing.is_err_and(|error| error.kind() == ErrorKind::Usage));
    let order = Scope { entity: Some(Entity::new("order", "2")), ..Scope::default() };
    let silent = hold::place(&*store, order.clone(), " ", None).await;
    assert!(silent.is_err_and(|error| error.kind() == ErrorKind::Usage));
    assert_eq!(store.holds().await?, []);

    let by = || Some(Actor::new("user", 7));
    let first = hold::place(&*store, order, "Müller ./. Shop", by()).await?;
    let tenant = Scope { tenant: Some("acme".to_owned()), ..Scope::default() };
    let second = hold::place(&*store, tenant, "audit", None).await?;
    assert_eq!(place.open().await?.holds().await?, [first.clone(), second.clone()]);
    assert_eq!(hold::release(&*store, first.id, "settled", by()).await?, first);
    assert_eq!(place.open().await?.holds().await?, [second]);
    let gone = hold::release(&*store, first.id, "settled", None).await;
    assert!(gone.is_err_and(|error| error.to_string().contains(&first.id.to_string())));

    let told: Vec<Event> =
        whole(&*store).await?.iter().map(|stored| stored.event()).collect::<Result<_>>()?;
    let actions: Vec<&str> = told.iter().map(|event| &*event.action).collect();
    assert_eq!(actions, [HELD, HELD, RELEASED]);
    assert_eq!((told[0].id, told[0].reason.as_deref()), (first.id, Some("Müller ./. Shop")));
    assert_eq!(told[0].actor, by());
    let entity = told[2].metadata.as_ref().and_then(|metadata| metadata.get::<String>("entity"));
    assert_eq!((entity.as_deref(), told[2].reason.as_deref()), (Some("order:2"), Some("settled")));
    place.check().await
}
