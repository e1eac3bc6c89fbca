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

/// Files of an archive that one prune names in the trail, at most: an event holds so many.
const FILES: usize = 1_000;

/// What to prune, and who does it.
#[derive(Clone)]
pub struct Prune<'a> {
    before: Timestamp,
    by: Option<Actor>,
    signer: Option<&'a dyn SignRemoval>,
    archivist: Option<&'a dyn Archivist>,
    rule: Option<&'a str>,
}

impl<'a> Prune<'a> {
    /// Prunes the events that occurred before a time.
    #[must_use]
    pub fn before(before: Timestamp) -> Self {
        Self { before, by: None, signer: None, archivist: None, rule: None }
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

    /// Has what goes archived first.
    #[must_use]
    pub fn archived_by(self, archivist: &'a dyn Archivist) -> Self {
        Self { archivist: Some(archivist), ..self }
    }

    /// Names the rule of retention that it is done by.
    pub(crate) fn by_rule(self, rule: &'a str) -> Self {
        Self { rule: Some(rule), ..self }
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

/// Keeps elsewhere what is about to be removed.
#[async_trait]
pub trait Archivist: Send + Sync {
    /// Archives the events at these positions; once this returns they are durable there, and
    /// have been checked. Answers all files that have any of them, those that were there
    /// before included.
    ///
    /// # Errors
    /// If any of that fails, or one of the events is not there: then nothing is to be
    /// removed.
    async fn archive(&self, store: &dyn Store, positions: &Positions) -> Result<Vec<Archived>>;
}

/// A file that something was archived in.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Archived {
    /// Its name.
    pub file: String,
    /// SHA-256 over its bytes, in hexadecimal.
    pub sha256: String,
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
    let positions = store.prune_list(before, plan.below).await?;
    let (rule, below, bytes) = (prune.rule, plan.below, plan.bytes);
    let going = Going { rule, before, below, bytes, positions: &positions };
    let hands = Hands { by: prune.by.as_ref(), signer: prune.signer, archivist: prune.archivist };
    let event = announce(store, &going, hands).await?;
    loop {
        let began = Instant::now();
        let step = store.prune_step(before, plan.below, STEP).await?;
        if step.events == 0 {
            return Ok(Pruned { plan, removed, event: Some(event) });
        }
        removed.add(step);
        progress(removed);
        yield_to_appends(began).await;
    }
}

/// Half of the time is the appenders'.
pub(crate) async fn yield_to_appends(began: Instant) {
    sleep(began.elapsed().clamp(Duration::from_millis(1), Duration::from_millis(250))).await;
}

/// What is about to go.
pub(crate) struct Going<'a> {
    /// By which rule.
    pub(crate) rule: Option<&'a str>,
    /// What occurred before this.
    pub(crate) before: Timestamp,
    /// The log's size.
    pub(crate) below: u64,
    /// Bytes of the events as encoded.
    pub(crate) bytes: u64,
    /// Which ones.
    pub(crate) positions: &'a Positions,
}

/// Who has a hand in it.
#[derive(Clone, Copy)]
pub(crate) struct Hands<'a> {
    pub(crate) by: Option<&'a Actor>,
    pub(crate) signer: Option<&'a dyn SignRemoval>,
    pub(crate) archivist: Option<&'a dyn Archivist>,
}

/// Archives what is about to go, has the list of it signed, keeps that, and tells of it in
/// the trail.
pub(crate) async fn announce(
    store: &dyn Store,
    going: &Going<'_>,
    hands: Hands<'_>,
) -> Result<EventId> {
    let doing = || format!("prune {}", store.url());
    let runs = going.positions.runs().len();
    if runs > RUNS {
        let found =
            format!("what goes lies in {runs} places that do not touch; at most {RUNS} go at once");
        return Err(Error::new(ErrorKind::Usage, doing(), found)
            .hint("begin with what is older: give a longer --older-than first"));
    }
    let archived = match hands.archivist {
        Some(archivist) => archivist.archive(store, going.positions).await?,
        None => Vec::new(),
    };
    if archived.len() > FILES {
        let found =
            format!("what goes fills {} archive files; at most {FILES} at once", archived.len());
        return Err(Error::new(ErrorKind::Usage, doing(), found).hint(
            "nothing was removed; begin with what is older: what is archived already is not \
             written again",
        ));
    }
    let event = intent(going, archived, hands.by)?;
    let removal = Removal::new(event.id, going.below, going.positions);
    let ledger = store.ledger()?;
    let note = match hands.signer {
        Some(signer) => Some(signer.sign_removal(&removal).await?),
        None if ledger.standing().await?.keys.is_empty() => None,
        None => {
            let found = "the log is signed, and nothing here signs what is removed from it";
            return Err(Error::new(ErrorKind::Usage, doing(), found)
                .hint("prune where the log's key is, or hand Prune a Signer"));
        }
    };
    let positions = going.positions.encode();
    ledger.keep_removal(event.id, KeptRemoval { positions, note }).await?;
    append_system_event(store, &event).await?;
    Ok(event.id)
}

/// The event that tells of a removal.
fn intent(going: &Going<'_>, archive: Vec<Archived>, by: Option<&Actor>) -> Result<Event> {
    #[derive(serde::Serialize)]
    struct Intent<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        rule: Option<&'a str>,
        before: String,
        size: u64,
        events: u64,
        bytes: u64,
        positions: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        archive: Vec<Archived>,
    }
    let intent = Intent {
        rule: going.rule,
        before: going.before.to_string(),
        size: going.below,
        events: going.positions.count(),
        bytes: going.bytes,
        positions: going.positions.hash().iter().map(|byte| format!("{byte:02x}")).collect(),
        archive,
    };
    system_event(PRUNED, &intent, by.cloned())
}
