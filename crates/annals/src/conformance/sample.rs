//! Events to test with.

use std::time::Duration;

use crate::error::Result;
use crate::event::{Actor, Entity, Event, Object, Outcome, Timestamp};
use crate::store::Record;

/// Random numbers that are the same for the same seed (SplitMix64, by Steele,
/// Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers of this seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is at least 1.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end.max(1)
    }

    /// True once in `times`.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of `choices`, or none of them.
    pub fn maybe<'a>(&mut self, choices: &[&'a str]) -> Option<&'a str> {
        let at = self.below(choices.len() as u64 + 1);
        choices.get(usize::try_from(at).unwrap_or(usize::MAX)).copied()
    }

    /// An event out of a small world, so that many share a field or a time.
    ///
    /// # Errors
    /// None that a sound encoder gives.
    pub fn record(&mut self) -> Result<Record> {
        let at = moment(self.below(50));
        self.record_at(at)
    }

    /// An event out of that world, at another time.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn record_at(&mut self, at: Timestamp) -> Result<Record> {
        let kind = self.maybe(&["order", "customer"]).unwrap_or("product");
        let action = self.maybe(&["created", "deleted", "viewed"]).unwrap_or("updated");
        let mut event = match self.below(8) {
            0 => Event::new(action, Entity::of_type(kind)),
            id => Event::new(action, Entity::new(kind, id)),
        };
        event = event.occurred_at(at).outcome(match self.below(6) {
            0 => Outcome::Failure,
            1 => Outcome::Denied,
            _ => Outcome::Success,
        });
        event.actor = self.maybe(&["7", "8"]).map(|id| match self.below(3) {
            0 => Actor::new("job", id),
            _ => Actor::user(id),
        });
        event.tenant = self.maybe(&["acme", "globex"]).map(Into::into);
        event.context.request_id = self.maybe(&["r-1", "r-2"]).map(Into::into);
        event.context.service = self.maybe(&["shop", "back office"]).map(Into::into);
        if let Some(field) = self.maybe(&["price", "name"]) {
            event.old_values = Some(values(field, self.below(100)));
            event.new_values = Some(values(field, self.below(100)));
        }
        decoded(event.encode()?)
    }
}

/// A time within a short stretch of the past.
pub(super) fn moment(step: u64) -> Timestamp {
    let day = Timestamp::from_micros(1_750_000_000_000_000).unwrap_or(Timestamp::MIN);
    day.after(Duration::from_millis(step))
}

fn values(field: &str, number: u64) -> Object {
    Object::from_writer(format!("{{\"{field}\":{number}}}").into_bytes())
}

/// Reads back an event made for a test.
pub(super) fn decoded(body: Vec<u8>) -> Result<Record> {
    Record::decode(body).map_err(|error| {
        crate::Error::new(crate::ErrorKind::Event, "read back an event made for a test", error)
    })
}

/// The event number `number`: an update of a product at a time of its own.
///
/// # Errors
/// None that a sound encoder gives.
pub fn record(number: u64) -> Result<Record> {
    let event = Event::new("updated", Entity::new("product", number % 10))
        .occurred_at(moment(number))
        .actor(Actor::user(number % 3))
        .new_values(values("price", number));
    decoded(event.encode()?)
}

/// The events with these numbers.
///
/// # Errors
/// As [`record`].
pub fn records(numbers: std::ops::Range<u64>) -> Result<Vec<Record>> {
    numbers.map(record).collect()
}
