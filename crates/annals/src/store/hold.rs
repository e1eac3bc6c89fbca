//! Legal holds: what may not be removed at all, for as long as they last.

use std::fmt;

use super::Store;
use super::system::{append_system_event, system_event};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Actor, Entity, Event, EventId, Timestamp};
use crate::query::ActorFilter;

/// The action of the event that tells of a new hold.
pub const HELD: &str = "annals.hold.added";

/// The action of the event that tells of the end of one.
pub const RELEASED: &str = "annals.hold.released";

/// Bytes of a reason, at most.
const REASON: usize = 4096;

/// What a hold covers: the events that fit all that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Of this tenant.
    pub tenant: Option<String>,
    /// Of this entity; of all of a type, if it has no id.
    pub entity: Option<Entity>,
    /// By this actor.
    pub actor: Option<ActorFilter>,
}

impl Scope {
    /// The columns and what each must be, in the order of the indexes that lead to the
    /// events.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub(crate) fn columns(&self) -> [Option<&str>; 5] {
        let entity = self.entity.as_ref();
        let actor = self.actor.as_ref();
        [
            self.tenant.as_deref(),
            entity.map(|entity| &*entity.kind),
            entity.and_then(|entity| entity.id.as_deref()),
            actor.and_then(|actor| actor.kind.as_deref()),
            actor.map(|actor| actor.id.as_str()),
        ]
    }

    /// From those columns.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub(crate) fn of_columns([tenant, kind, id, actor_kind, actor]: [Option<String>; 5]) -> Self {
        let entity = kind.map(|kind| Entity { kind: kind.into(), id: id.map(Into::into) });
        let actor = actor.map(|id| ActorFilter { kind: actor_kind, id });
        Self { tenant, entity, actor }
    }
}

/// Reads what a scope may cover: `TYPE:ID`, or `TYPE` for all of a type.
///
/// # Errors
/// What was expected.
pub fn covered(text: &str) -> std::result::Result<Entity, String> {
    match text.is_empty() || text.contains(':') {
        true => text.parse(),
        false => Ok(Entity::of_type(text.to_owned())),
    }
}

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its id: that of the event that tells of it.
    pub id: EventId,
    /// What it covers.
    pub scope: Scope,
    /// Why.
    pub reason: String,
    /// Since when.
    pub placed_at: Timestamp,
}

/// Places a hold: once this returns, nothing that fits its scope is pruned or erased by
/// anybody until it is released. An event [`HELD`] tells of it.
///
/// # Errors
/// [`ErrorKind::Usage`] for a scope that names nothing, or a reason that is empty or longer
/// than 4 KiB; otherwise if the store cannot be written. It may then be placed: list them.
pub async fn place(
    store: &dyn Store,
    scope: Scope,
    reason: &str,
    by: Option<Actor>,
) -> Result<Hold> {
    let wrong = |found: &str, hint: &str| {
        let doing = format!("place a hold in {}", store.url());
        Err(Error::new(ErrorKind::Usage, doing, found).hint(hint))
    };
    if scope == Scope::default() {
        return wrong("it would cover everything", "name an entity, an actor or a tenant");
    }
    if reason.trim().is_empty() || reason.len() > REASON || reason.contains('\0') {
        return wrong(
            "a reason has between 1 and 4096 bytes",
            "say why, and until when to ask again",
        );
    }
    let placed_at = Timestamp::now();
    let hold = Hold { id: EventId::at(placed_at), scope, reason: reason.to_owned(), placed_at };
    let mut event = tell(HELD, &hold, reason, by)?;
    (event.id, event.occurred_at) = (hold.id, placed_at);
    // What it covers stays from now on, whether or not it can be told.
    store.place_hold(&hold).await?;
    append_system_event(store, &event).await?;
    Ok(hold)
}

/// Releases a hold. An event [`RELEASED`] tells of it first.
///
/// # Errors
/// [`ErrorKind::Usage`] if there is none of that id, or a reason that is none; otherwise if
/// the store cannot be written.
pub async fn release(
    store: &dyn Store,
    id: EventId,
    reason: &str,
    by: Option<Actor>,
) -> Result<Hold> {
    let wrong = |found: String, hint: &str| {
        let doing = format!("release a hold in {}", store.url());
        Err(Error::new(ErrorKind::Usage, doing, found).hint(hint))
    };
    if reason.trim().is_empty() || reason.len() > REASON {
        return wrong("a reason has between 1 and 4096 bytes".to_owned(), "say why");
    }
    let Some(hold) = store.holds().await?.into_iter().find(|hold| hold.id == id) else {
        return wrong(format!("there is no hold {id}"), "`annals hold list` names those there are");
    };
    append_system_event(store, &tell(RELEASED, &hold, reason, by)?).await?;
    store.lift_hold(id).await?;
    Ok(hold)
}

/// The event that tells of a hold.
fn tell(action: &'static str, hold: &Hold, reason: &str, by: Option<Actor>) -> Result<Event> {
    let Scope { tenant, entity, actor } = &hold.scope;
    let tells = serde_json::json!({
        "hold": hold.id.to_string(), "tenant": tenant,
        "entity": entity.as_ref().map(ToString::to_string),
        "actor": actor.as_ref().map(ToString::to_string),
    });
    Ok(Event { reason: Some(reason.to_owned().into()), ..system_event(action, &tells, by)? })
}

impl fmt::Display for Scope {
    /// Such as `tenant acme, entity order:42, actor user:7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenant = self.tenant.as_ref().map(|tenant| format!("tenant {tenant}"));
        let entity = self.entity.as_ref().map(|entity| format!("entity {entity}"));
        let actor = self.actor.as_ref().map(|actor| format!("actor {actor}"));
        let parts: Vec<String> = [tenant, entity, actor].into_iter().flatten().collect();
        f.write_str(&parts.join(", "))
    }
}
