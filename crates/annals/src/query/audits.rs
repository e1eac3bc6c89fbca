//! An entity's own events, from the entity.

use std::ops::Deref;

use serde::de::DeserializeOwned;

use super::{Filter, Query};
use crate::change::Auditable;
use crate::error::Result;
use crate::event::{Event, Object};
use crate::store::Store;

/// Events that [`Audits::audits`] answers, at most.
pub const MAX_AUDITS: usize = 10_000;

/// Every [`Auditable`] value finds its own events.
///
/// ```no_run
/// # use annals::{Auditable, Audits};
/// # async fn show(product: impl Auditable, store: annals::store::sqlite::SqliteStore) -> annals::Result<()> {
/// for audit in product.audits(&store).await? {
///     let (old, new): (Option<i64>, Option<i64>) = (audit.old("price"), audit.new("price"));
///     println!("{} {} {old:?} -> {new:?}", audit.occurred_at, audit.action);
/// }
/// # Ok(())
/// # }
/// ```
pub trait Audits: Auditable {
    /// The entity's events, newest first: the newest [`MAX_AUDITS`], if there are
    /// more; a [`Query`] pages through all.
    ///
    /// # Errors
    /// If the store cannot be read, or an event in it cannot.
    fn audits(&self, store: &dyn Store) -> impl Future<Output = Result<Vec<Audited>>> + Send {
        let filter = Filter { entity: Some(self.entity()), ..Filter::default() };
        newest(store, filter)
    }
}

impl<T: Auditable + ?Sized> Audits for T {}

async fn newest(store: &dyn Store, filter: Filter) -> Result<Vec<Audited>> {
    let mut query = Query::newest(filter).limit(1_000);
    let mut audits = Vec::new();
    loop {
        let page = store.query(query.clone()).await?;
        for stored in &page.events {
            audits.push(Audited { position: stored.position, event: stored.event()? });
        }
        query.cursor = page.next;
        if page.next.is_none() || audits.len() >= MAX_AUDITS {
            audits.truncate(MAX_AUDITS);
            return Ok(audits);
        }
    }
}

/// One event of an entity's history. Reads like the [`Event`] that it is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Audited {
    /// Its place in the store.
    pub position: u64,
    /// The event.
    pub event: Event,
}

impl Audited {
    /// A field's value before, as `T`; `None` if the event does not name it, or
    /// the value no longer fits `T` or was redacted.
    #[must_use]
    pub fn old<T: DeserializeOwned>(&self, field: &str) -> Option<T> {
        typed(self.event.old_values.as_ref(), field)
    }

    /// A field's value after; as [`Audited::old`].
    #[must_use]
    #[expect(clippy::new_ret_no_self, reason = "old and new are the event's own words")]
    pub fn new<T: DeserializeOwned>(&self, field: &str) -> Option<T> {
        typed(self.event.new_values.as_ref(), field)
    }
}

fn typed<T: DeserializeOwned>(values: Option<&Object>, field: &str) -> Option<T> {
    values.and_then(|values| values.get(field))
}

impl Deref for Audited {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.event
    }
}
