//! Looks at what a request shows to be let in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use annals::Timestamp;
use annals::access::{Known, Refused, Scope, Token};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

use super::Caller;
use super::needs::Need;
use crate::guard::is_ours;
use crate::problem::Problem;
use crate::server::Peer;

/// How often to look for keys that were made, changed or revoked.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long such a look may take.
pub(crate) const LOOK_TIME: Duration = Duration::from_secs(2);

/// A key that is not known may have just been made: how soon after the last look to look
/// again for it. Whoever shows such keys waits as long, and costs no more than that.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What a proxy adds that hands on somebody else's request.
const HANDED_ON: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// Looks at what a request shows.
#[derive(Debug)]
pub(crate) struct Door {
    known: Option<Arc<Known>>,
    /// Whether programs of this machine may send events in without a key.
    open_ingest: bool,
    /// Where the server listens.
    ours: SocketAddr,
    looked: Mutex<Option<Instant>>,
}

/// Why somebody is not let in, and the id of the key that was shown, if one was.
pub(super) type Turned = (Problem, Option<String>);

impl Door {
    pub(crate) fn new(known: Option<Arc<Known>>, open_ingest: bool, ours: SocketAddr) -> Self {
        Self { known, open_ingest, ours, looked: Mutex::default() }
    }

    /// Who sends a request, if it may do what it wants to.
    pub(super) async fn caller(
        &self,
        headers: &HeaderMap,
        peer: Option<Peer>,
        need: Need,
    ) -> Result<Caller, Turned> {
        let (scope, open) = match need {
            Need::Nothing => return Ok(Caller::near()),
            Need::Scope(scope) => (scope, scope == Scope::Ingest && self.open_ingest),
            Need::NearOr(scope) => (scope, true),
        };
        let token = match shown(headers) {
            Ok(Some(token)) => token,
            Ok(None) if open && self.is_near(headers, peer) => return Ok(Caller::near()),
            Ok(None) => {
                return Err((unauthorized("show a key: Authorization: Bearer annals_…"), None));
            }
            Err(what) => return Err((unauthorized(what), None)),
        };
        let Some(known) = &self.known else {
            return Err((unauthorized("this server has no keys"), None));
        };
        let id = token.id().to_owned();
        let mut found = known.find(&token, Timestamp::now());
        if matches!(found, Err(Refused::Unknown | Refused::NotYet)) && self.look(known).await {
            found = known.find(&token, Timestamp::now());
        }
        let caller = match found {
            Ok(key) => Caller::with_key(key, known),
            Err(Refused::NotYet) => {
                return Err((Problem::retry_after(Refused::NotYet.to_string(), 2), None));
            }
            Err(refused) => return Err((unauthorized(&refused.to_string()), Some(id))),
        };
        if !caller.has(scope) {
            let detail = format!("this key has not the scope {scope}");
            return Err((Problem::new(StatusCode::FORBIDDEN, detail), Some(id)));
        }
        Ok(caller)
    }

    /// Whether a program of this machine sends it, by a name of this machine, and hands nobody
    /// else's request on.
    fn is_near(&self, headers: &HeaderMap, peer: Option<Peer>) -> bool {
        let handed_on = HANDED_ON.iter().any(|name| headers.contains_key(*name));
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        peer.is_some_and(|Peer(peer)| peer.ip().to_canonical().is_loopback())
            && host.is_some_and(|host| is_ours(host, self.ours.port()))
            && !handed_on
    }

    /// Looks for keys once more, unless somebody does that meanwhile; answers whether it is
    /// worth while to try again.
    async fn look(&self, known: &Known) -> bool {
        let asked = Instant::now();
        let mut looked = self.looked.lock().await;
        match *looked {
            // Who waited for the lock has what the other one saw.
            Some(last) if last >= asked => return true,
            Some(last) => sleep_until(last + LOOK_AGAIN).await,
            None => {}
        }
        *looked = Some(Instant::now());
        matches!(timeout(LOOK_TIME, known.refresh()).await, Ok(Ok(())))
    }
}

/// The key that a request shows.
fn shown(headers: &HeaderMap) -> Result<Option<Token>, &'static str> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return match headers.contains_key(header::AUTHORIZATION) {
            true => Err("send one Authorization header"),
            false => Ok(None),
        };
    };
    let text = value.to_str().unwrap_or_default();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            token.trim().parse().map(Some)
        }
        _ => Err("send Authorization: Bearer, and the key"),
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, detail)
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"annals\""))
}
