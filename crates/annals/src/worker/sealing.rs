//! Personal values of a batch, before it is appended.

use std::sync::Arc;

use async_trait::async_trait;

use super::batch::Batch;
use super::lane::Lane;
use crate::error::Result;
use crate::event::has_personal;
use crate::store::Record;

/// Rewrites events with personal values, by a function that gives the same bytes for the
/// same event each time. `annals::seal` has the one that there is.
#[async_trait]
pub trait Seal: Send + Sync + std::fmt::Debug {
    /// Whether an event may have personal values. Asked for every event.
    fn concerns(&self, record: &Record) -> bool;

    /// Rewrites events, one for one: `None` stays as it is, an error says why one can never
    /// be stored.
    ///
    /// # Errors
    /// When keys cannot be had, and no event is to blame.
    async fn seal(&self, records: Arc<[Record]>) -> Result<Vec<Option<Result<Record, String>>>>;

    /// Whether an event that the store refused is there already, sealed under a key that
    /// was erased since: then it is a duplicate, though its bytes are others.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn was_stored(&self, record: &Record) -> Result<bool>;
}

impl Lane {
    /// Redacts a batch and seals what is personal in it, as far as that was not done yet, and
    /// takes out what cannot be sealed. On an error the batch is as it was.
    pub(super) async fn seal(&self, batch: &mut Batch) -> Result<()> {
        const NO_KEY: &str = "it has personal values, and this worker has no master key to seal \
             them with: set `seal.key_file` or `seal.key_command`, then try it again";
        self.redact(batch);
        let looked = batch.looked.min(batch.records.len());
        let new = &batch.records[looked..];
        let mut refused = Vec::new();
        match &self.shared.worker.sealer {
            Some(sealer) if new.iter().any(|record| sealer.concerns(record)) => {
                let new: Arc<[Record]> = batch.records.drain(looked..).collect();
                let sealed = sealer.seal(Arc::clone(&new)).await.inspect_err(|_| {
                    batch.records.extend(new.iter().cloned());
                })?;
                let outcomes = sealed.into_iter().chain(std::iter::repeat_with(|| None));
                for (record, outcome) in new.iter().zip(outcomes) {
                    let outcome = outcome.unwrap_or_else(|| Ok(record.clone()));
                    batch.records.push(outcome.unwrap_or_else(|why| {
                        refused.push((batch.records.len(), why));
                        record.clone()
                    }));
                }
            }
            None => {
                let refuse = |(index, record): (usize, &Record)| {
                    has_personal(record.text()).then(|| (index, NO_KEY.to_owned()))
                };
                refused.extend((looked..).zip(new).filter_map(refuse));
            }
            Some(_) => {}
        }
        batch.refuse(refused);
        batch.looked = batch.records.len();
        Ok(())
    }

    /// Whether an event that was refused is there already, but for an erased key.
    pub(super) async fn was_stored(&self, record: &Record) -> Result<bool> {
        match &self.shared.worker.sealer {
            Some(sealer) => sealer.was_stored(record).await,
            None => Ok(false),
        }
    }
}
