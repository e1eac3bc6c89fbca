//! Sealing a batch.
//!
//! The live keys are asked for each batch, since somebody may have destroyed one. The
//! answer is not waited for: meanwhile the batch is sealed under the keys that were live
//! last time, on a thread of its own, and what was sealed under a key that is live no more
//! is sealed again.

mod plan;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::declared::Declared;
use super::keys::Keyring;
use super::master::MasterKey;
use super::sealed::Sealed;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Turn, rewrite};
use crate::store::{Record, Store, SubjectKey, Whose};
use crate::worker::Seal;
pub(super) use plan::About;
use plan::{Planned, Ready, Subjects, concerns};

/// How often the live keys are asked for: they may be destroyed meanwhile.
const TRIES: usize = 5;

/// Subjects of whom it is remembered which key was live last, at most.
const MOST: usize = 10_000;

/// Seals personal values under keys of their subjects, which it makes and keeps in the
/// store.
///
/// Values are sealed under the key of the event's `subject`; without one under that of
/// the event's entity, `TYPE:ID`. Texts about the actor (see [`Declared`]) are sealed
/// under the actor's, where it has type and id: erasing a customer does not erase who
/// served them.
#[derive(Debug)]
pub struct Sealer {
    store: Arc<dyn Store>,
    keyring: Keyring,
    declared: Arc<Declared>,
    last: Last,
}

/// The keys that were live last time.
#[derive(Default)]
struct Last(Mutex<HashMap<Whose, Ready>>);

impl std::fmt::Debug for Last {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Last").finish_non_exhaustive()
    }
}

impl Last {
    fn lock(&self) -> MutexGuard<'_, HashMap<Whose, Ready>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of these subjects, in their order.
    fn of(&self, subjects: &Subjects) -> Vec<Option<Ready>> {
        let known = self.lock();
        subjects.all.iter().map(|whose| known.get(whose).cloned()).collect()
    }

    fn learn(&self, whose: &Whose, ready: &Ready) {
        let mut known = self.lock();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(whose.clone(), ready.clone());
    }
}

/// A batch with its plans, on its way between threads.
struct Work {
    records: Arc<[Record]>,
    planned: Planned,
}

/// What became of each event, as [`Seal::seal`] answers.
type Outcomes = Vec<Option<Result<Record, String>>>;

impl Work {
    /// Seals those events that need one of the keys which `other` picks, by its place, and
    /// for which all are there.
    fn seal(&self, keys: &[Option<Ready>], other: impl Fn(usize) -> bool, into: &mut Outcomes) {
        let events = self.records.iter().zip(&self.planned.plans).zip(into);
        for ((record, plan), outcome) in events {
            let Ok(Some(plan)) = plan else { continue };
            let there = |place: usize| keys.get(place).is_some_and(Option::is_some);
            if plan.needs().any(&other) && plan.needs().all(there) {
                *outcome = Some(plan.seal(record, keys));
            }
        }
    }
}

impl Sealer {
    /// Seals what is stored in `store`.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if that store keeps no keys.
    pub fn new(store: Arc<dyn Store>, master: MasterKey, declared: Declared) -> Result<Self> {
        store.vault()?;
        let (keyring, declared) = (Keyring::new(master), Arc::new(declared));
        Ok(Self { store, keyring, declared, last: Last::default() })
    }

    /// The live keys of these subjects, made where there is none.
    async fn ready(&self, subjects: &Subjects) -> Result<Vec<Option<Ready>>> {
        let vault = self.store.vault()?;
        let mut ready: Vec<Option<Ready>> = vec![None; subjects.all.len()];
        for _ in 0..TRIES {
            let missing: Vec<Whose> = subjects
                .all
                .iter()
                .zip(&ready)
                .filter(|(_, ready)| ready.is_none())
                .map(|(whose, _)| whose.clone())
                .collect();
            if missing.is_empty() {
                return Ok(ready);
            }
            let live: Vec<SubjectKey> = vault.live(missing).await?;
            for key in live {
                if let Some(place) = subjects.places.get(&key.whose)
                    && let Some(keys) = self.keyring.open(&key).await?
                {
                    ready[*place] = Some((key.id, keys));
                }
            }
            let mut made = Vec::new();
            for (whose, _) in subjects.all.iter().zip(&ready).filter(|(_, ready)| ready.is_none()) {
                made.push(self.keyring.make(whose.clone()).await?);
            }
            if !made.is_empty() {
                // Whose key it is in the end, the store says: another worker may be first.
                vault.keep(made).await?;
            }
        }
        let doing = format!("make keys of subjects in {}", self.store.url());
        Err(Error::new(ErrorKind::Transient, doing, "they are erased as fast as they are made"))
    }

