//! Whether the log is witnessed, as it is to be.

use std::time::Duration;

use annals::Timestamp;
use annals::proof::{Witnessed, witnessed};
use annals::store::Store;

use super::{Finding, Verdict};
use crate::render::size::{age, count};
use crate::session::Session;

/// A witness that lacks a checkpoint for longer does not follow.
const LONG: Duration = Duration::from_secs(600);

/// How far each witness has come.
pub(super) async fn findings(session: &Session, store: &dyn Store) -> Vec<Finding> {
    let what = "witnesses";
    let keys = match (session.witness_keys(), session.targets()) {
        (Ok(keys), Ok(_)) => keys,
        (Err(error), _) | (_, Err(error)) => {
            return vec![Finding::new(Verdict::Fail, what, error.to_string())];
        }
    };
    let all = match store.ledger() {
        Ok(ledger) => witnessed(ledger, &keys).await,
        Err(error) => Err(error),
    };
    match all {
        Ok(all) => all.iter().map(|one| finding(one, Timestamp::now())).collect(),
        Err(error) => vec![Finding::of(what, &error)],
    }
}

fn finding(one: &Witnessed, now: Timestamp) -> Finding {
    let what = format!("witness {}", one.key.name());
    let hint = "the worker's log says why; is its URL in log.witnesses right, and reachable there?";
    let lacks = one.lacks_since.map(|since| now.since(since)).filter(|lacks| *lacks > LONG);
    match (one.last, lacks) {
        (Some((size, _)), None) => {
            Finding::new(Verdict::Ok, what, format!("has cosigned up to {}", count(size)))
        }
        (Some((size, _)), Some(lacks)) => {
            let found =
                format!("has cosigned up to {}, and lacks since {}", count(size), age(lacks));
            Finding::new(Verdict::Warn, what, found).hint(hint)
        }
        (None, _) if one.lacks_since.is_some() => {
            Finding::new(Verdict::Warn, what, "has cosigned nothing that is kept").hint(hint)
        }
        (None, _) => Finding::new(Verdict::Ok, what, "there is nothing to cosign yet"),
    }
}
