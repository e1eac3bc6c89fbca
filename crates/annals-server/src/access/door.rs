//! Looks at what a request shows to be let in.

use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use annals::Timestamp;
use annals::access::{Known, Refused, Scope, Token};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

use super::Caller;
use super::needs::Need;
use super::throttle::{Throttle, home};
use crate::client::Client;
use crate::guard::is_ours;
use crate::limits::Limits;
use crate::problem::Problem;
use crate::server::Peer;

/// How often to look for keys that were made, changed or revoked.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long such a look may take.
pub(crate) const LOOK_TIME: Duration = Duration::from_secs(2);

/// A key that is not known may have just been made: how soon after the last look to look
/// again for it. Whoever shows such keys waits as long, and costs no more than that.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Keys that let nobody in, from one address in a second.
const REFUSED: u32 = 20;

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
    by_key: Throttle<String>,
    by_address: Throttle<IpAddr>,
    /// Keys that let nobody in.
    refused: Throttle<IpAddr>,
    looked: Mutex<Option<Instant>>,
}

/// Why somebody is not let in.
pub(super) struct Turned {
    pub(super) problem: Problem,
    /// The id of the key that was shown, if it is worth to be told of.
    pub(super) key: Option<String>,
}

impl From<Problem> for Turned {
    fn from(problem: Problem) -> Self {
        Self { problem, key: None }
    }
}

impl Door {
    pub(crate) fn new(
        known: Option<Arc<Known>>,
        open_ingest: bool,
        ours: SocketAddr,
        limits: &Limits,
    ) -> Self {
        Self {
            known,
            open_ingest,
            ours,
            by_key: Throttle::new(limits.requests_per_key),
            by_address: Throttle::new(limits.requests_per_address),
            refused: Throttle::new(REFUSED),
            looked: Mutex::default(),
        }
    }

    /// Who sends a request, if it may do what it wants to.
    pub(super) async fn caller(
        &self,
        headers: &HeaderMap,
        from: Origin,
        need: Need,
    ) -> Result<Caller, Turned> {
        let (scope, open) = match need {
            Need::Nothing => return Ok(Caller::near()),
            Need::Scope(scope) => (scope, scope == Scope::Ingest && self.open_ingest),
            Need::NearOr(scope) => (scope, true),
        };
        let near = self.is_near(headers, from);
        let home = from.client.map(home);
        if let (Some(home), false) = (home, near) {
            allow(&self.by_address, home, "this address")?;
        }
        let token = match shown(headers) {
            Ok(Some(token)) => token,
            Ok(None) if open && near => return Ok(Caller::near()),
            Ok(None) => {
                return Err(unauthorized("show a key: Authorization: Bearer annals_…").into());
            }
            Err(what) => return Err(unauthorized(what).into()),
        };
        let Some(known) = &self.known else {
            return Err(unauthorized("this server has no keys").into());
        };
        let id = token.id().to_owned();
        let mut found = known.find(&token, Timestamp::now());
        // A key that is known works, whatever others try from the same address.
        if let (Err(refused), Some(home)) = (&found, home)
            && *refused != Refused::NotYet
        {
            allow(&self.refused, home, "keys that let nobody in from this address")?;
        }
        if matches!(found, Err(Refused::Unknown | Refused::NotYet)) && self.look(known).await {
            found = known.find(&token, Timestamp::now());
        }
        let caller = match found {
            Ok(key) => Caller::with_key(key, known),
            Err(Refused::NotYet) => {
                return Err(Problem::retry_after(Refused::NotYet.to_string(), 2).into());
            }
            Err(refused) => {
                return Err(Turned { problem: unauthorized(&refused.to_string()), key: Some(id) });
            }
        };
        allow(&self.by_key, id.clone(), "this key")?;
        if !caller.has(scope) {
            let detail = format!("this key has not the scope {scope}");
            let problem = Problem::new(StatusCode::FORBIDDEN, detail);
            return Err(Turned { problem, key: Some(id) });
        }
        Ok(caller)
    }

    /// Whether a program of this machine sends it, by a name of this machine, and hands nobody
    /// else's request on.
    fn is_near(&self, headers: &HeaderMap, from: Origin) -> bool {
        let handed_on = HANDED_ON.iter().any(|name| headers.contains_key(*name));
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        from.peer.is_some_and(|peer| peer.to_canonical().is_loopback())
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

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// Who is at the other end of the connection.
    peer: Option<IpAddr>,
    /// Who sent it, if that one is a proxy.
    client: Option<IpAddr>,
}

impl Origin {
    pub(super) fn of(request: &Request) -> Self {
        let peer = request.extensions().get::<Peer>().map(|Peer(peer)| peer.ip());
        let client = request.extensions().get::<Client>().map(|Client(client)| *client);
        Self { peer, client }
    }
}

/// Lets one more request through, or says how long to wait.
fn allow<K: Eq + Hash>(throttle: &Throttle<K>, whose: K, who: &str) -> Result<(), Problem> {
    throttle.take(whose, Instant::now()).map_err(|wait| {
        let seconds = wait.as_secs() + 1;
        let detail = format!("too many requests of {who}; wait {seconds} s");
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, detail);
        problem.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    })
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
