//! No queue: straight to the store, for development.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Buried, Delivery, Message, Receipt, Transport, TransportStats, Want, Which};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Timestamp, has_personal};
use crate::store::{Appended, Appender, Record};

/// Sends straight to a store: an event is readable as soon as it is durable, and
/// there is nothing for a worker to do. A store that is away fails the sending.
#[derive(Debug)]
pub struct SyncTransport {
    store: Arc<dyn Appender>,
    url: String,
}

impl SyncTransport {
    /// Sends to `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Appender>) -> Self {
        let url = format!("sync:{}", store.url());
        Self { store, url }
    }

    fn refused(&self, what: &str) -> Error {
        Error::new(ErrorKind::Event, format!("append to {}", self.store.url()), what)
    }
}

#[async_trait]
impl Transport for SyncTransport {
    fn url(&self) -> &str {
        &self.url
    }

    async fn send(&self, batch: Arc<[Message]>) -> Result<()> {
        let records = batch.iter().map(|message| Record::decode(message.body.clone()));
        let records: Arc<[Record]> =
            records.collect::<Result<_, _>>().map_err(|error| self.refused(&error.to_string()))?;
        if records.iter().any(|record| has_personal(record.text())) {
            return Err(self
                .refused("it has personal fields, which a worker seals")
                .hint("send to a queue, such as sqlite:PATH"));
        }
        let appended = self.store.append(records).await?;
        let refusals: Vec<&str> = appended
            .iter()
            .filter_map(|one| match one {
                Appended::Refused(why) => Some(why.as_str()),
                Appended::Inserted(_) | Appended::Duplicate => None,
            })
            .collect();
        match refusals.first() {
            None => Ok(()),
            Some(first) => {
                Err(self.refused(&format!("{} of the batch refused: {first}", refusals.len())))
            }
        }
    }

    async fn receive(&self, want: Want) -> Result<Vec<Delivery>> {
        tokio::time::sleep(want.wait).await;
        Ok(Vec::new())
    }

    async fn ack(&self, _receipts: &[Receipt]) -> Result<usize> {
        Ok(0)
    }

    async fn retry(&self, _receipts: &[Receipt], _at: Timestamp) -> Result<usize> {
        Ok(0)
    }

    async fn release(&self, _receipts: &[Receipt]) -> Result<usize> {
        Ok(0)
    }

    async fn bury(&self, _burials: &[(Receipt, String)]) -> Result<usize> {
        Ok(0)
    }

    async fn buried(&self, _after: Option<u64>, _limit: usize) -> Result<Vec<Buried>> {
        Ok(Vec::new())
    }

    async fn revive(&self, _which: Which<'_>) -> Result<usize> {
        Ok(0)
    }

    async fn remove(&self, _which: Which<'_>) -> Result<usize> {
        Ok(0)
    }

    async fn stats(&self) -> Result<TransportStats> {
        Ok(TransportStats::default())
    }
}
