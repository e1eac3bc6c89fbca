//! Who is let in, and what is told of it.
//!
//! Which scope a request needs stands in the description of the API (`security`), and
//! nowhere else: what is not described lets nobody in.

mod caller;
mod door;
mod needs;
mod throttle;
mod trail;

pub(crate) use caller::{Caller, CallerOf, Details, other_tenant};
pub(crate) use door::{Door, LOOK_EVERY, LOOK_TIME};
use door::{Origin, Turned};
pub(crate) use needs::{Needs, SCHEME};
pub(crate) use trail::Trail;

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;
use needs::Need;

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
    let need = match access.needs.of(request.method(), path.as_str()) {
        Ok(Need::Nothing) => return next.run(request).await,
        Ok(need) => need,
        Err(allowed) => return no_such_method(request.method(), &allowed).into_response(),
    };
    let from = Origin::of(&request);
    match access.door.caller(request.headers(), from, need).await {
        Ok(caller) => {
            let caller = Arc::new(caller);
            request.extensions_mut().insert(Arc::clone(&caller));
            let answer = next.run(request).await;
            // Figures tell nothing of an event, and are asked for each second.
            if !matches!(need, Need::NearOr(_)) {
                let details = answer.extensions().get::<Details>();
                access.trail.tell(&asked, &caller, answer.status(), details);
            }
            answer
        }
        Err(Turned { problem, key }) => {
            if let Some(key) = key {
                access.trail.tell_of_refusal(&asked, &key, problem.status());
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
