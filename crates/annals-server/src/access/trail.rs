//! Tells in the trail who looked at what, and who was not let in.

use std::sync::{Mutex, PoisonError};

use annals::access::TENANT;
use annals::capture::Delivery;
use annals::{Actor, Audit, Context, Entity, Event, Object, Outcome};
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use serde_json::json;
use tokio::time::{Duration, Instant};

use super::{Caller, Details};
use crate::client::Client;
use crate::request_id::RequestId;

/// Somebody read something.
const READ: &str = "annals.read";

/// Somebody changed something, other than by sending events in.
const OPERATED: &str = "annals.operated";

/// Somebody showed a key that does not let in, or not there.
pub(super) const DENIED: &str = "annals.denied";

/// Somebody has signed in.
pub(crate) const SIGNED_IN: &str = "annals.session.began";

/// Somebody has signed out.
pub(crate) const SIGNED_OUT: &str = "annals.session.ended";

/// Somebody tried to sign in, and was not let in.
pub(crate) const NOT_SIGNED_IN: &str = "annals.session.denied";

/// Refusals that are told of in a minute; those beyond are counted, and the number is told
/// of with the next.
const REFUSALS: u32 = 60;

/// Characters of a text that came with a request, at most.
const MOST: usize = 500;

/// Tells who did what by the API.
#[derive(Debug)]
pub(crate) struct Trail {
    audit: Option<Audit>,
    refusals: Mutex<Refusals>,
}

#[derive(Debug, Default)]
struct Refusals {
    minute: Option<Instant>,
    told: u32,
    untold: u64,
}

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    method: Method,
    path: String,
    pub(crate) context: Context,
}

impl Asked {
    pub(crate) fn of(request: &Request, path: &str) -> Self {
        let mut context = Context::default();
        let text = |text: &str| -> annals::event::Text {
            text.chars().filter(|c| !c.is_control()).take(MOST).collect::<String>().into()
        };
        let client = request.extensions().get::<Client>();
        context.ip = client.map(|Client(client)| text(&client.to_string()));
        let agent = request.headers().get(header::USER_AGENT);
        context.user_agent = agent.and_then(|agent| agent.to_str().ok()).map(text);
        context.url = request.uri().path_and_query().map(|asked| text(asked.as_str()));
        context.method = Some(text(request.method().as_str()));
        let id = request.extensions().get::<RequestId>();
        context.request_id = id.map(|RequestId(id)| text(id));
        Self { method: request.method().clone(), path: path.to_owned(), context }
    }
}

impl Trail {
    pub(crate) fn new(audit: Option<Audit>) -> Self {
        Self { audit, refusals: Mutex::default() }
    }

    /// Tells what somebody did who was let in. Of events that are sent in nothing is told:
    /// they are in the trail themselves.
    pub(super) fn tell(
        &self,
        asked: &Asked,
        caller: &Caller,
        status: StatusCode,
        details: Option<&Details>,
    ) {
        let action = match asked.method {
            Method::GET | Method::HEAD => READ,
            Method::POST if asked.path == "/v1/events" => return,
            _ => OPERATED,
        };
        let outcome = match status {
            StatusCode::FORBIDDEN => Outcome::Denied,
            status if status.is_client_error() || status.is_server_error() => Outcome::Failure,
            _ => Outcome::Success,
        };
        let mut tells = json!({ "status": status.as_u16() });
        if let Some(Details(details)) = details {
            tells["details"] = details.clone();
        }
        self.record(action, asked, caller.actor(), outcome, &tells);
    }

    /// Tells that somebody was not let in, or not there.
    pub(crate) fn tell_of_refusal(
        &self,
        action: &'static str,
        asked: &Asked,
        who: Option<Actor>,
        status: StatusCode,
    ) {
        let untold = {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            if refusals.minute.is_none_or(|begun| begun.elapsed() >= Duration::from_secs(60)) {
                (refusals.minute, refusals.told) = (Some(Instant::now()), 0);
            }
            if refusals.told >= REFUSALS {
                refusals.untold += 1;
                return;
            }
            refusals.told += 1;
            std::mem::take(&mut refusals.untold)
        };
        let mut tells = json!({ "status": status.as_u16() });
        if untold > 0 {
            tells["untold_before"] = untold.into();
        }
        self.record(action, asked, who, Outcome::Denied, &tells);
    }

    /// Tells that somebody has signed in or out.
    pub(crate) fn tell_of_session(
        &self,
        action: &'static str,
        asked: &Asked,
        who: Actor,
        tells: &serde_json::Value,
    ) {
        self.record(action, asked, Some(who), Outcome::Success, tells);
    }

    fn record(
        &self,
        action: &'static str,
        asked: &Asked,
        actor: Option<Actor>,
        outcome: Outcome,
        tells: &serde_json::Value,
    ) {
        let Some(audit) = &self.audit else { return };
        let mut event = Event::new(action, Entity::new("annals.api", &asked.path)).tenant(TENANT);
        event.actor = actor;
        event.outcome = outcome;
        event.context = asked.context.clone();
        event.metadata = Object::from_value(tells).ok();
        // What cannot be taken is counted by the handle, and told by its metrics.
        drop(audit.record_system(&event, Delivery::Buffered));
    }
}
