//! Retention: removes old events, and says so in the trail first.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::time::sleep;

use super::system::{append_system_event, system_event};
use super::{KeptRemoval, PrunePlan, Removed, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Actor, Event, EventId, Timestamp};
use crate::log::{Positions, Removal};

/// The action of the event that tells of a prune. Such events are never pruned.
pub const PRUNED: &str = "annals.pruned";

/// Events that one step removes, at most: some milliseconds of work.
const STEP: usize = 500;

/// Runs of neighbours in what a prune removes, at most: some 100 MiB of them.
const RUNS: usize = 1_000_000;

/// What to prune, and who does it.
#[derive(Clone)]
pub struct Prune<'a> {
    before: Timestamp,
    by: Option<Actor>,
    signer: Option<&'a dyn SignRemoval>,
}

impl<'a> Prune<'a> {
    /// Prunes the events that occurred before a time.
    #[must_use]
    pub fn before(before: Timestamp) -> Self {
        Self { before, by: None, signer: None }
    }

    /// Names who does it.
    #[must_use]
    pub fn by(self, by: Option<Actor>) -> Self {
        Self { by, ..self }
    }

    /// Has it signed; a log that is signed wants that.
    #[must_use]
    pub fn signed_by(self, signer: &'a dyn SignRemoval) -> Self {
        Self { signer: Some(signer), ..self }
    }
}

/// Signs what is about to be removed, with the keys of the log.
#[async_trait]
pub trait SignRemoval: Send + Sync {
    /// The note over a removal ([`crate::log::Removal`]).
    ///
    /// # Errors
    /// If there are no keys of this log, or it may not be signed.
    async fn sign_removal(&self, removal: &Removal) -> Result<String>;
}

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

/// Removes old events, save those under a [hold](super::hold), in bounded steps, between which appends get their turn, and calls
/// `progress` with what was removed so far after each.
///
/// Which positions go is listed and signed, and an event [`PRUNED`] is stored that tells of
/// the list, before the first of them goes: if the prune is cut short, the trail explains
/// every event that is missing, and running it again goes on.
///
/// # Errors
/// [`ErrorKind::Usage`] if the log is signed, and this is not; otherwise if the store cannot
/// be written. What was removed so far stays removed.
pub async fn prune(
    store: &dyn Store,
    prune: &Prune<'_>,
    mut progress: impl FnMut(Removed),
) -> Result<Pruned> {
    let before = prune.before;
    let plan = store.prune_plan(before).await?;
    let mut removed = Removed::default();
    if plan.events == 0 {
        return Ok(Pruned { plan, removed, event: None });
    }
    let event = announce(store, prune, &plan).await?;
    loop {
        let began = Instant::now();
        let step = store.prune_step(before, plan.below, STEP).await?;
        if step.events == 0 {
            return Ok(Pruned { plan, removed, event: Some(event) });
        }
        removed.events += step.events;
        removed.bytes += step.bytes;
        progress(removed);
        // Half of the time is the appenders'.
        sleep(began.elapsed().clamp(Duration::from_millis(1), Duration::from_millis(250))).await;
    }
}

/// Lists what is about to go, has that signed, and tells of it in the trail.
async fn announce(store: &dyn Store, prune: &Prune<'_>, plan: &PrunePlan) -> Result<EventId> {
    let doing = || format!("prune {}", store.url());
    let positions = store.prune_list(prune.before, plan.below).await?;
    if positions.runs().len() > RUNS {
        let found = format!(
            "what goes lies in {} places that do not touch; at most {RUNS} go at once",
            positions.runs().len()
        );
        return Err(Error::new(ErrorKind::Usage, doing(), found)
            .hint("begin with what is older: give a longer --older-than first"));
    }
    let event = intent(prune, plan, &positions)?;
    let removal = Removal::new(event.id, plan.below, &positions);
    let ledger = store.ledger()?;
    let note = match prune.signer {
        Some(signer) => Some(signer.sign_removal(&removal).await?),
        None if ledger.standing().await?.keys.is_empty() => None,
        None => {
            let found = "the log is signed, and nothing here signs what is removed from it";
            return Err(Error::new(ErrorKind::Usage, doing(), found)
                .hint("prune where the log's key is, or hand Prune a Signer"));
        }
    };
    ledger.keep_removal(event.id, KeptRemoval { positions: positions.encode(), note }).await?;
    append_system_event(store, &event).await?;
    Ok(event.id)
}

/// The event that tells of a prune.
fn intent(prune: &Prune<'_>, plan: &PrunePlan, positions: &Positions) -> Result<Event> {
    #[derive(serde::Serialize)]
    struct Intent {
        before: String,
        size: u64,
        events: u64,
        bytes: u64,
        positions: String,
    }
    let intent = Intent {
        before: prune.before.to_string(),
        size: plan.below,
        events: positions.count(),
        bytes: plan.bytes,
        positions: positions.hash().iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    system_event(PRUNED, &intent, prune.by.clone())
}