    /// Seals what is planned, under keys that are live by now.
    async fn seal_planned(&self, work: Work) -> Result<Outcomes> {
        let outcome = |plan: &Result<_, String>| plan.as_ref().err().map(|why| Err(why.clone()));
        let mut outcomes: Outcomes = work.planned.plans.iter().map(outcome).collect();
        if work.planned.subjects.all.is_empty() {
            return Ok(outcomes);
        }
        let guessed = self.last.of(&work.planned.subjects);
        let work = Arc::new(work);
        let (at_work, keys) = (Arc::clone(&work), guessed.clone());
        let sealing = aside(move || {
            at_work.seal(&keys, |_| true, &mut outcomes);
            outcomes
        });
        let (ready, sealed) = tokio::join!(self.ready(&work.planned.subjects), sealing);
        let (ready, mut outcomes) = (ready?, sealed?);
        let id = |key: &Option<Ready>| key.as_ref().map(|(id, _)| *id);
        let other: Vec<bool> =
            ready.iter().zip(&guessed).map(|(ready, guessed)| id(ready) != id(guessed)).collect();
        if !other.contains(&true) {
            return Ok(outcomes);
        }
        for (place, ready) in ready.iter().enumerate().filter(|(place, _)| other[*place]) {
            if let Some(ready) = ready {
                self.last.learn(&work.planned.subjects.all[place], ready);
            }
        }
        aside(move || {
            work.seal(&ready, |place| other[place], &mut outcomes);
            outcomes
        })
        .await
    }
}

/// Has a thread of its own do what takes a processor for a while.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::new(ErrorKind::Closed, "seal a batch", format!("a thread stopped: {error}"))
    })
}

#[async_trait]
impl Seal for Sealer {
    fn concerns(&self, record: &Record) -> bool {
        concerns(&self.declared, record)
    }

    async fn seal(&self, records: Arc<[Record]>) -> Result<Outcomes> {
        let declared = Arc::clone(&self.declared);
        let plan = move || Work { planned: Planned::of(&records, &declared), records };
        self.seal_planned(aside(plan).await?).await
    }

    async fn was_stored(&self, record: &Record) -> Result<bool> {
        let Some(stored) = self.store.get(record.id).await? else { return Ok(false) };
        let Ok(stored) = std::str::from_utf8(&stored.body) else { return Ok(false) };
        let (here, mut ids) = blanked(record.text());
        let (there, stored_ids) = blanked(stored);
        if here != there || ids.len() != stored_ids.len() {
            return Ok(false);
        }
        let keys = self.store.vault()?.with_ids(stored_ids.clone()).await?;
        let erased = |id: &[u8; 16]| keys.iter().any(|key| key.id == *id && key.wrapped.is_none());
        // What is under the same key is to be the same bytes; what is not, was erased.
        ids.retain(|id| !stored_ids.contains(id));
        Ok(!ids.is_empty() && stored_ids.iter().any(erased))
    }
}

/// An event without what is sealed in it, and the keys that it is sealed under.
fn blanked(event: &str) -> (Cow<'_, str>, Vec<[u8; 16]>) {
    let mut ids = Vec::new();
    let blank = rewrite::<std::convert::Infallible>(event, &mut |_, _, raw| {
        Ok(match Sealed::read(raw) {
            Some(sealed) => {
                ids.push(sealed.key);
                Turn::Put("0".to_owned())
            }
            None => Turn::Into,
        })
    });
    match blank {
        Ok(Some(text)) => (Cow::Owned(text), ids),
        Ok(None) => (Cow::Borrowed(event), ids),
        Err(never) => match never {},
    }
}
