//! Who is let in, and what is told of it.
//!
//! Which scope a request needs stands in the description of the API (`security`), and
//! nowhere else: what is not described lets nobody in.

mod caller;
mod cookies;
mod door;
mod needs;
mod throttle;
mod trail;

pub(crate) use caller::{Caller, CallerOf, Details};
pub(crate) use cookies::Cookies;
use door::Turned;
pub(crate) use door::{Door, LOOK_EVERY, LOOK_TIME, Origin};
pub(crate) use needs::{KEY, Needs, SESSION};
pub(crate) use throttle::{Throttle, home};
pub(crate) use trail::{Asked, NOT_SIGNED_IN, SIGNED_IN, SIGNED_OUT, Trail};

use std::sync::Arc;

use annals::store::seen_by;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;
use needs::Need;
use trail::DENIED;

/// What decides about each request of the API.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) door: Door,
    pub(crate) needs: Needs,
    pub(crate) trail: Trail,
}

/// Lets a request through to its handler, with its [`Caller`], or answers why not.
pub(crate) async fn admit(
    State(access): State<Arc<Access>>,
    path: MatchedPath,
    mut request: Request,
    next: Next,
) -> Response {
    let asked = trail::Asked::of(&request, path.as_str());
    let right = match access.needs.of(request.method(), path.as_str()) {
        Ok(Need::Nothing) => return next.run(request).await,
        Ok(Need::Right(right)) => right,
        Err(allowed) => return no_such_method(request.method(), &allowed).into_response(),
    };
    let from = Origin::of(&request);
    match access.door.caller(request.method(), request.headers(), from, right).await {
        Ok(caller) => {
            let caller = Arc::new(caller);
            request.extensions_mut().insert(Arc::clone(&caller));
            // What stands behind the checks that follow.
            let tenants = caller.grant().tenants.clone();
            let answer = seen_by(tenants, next.run(request)).await;
            // Figures tell nothing of an event, and are asked for each second.
            if !right.near {
                let details = answer.extensions().get::<Details>();
                access.trail.tell(&asked, &caller, answer.status(), details);
            }
            answer
        }
        Err(Turned { problem, who }) => {
            if let Some(who) = who {
                access.trail.tell_of_refusal(DENIED, &asked, Some(who), problem.status());
            }
            problem.closing().into_response()
        }
    }
}

fn no_such_method(method: &Method, allowed: &str) -> Problem {
    let detail = format!("{method} is not understood here; send {allowed}");
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).closing();
    match HeaderValue::from_str(allowed) {
        Ok(allowed) => problem.header(header::ALLOW, allowed),
        Err(_) => problem,
    }
}
