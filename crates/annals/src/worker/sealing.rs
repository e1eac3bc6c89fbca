//! Personal values of a batch, before it is appended.

use async_trait::async_trait;

use super::batch::{Settled, Ticket};
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

    /// Rewrites events, one for one; or says why one can never be stored.
    ///
    /// # Errors
    /// When keys cannot be had, and no event is to blame.
    async fn seal(&self, records: Vec<Record>) -> Result<Vec<Result<Record, String>>>;

    /// Whether an event that the store refused is there already, sealed under a key that
    /// was erased since: then it is a duplicate, though its bytes are others.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn was_stored(&self, record: &Record) -> Result<bool>;
}

impl Lane {
    /// Seals what is personal in a batch, and takes out what cannot be sealed. On an
    /// error the tickets are as they were.
    pub(super) async fn seal(
        &self,
        tickets: &mut Vec<Ticket>,
        records: &mut Vec<Record>,
        settled: &mut Settled,
    ) -> Result<()> {
        const NO_KEY: &str = "it has personal values, and this worker has no master key to seal \
             them with: set `seal.key_file` or `seal.key_command`, then try it again";
        let sealed: Vec<Result<Record, String>> = match &self.shared.worker.sealer {
            Some(sealer) if records.iter().any(|record| sealer.concerns(record)) => {
                sealer.seal(std::mem::take(records)).await?
            }
            None if records.iter().any(|record| has_personal(record.text())) => {
                let refuse = |record: Record| match has_personal(record.text()) {
                    true => Err(NO_KEY.to_owned()),
                    false => Ok(record),
                };
                records.drain(..).map(refuse).collect()
            }
            _ => return Ok(()),
        };
        let received = std::mem::take(tickets);
        for (ticket, record) in received.into_iter().zip(sealed) {
            match record {
                Ok(record) => {
                    tickets.push(ticket);
                    records.push(record);
                }
                Err(why) => settled.burials.push((ticket.receipt, why)),
            }
        }
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
