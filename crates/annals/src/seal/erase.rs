//! Erasing a subject.

use super::sealed::hex;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Actor, Entity, Event, EventId, Object, Producer};
use crate::store::{Store, Whose, append_system_event};

/// The action of the event that tells of it.
pub const ERASED: &str = "annals.erased";

/// The producer of the events that a store's own upkeep makes.
const PRODUCER: &str = "annals";

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
    refuse_held(whose)?;
    let vault = store.vault()?;
    let live = vault.live(vec![whose.clone()]).await?;
    if live.is_empty() {
        return Ok(None);
    }
    let keys: Vec<String> = live.iter().map(|key| hex(&key.id)).collect();
    let metadata = Object::from_value(&serde_json::json!({ "keys": keys }))
        .map_err(|fault| Error::new(ErrorKind::Event, "tell of an erasure", fault))?;
    let mut event = Event::new(ERASED, Entity::of_type("subject"))
        .subject(whose.subject.clone())
        .reason(reason.to_owned())
        .metadata(metadata);
    event.tenant = Some(whose.tenant.clone().into()).filter(|_| !whose.tenant.is_empty());
    event.actor = by;
    event.producer = Some(Producer { id: PRODUCER.into(), seq: None });
    append_system_event(store, &event).await?;
    Ok(Some(Erased { event: event.id, keys: vault.destroy(whose.clone()).await? }))
}

/// Refuses a subject whose data must be kept. There are no legal holds yet: this is where
/// they are asked, before anything is told or destroyed.
fn refuse_held(_: &Whose) -> Result<()> {
    Ok(())
}
