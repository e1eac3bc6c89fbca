//! A batch on its way: received and read, then stored and to be settled.

use std::time::Duration;

use super::figures::Distribution;
use crate::store::Record;
use crate::transport::{Delivery, Receipt};

/// Deliveries of one event without any outcome, after which it goes to failed:
/// whoever touches it seems to die of it.
const MAX_DELIVERIES: u32 = 20;

/// Events in a lane's hands, leased and read.
#[derive(Default)]
pub(super) struct Batch {
    /// One for each of the records.
    pub(super) tickets: Vec<Ticket>,
    pub(super) records: Vec<Record>,
    /// How many of them were looked at for personal values, from the first on.
    pub(super) looked: usize,
    /// What could not be read or sealed, and why.
    pub(super) unreadable: Vec<(Receipt, String)>,
    /// Bytes of the bodies.
    pub(super) bytes: usize,
}

/// What is known of a delivery beside its event.
#[derive(Clone, Copy)]
pub(super) struct Ticket {
    pub(super) receipt: Receipt,
    pub(super) attempts: u32,
}

impl Batch {
    /// Reads deliveries, and adds them.
    pub(super) fn extend(&mut self, deliveries: Vec<Delivery>) {
        self.tickets.reserve(deliveries.len());
        self.records.reserve(deliveries.len());
        for delivery in deliveries {
            let Delivery { receipt, attempts, .. } = delivery;
            self.bytes += delivery.body.len();
            match read(delivery) {
                Ok(record) => {
                    self.tickets.push(Ticket { receipt, attempts });
                    self.records.push(record);
                }
                Err(why) => self.unreadable.push((receipt, why)),
            }
        }
    }

    /// Takes out what can never be stored: places in order, and why.
    pub(super) fn refuse(&mut self, refused: Vec<(usize, String)>) {
        for (index, why) in refused.into_iter().rev() {
            self.records.remove(index);
            let ticket = self.tickets.remove(index);
            self.unreadable.push((ticket.receipt, why));
        }
    }

    /// How many events were received for it.
    pub(super) fn len(&self) -> usize {
        self.tickets.len() + self.unreadable.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The receipts of all of it.
    pub(super) fn receipts(&self) -> Vec<Receipt> {
        let unreadable = self.unreadable.iter().map(|(receipt, _)| *receipt);
        self.tickets.iter().map(|ticket| ticket.receipt).chain(unreadable).collect()
    }
}

/// Reads a delivery's columns; answers why it is to be buried, if it is.
fn read(delivery: Delivery) -> Result<Record, String> {
    if delivery.attempts > MAX_DELIVERIES {
        return Err(format!("delivered {} times without an outcome", delivery.attempts - 1));
    }
    if let Some(why) = delivery.refused {
        return Err(why);
    }
    let id = delivery.id;
    match Record::decode(delivery.body) {
        Ok(record) if record.id == id => Ok(record),
        Ok(record) => Err(format!("it was sent as {id} and says that it is {}", record.id)),
        Err(error) => Err(error.to_string()),
    }
}

/// What is to become of the deliveries of a batch, and what is counted then.
#[derive(Default)]
pub(super) struct Settled {
    /// Events of each batch, and how long the store took for it.
    pub(super) sizes: Vec<(usize, Duration)>,
    /// How long ago those had occurred that are newly stored, in microseconds.
    pub(super) lags: Option<Distribution>,
    pub(super) acks: Vec<Receipt>,
    pub(super) burials: Vec<(Receipt, String)>,
    pub(super) retries: Vec<Ticket>,
    pub(super) new: u64,
    pub(super) duplicates: u64,
    pub(super) refused: u64,
    pub(super) bytes: u64,
    pub(super) mirror_refused: u64,
    pub(super) batches: u64,
}

impl Settled {
    /// Adds what came later.
    pub(super) fn add(&mut self, later: Self) {
        self.acks.extend(later.acks);
        self.burials.extend(later.burials);
        self.retries.extend(later.retries);
        self.new += later.new;
        self.duplicates += later.duplicates;
        self.refused += later.refused;
        self.bytes += later.bytes;
        self.mirror_refused += later.mirror_refused;
        self.batches += later.batches;
        self.sizes.extend(later.sizes);
        match (&mut self.lags, later.lags) {
            (Some(lags), Some(later)) => lags.merge(&later),
            (lags, later) => *lags = lags.take().or(later),
        }
    }
}
