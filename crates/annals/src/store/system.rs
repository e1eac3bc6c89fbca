//! Events that Annals itself makes: a store tells of its own upkeep.

use serde::Serialize;

use super::{Appended, Appender, Record};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Actor, Entity, Event, Object, Producer, encode_system};

/// Their producer.
const PRODUCER: &str = "annals";

/// An event about the store.
///
/// # Errors
/// If what it tells is no object that an event can hold.
pub(crate) fn system_event(
    action: &'static str,
    tells: &impl Serialize,
    by: Option<Actor>,
) -> Result<Event> {
    let metadata = Object::from_value(tells)
        .map_err(|fault| Error::new(ErrorKind::Event, format!("tell of {action}"), fault))?;
    let mut event = Event::new(action, Entity::of_type("store")).metadata(metadata);
    event.actor = by;
    event.producer = Some(Producer { id: PRODUCER.into(), seq: None });
    Ok(event)
}

/// Appends an event whose action may begin with [`crate::event::RESERVED_ACTIONS`].
///
/// # Errors
/// If the event cannot be encoded or the store cannot be written.
pub(crate) async fn append_system_event<A>(store: &A, event: &Event) -> Result<()>
where
    A: Appender + ?Sized,
{
    let body = encode_system(event)?;
    let doing = || format!("append {} to {}", event.action, store.url());
    let record =
        Record::decode(body).map_err(|error| Error::new(ErrorKind::Event, doing(), error))?;
    match store.append(std::slice::from_ref(&record).into()).await?.as_slice() {
        [Appended::Refused(reason)] => Err(Error::new(ErrorKind::Event, doing(), reason)),
        _ => Ok(()),
    }
}
