//! Erasing a subject.

use super::sealer::About;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Actor, Entity, EventId};
use crate::hex::hex;
use crate::query::{Filter, Query};
use crate::store::{Record, Store, Whose, append_system_event, hold, system_event};

/// The action of the event that tells of it.
pub const ERASED: &str = "annals.erased";

/// Events that are read in one go to see whether one is held.
const PAGE: usize = 1_000;

/// What an erasure did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    /// The event that tells of it.
    pub event: EventId,
    /// Keys that were destroyed: none if somebody else was faster.
    pub keys: u64,
}

/// Destroys the key of a subject: nothing that is sealed under it can be read any more.
/// `None` if it has no key, and so nothing is sealed for it.
///
/// An event [`ERASED`] with the key's id and the reason is stored first: if it is cut
/// short, the trail tells of what may not have been done, and doing it again does it.
/// What comes in about the subject afterwards is sealed under another key.
///
/// # Errors
/// If the store cannot be read or written, or keeps no keys.
pub async fn erase(
    store: &dyn Store,
    whose: &Whose,
    reason: &str,
    by: Option<Actor>,
) -> Result<Option<Erased>> {
    refuse_held(store, whose).await?;
    let vault = store.vault()?;
    let live = vault.live(vec![whose.clone()]).await?;
    if live.is_empty() {
        return Ok(None);
    }
    let keys: Vec<String> = live.iter().map(|key| hex(&key.id)).collect();
    let told = system_event(ERASED, &serde_json::json!({ "keys": keys }), by)?;
    let mut event = told.subject(whose.subject.clone()).reason(reason.to_owned());
    event.entity = Entity::of_type("subject");
    event.tenant = Some(whose.tenant.clone().into()).filter(|_| !whose.tenant.is_empty());
    append_system_event(store, &event).await?;
    Ok(Some(Erased { event: event.id, keys: vault.destroy(whose.clone()).await? }))
}

/// Refuses a subject of whom an event is under a hold, and names the hold.
async fn refuse_held(store: &dyn Store, whose: &Whose) -> Result<()> {
    for hold in store.holds().await? {
        let hold::Scope { tenant, entity, actor } = hold.scope.clone();
        if tenant.as_ref().is_some_and(|tenant| *tenant != whose.tenant) {
            continue;
        }
        let (entity, entity_type) = match entity {
            Some(Entity { kind, id: None }) => (None, Some(kind.into_owned())),
            entity => (entity, None),
        };
        let filter = Filter { tenant, entity, entity_type, actor, ..Filter::default() };
        let (query, mut cursor) = (Query::newest(filter).limit(PAGE), None);
        loop {
            let page = store.query(query.clone().after(cursor)).await?;
            if page.events.iter().any(|stored| is_about(&stored.body, whose)) {
                let doing = format!("erase {}", whose.subject);
                let found = format!("it is under the hold {}: {}", hold.id, hold.reason);
                return Err(Error::new(ErrorKind::Usage, doing, found)
                    .hint("when it may go, `annals hold release` ends the hold"));
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// Whether something in an event is, or would be, sealed for a subject.
fn is_about(body: &[u8], whose: &Whose) -> bool {
    let Ok(record) = Record::decode(body.to_vec()) else { return false };
    About::of(&record).is_ok_and(|about| about.is(whose))
}
