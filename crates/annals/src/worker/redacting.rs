//! Values of a batch that are not to be stored as they came.

use super::batch::Batch;
use super::lane::Lane;
use crate::store::Record;

/// Rewrites events without what is to be redacted, by a function that gives the same bytes
/// for the same event each time. `annals::redact` has the one that there is.
pub trait Redact: Send + Sync + std::fmt::Debug {
    /// The event without it; `None` if nothing in it is to be redacted. An error says why it
    /// can never be stored.
    fn redact(&self, record: &Record) -> Option<Result<Record, String>>;
}

impl Lane {
    /// Redacts what came into a batch since it was looked at.
    pub(super) fn redact(&self, batch: &mut Batch) {
        let Some(redactor) = &self.shared.worker.redactor else { return };
        let mut refused = Vec::new();
        let looked = batch.looked.min(batch.records.len());
        let mut count = 0;
        for (index, record) in batch.records.iter_mut().enumerate().skip(looked) {
            match redactor.redact(record) {
                None => {}
                Some(Ok(redacted)) => {
                    *record = redacted;
                    count += 1;
                }
                Some(Err(why)) => refused.push((index, why)),
            }
        }
        if count > 0 {
            self.shared.worker.gauge.lock().redacted += count;
        }
        batch.refuse(refused);
    }
}
