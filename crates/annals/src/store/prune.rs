//! Retention: removes old events, and says so in the trail first.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{Appended, Appender, PrunePlan, Record, Removed, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Actor, Entity, Event, EventId, Object, Producer, Timestamp, encode_system};

/// The action of the event that tells of a prune. Such events are never pruned.
pub const PRUNED: &str = "annals.pruned";

/// The producer of the events that a store's own upkeep makes.
const PRODUCER: &str = "annals";

/// Events that one step removes, at most: some milliseconds of work.
const STEP: usize = 500;

/// What a prune did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// What it set out to remove.
    pub plan: PrunePlan,
    /// What it removed: less than planned if another prune ran at the same time.
    pub removed: Removed,
    /// The event that tells of it; none if there was nothing to remove.
    pub event: Option<EventId>,
}

/// Removes the events that occurred before `before`, in bounded steps between
/// which appends get their turn, and calls `progress` with what was removed so
/// far after each.
///
/// An event [`PRUNED`] with what is about to go is stored first: if the prune is
/// cut short, the trail explains every event that is missing, and running it
/// again goes on.
///
/// # Errors
/// If the store cannot be written; what was removed so far stays removed.
pub async fn prune(
    store: &dyn Store,
    before: Timestamp,
    by: Option<Actor>,
    mut progress: impl FnMut(Removed),
) -> Result<Pruned> {
    let plan = store.prune_plan(before).await?;
    let mut removed = Removed::default();
    if plan.events == 0 {
        return Ok(Pruned { plan, removed, event: None });
    }
    let event = intent(&plan, before, by)?;
    append_system_event(store, &event).await?;
    loop {
        let began = Instant::now();
        let step = store.prune_step(before, plan.below, STEP).await?;
        if step.events == 0 {
            return Ok(Pruned { plan, removed, event: Some(event.id) });
        }
        removed.events += step.events;
        removed.bytes += step.bytes;
        progress(removed);
        // Half of the time is the appenders'.
        sleep(began.elapsed().clamp(Duration::from_millis(1), Duration::from_millis(250))).await;
    }
}

/// The event that tells of a prune.
fn intent(plan: &PrunePlan, before: Timestamp, by: Option<Actor>) -> Result<Event> {
    #[derive(serde::Serialize)]
    struct Intent {
        before: String,
        below: u64,
        events: u64,
        bytes: u64,
    }
    let intent = Intent {
        before: before.to_string(),
        below: plan.below,
        events: plan.events,
        bytes: plan.bytes,
    };
    let metadata = Object::from_value(&intent)
        .map_err(|fault| Error::new(ErrorKind::Event, "tell of a prune", fault))?;
    let mut event = Event::new(PRUNED, Entity::of_type("store")).metadata(metadata);
    event.actor = by;
    event.producer = Some(Producer { id: PRODUCER.into(), seq: None });
    Ok(event)
}

/// Appends an event that Annals itself makes; its action may begin with
/// [`crate::event::RESERVED_ACTIONS`].
///
/// # Errors
/// If the event cannot be encoded or the store cannot be written.
pub(crate) async fn append_system_event<A>(store: &A, event: &Event) -> Result<()>
where
    A: Appender + ?Sized,
{
    let body = encode_system(event)?;
    let doing = || format!("append {} to {}", event.action, store.url());
    let record =
        Record::decode(body).map_err(|error| Error::new(ErrorKind::Event, doing(), error))?;
    match store.append(std::slice::from_ref(&record).into()).await?.as_slice() {
        [Appended::Refused(reason)] => Err(Error::new(ErrorKind::Event, doing(), reason)),
        _ => Ok(()),
    }
}
