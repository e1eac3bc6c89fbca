//! What someone wrote into a queue of a SQL database with a statement of their own.

use super::Delivery;
use crate::event::accept_waiting;

/// Takes what someone wrote: the event that it is, encoded, or why it is none.
pub(super) fn accept(mut delivery: Delivery) -> Delivery {
    let text = std::str::from_utf8(&delivery.body).map_err(|error| error.to_string());
    let accepted = text
        .and_then(|text| accept_waiting(text, delivery.id).map_err(|fault| fault.to_string()))
        .and_then(|event| {
            event.encode().map(|body| (event.id, body)).map_err(|fault| fault.to_string())
        });
    match accepted {
        Err(why) => delivery.refused = Some(why),
        Ok((id, body)) => (delivery.id, delivery.body) = (id, body),
    }
    delivery
}
