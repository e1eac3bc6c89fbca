//! Looks at what a request shows to be let in.

use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use annals::access::{Known, Refused, Scope, Token};
use annals::{Actor, Timestamp};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

use super::Caller;
use super::cookies::Cookies;
use super::needs::Right;
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

/// What pages of a session's own send with each change that they ask for.
const PAGE_TOKEN: &str = "x-page-token";

/// What a request shows.
#[derive(Clone, Copy, Debug)]
enum Shown {
    Key,
    Session,
}

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
    /// What those have who sign in, if anybody can.
    cookies: Option<Cookies>,
    looked: Mutex<Option<Instant>>,
}

/// Why somebody is not let in.
pub(super) struct Turned {
    pub(super) problem: Problem,
    /// Who was not let in, if it is worth to be told of.
    pub(super) who: Option<Actor>,
}

impl From<Problem> for Turned {
    fn from(problem: Problem) -> Self {
        Self { problem, who: None }
    }
}

impl Door {
    pub(crate) fn new(
        known: Option<Arc<Known>>,
        open_ingest: bool,
        ours: SocketAddr,
        cookies: Option<Cookies>,
        limits: &Limits,
    ) -> Self {
        Self {
            known,
            open_ingest,
            ours,
            by_key: Throttle::new(limits.requests_per_key),
            by_address: Throttle::new(limits.requests_per_address),
            refused: Throttle::new(REFUSED),
            cookies,
            looked: Mutex::default(),
        }
    }

    /// Who sends a request, if it may do what it wants to.
    pub(super) async fn caller(
        &self,
        method: &Method,
        headers: &HeaderMap,
        from: Origin,
        right: Right,
    ) -> Result<Caller, Turned> {
        let open = right.near || right.scope == Some(Scope::Ingest) && self.open_ingest;
        let near = self.is_near(headers, from);
        let home = from.client.map(home);
        if let (Some(home), false) = (home, near) {
            allow(&self.by_address, home, "this address")?;
        }
        let (token, what) = match (shown(headers), &self.cookies) {
            (Ok(Some(token)), _) => (token, Shown::Key),
            (Ok(None), Some(cookies)) => match cookies.shown(headers) {
                Some(token) => (token, Shown::Session),
                None if open && near => return Ok(Caller::near()),
                None => return Err(nothing_shown(right).into()),
            },
            (Ok(None), None) if open && near => return Ok(Caller::near()),
            (Ok(None), None) => return Err(nothing_shown(right).into()),
            (Err(what), _) => return Err(unauthorized(what).into()),
        };
        let Some(known) = &self.known else {
            return Err(unauthorized("this server has no keys").into());
        };
        let caller = self.find(known, &token, what, home).await?;
        let turned = |problem| Turned { problem, who: caller.actor() };
        let whose = caller.actor().and_then(|actor| actor.id).unwrap_or_default().to_string();
        allow(&self.by_key, whose, caller.named())?;
        let (may, otherwise) = match what {
            Shown::Key => (right.by_key, "this is for people who have signed in, and not for keys"),
            Shown::Session => (right.by_session, "this is for applications: show a key"),
        };
        if !may {
            return Err(turned(Problem::new(StatusCode::FORBIDDEN, otherwise)));
        }
        if let Some(scope) = right.scope.filter(|scope| !caller.has(*scope)) {
            let detail = match what {
                Shown::Key => format!("this key has not the scope {scope}"),
                Shown::Session => format!("your role may not {scope}"),
            };
            return Err(turned(Problem::new(StatusCode::FORBIDDEN, detail)));
        }
        if let Some(signed_in) = caller.signed_in().filter(|_| !method.is_safe()) {
            let page = headers.get(PAGE_TOKEN).and_then(|shown| shown.to_str().ok());
            if !page.is_some_and(|shown| known.is_page_token(&signed_in.session, shown)) {
                let detail = "send the page_token of GET /v1/me as X-Page-Token: \
                              other sites' pages do not know it";
                return Err(turned(Problem::new(StatusCode::FORBIDDEN, detail)));
            }
        }
        Ok(caller)
    }

    /// Who shows that.
    async fn find(
        &self,
        known: &Arc<Known>,
        token: &Token,
        what: Shown,
        home: Option<IpAddr>,
    ) -> Result<Caller, Turned> {
        let find = || {
            let now = Timestamp::now();
            match what {
                Shown::Key => known.find(token, now).map(|key| Caller::with_key(key, known)),
                Shown::Session => {
                    known.find_session(token, now).map(|who| Caller::person(who, known))
                }
            }
        };
        let mut found = find();
        // A key that is known works, whatever others try from the same address.
        if let (Err(refused), Some(home)) = (&found, home)
            && *refused != Refused::NotYet
        {
            allow(&self.refused, home, "keys that let nobody in from this address")?;
        }
        if matches!(found, Err(Refused::Unknown | Refused::NotYet)) && self.look(known).await {
            found = find();
        }
        found.map_err(|refused| match (refused, what) {
            (Refused::NotYet, _) => Problem::retry_after(Refused::NotYet.to_string(), 2).into(),
            (refused, Shown::Key) => Turned {
                problem: unauthorized(&refused.to_string()),
                who: Some(Actor::new("api_key", token.id())),
            },
            // Every session is over some day.
            (_, Shown::Session) => unauthorized("your session is over; sign in again").into(),
        })
    }

    /// Who shows a session that lasts, for a page.
    pub(crate) async fn signed_in(&self, headers: &HeaderMap, from: Origin) -> Option<Arc<Caller>> {
        let known = self.known.as_ref()?;
        let token = self.cookies.as_ref()?.shown(headers)?;
        let caller = self.find(known, &token, Shown::Session, from.client.map(home)).await;
        caller.ok().map(Arc::new)
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
pub(crate) struct Origin {
    /// Who is at the other end of the connection.
    peer: Option<IpAddr>,
    /// Who sent it, if that one is a proxy.
    client: Option<IpAddr>,
}

impl Origin {
    pub(crate) fn of(request: &Request) -> Self {
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

fn nothing_shown(right: Right) -> Problem {
    unauthorized(match right {
        Right { by_key: false, .. } => "sign in",
        _ => "show a key: Authorization: Bearer annals_…",
    })
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, detail)
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"annals\""))
}
