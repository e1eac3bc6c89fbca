//! What a receive from a SQL database found: events, and what someone wrote there with
//! a statement of their own.

use super::{Delivery, Receipt};
use crate::event::accept_waiting;

/// What was received.
#[derive(Default)]
pub(super) struct Received {
    pub(super) deliveries: Vec<Delivery>,
    /// What someone wrote and is no event, and why.
    pub(super) refused: Vec<(Receipt, String)>,
}

impl Received {
    /// Takes what someone wrote: the event that it is, encoded.
    pub(super) fn accept(&mut self, mut delivery: Delivery) {
        let text = std::str::from_utf8(&delivery.body).map_err(|error| error.to_string());
        let accepted = text
            .and_then(|text| accept_waiting(text, delivery.id).map_err(|fault| fault.to_string()))
            .and_then(|event| {
                event.encode().map(|body| (event.id, body)).map_err(|fault| fault.to_string())
            });
        match accepted {
            Err(why) => self.refused.push((delivery.receipt, why)),
            Ok((id, body)) => {
                (delivery.id, delivery.body) = (id, body);
                self.deliveries.push(delivery);
            }
        }
    }
}
