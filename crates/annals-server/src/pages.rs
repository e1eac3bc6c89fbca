//! Pages for people: signing in and out. The browser shows a session with each request; what
//! it is made of, and what it lets do, is [`annals::access`]'s to know.
//!
//! A change is asked for by a form of our own pages alone: the browser says whose page it was
//! ([`crate::guard`]), its cookie is not sent along with other sites' forms, and what ends a
//! session shows the session's page token.

mod asset;
mod form;
mod provider;
mod session;
mod show;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use annals::access::{From, Known, Means, People, Person};
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Redirect, Response};
use axum::routing::get;
use tokio::sync::Semaphore;

use crate::access::{Access, Asked, Caller, Cookies, Origin, SIGNED_IN, Throttle, home};
use crate::guard::Ours;
use crate::provider::Provider;

/// Passwords that are checked at a time: each takes 19 MiB and a core.
const HASHING: usize = 2;

/// How often somebody may be wrong about one name from one address, and from one address
/// about any: at once, and then one more each time that this has passed.
const WRONG_NAME: (u32, Duration) = (5, Duration::from_secs(60));
const WRONG_ADDRESS: (u32, Duration) = (30, Duration::from_secs(10));

/// How people sign in.
#[derive(Clone, Debug)]
pub struct SignIn {
    origin: Option<String>,
    lasts: Duration,
    provider: Option<Provider>,
}

impl SignIn {
    /// By passwords; `origin` is by what people reach the server, if that is not what their
    /// browsers name it themselves: `SCHEME://HOST[:PORT]`. Sessions last so long.
    #[must_use]
    pub fn new(origin: Option<String>, lasts: Duration) -> Self {
        Self { origin, lasts, provider: None }
    }

    /// By this provider of identities too.
    #[must_use]
    pub fn provider(mut self, provider: Provider) -> Self {
        self.provider = Some(provider);
        self
    }

    pub(crate) fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }
}

/// What the pages share.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) access: Arc<Access>,
    pub(crate) ours: Arc<Ours>,
    pub(crate) known: Arc<Known>,
    pub(crate) people: People,
    pub(crate) cookies: Cookies,
    lasts: Duration,
    provider: Option<Provider>,
    by_name: Throttle<(String, IpAddr)>,
    by_address: Throttle<IpAddr>,
    hashing: Semaphore,
}

impl Pages {
    pub(crate) fn new(
        access: Arc<Access>,
        ours: Arc<Ours>,
        known: Arc<Known>,
        people: People,
        cookies: Cookies,
        sign_in: &SignIn,
    ) -> Self {
        Self {
            access,
            ours,
            known,
            people,
            cookies,
            lasts: sign_in.lasts,
            provider: sign_in.provider.clone(),
            by_name: Throttle::slow(WRONG_NAME.0, WRONG_NAME.1),
            by_address: Throttle::slow(WRONG_ADDRESS.0, WRONG_ADDRESS.1),
            hashing: Semaphore::new(HASHING),
        }
    }

    /// Who has signed in.
    async fn caller(&self, headers: &HeaderMap, from: Origin) -> Option<Arc<Caller>> {
        self.access.door.signed_in(headers, from).await
    }

    /// Begins a session, tells of it, and gives it to the browser.
    async fn begin(
        &self,
        person: &Person,
        means: Means,
        asked: &Asked,
    ) -> annals::Result<Option<HeaderValue>> {
        let text = |text: &Option<annals::event::Text>| text.as_ref().map(ToString::to_string);
        let from =
            From { ip: text(&asked.context.ip), user_agent: text(&asked.context.user_agent) };
        let (session, token) = self.people.begin(person, means, from, self.lasts).await?;
        // Other servers learn of it when it is shown to them.
        self.known.refresh().await?;
        let tells = serde_json::json!({ "session": session.id, "by": means });
        self.access.trail.tell_of_session(SIGNED_IN, asked, person.actor(), &tells);
        Ok(self.cookies.give(&token, self.lasts))
    }
}

/// The pages, and what they are made of.
pub(crate) fn routes(pages: Arc<Pages>) -> Router {
    Router::new()
        .route("/", get(session::home))
        .route("/sign-in", get(session::sign_in).post(session::signed_in))
        .route("/sign-in/provider", get(provider::there))
        .route(provider::BACK, get(provider::back))
        .route("/sign-out", axum::routing::post(session::sign_out))
        .route("/welcome", get(session::welcome).post(session::welcomed))
        .layer(from_fn(keep_to_ourselves))
        .with_state(pages)
}

/// What every server has that is asked by people: what pages are made of, and one to try the
/// API.
pub(crate) fn assets() -> Router {
    Router::new()
        .route("/assets/{name}", get(asset::asset))
        .route("/api/", get(asset::try_page))
        .route("/api/{name}", get(asset::try_asset))
        .route("/api", get(|| async { Redirect::permanent("/api/") }))
        .layer(from_fn(let_try))
}

/// What browsers are told about the page of Swagger UI, which styles its elements itself.
async fn let_try(request: Request, next: Next) -> Response {
    let mut response = keep_to_ourselves(request, next).await;
    let policy = HeaderValue::from_static(
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
         img-src 'self' data:; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; \
         base-uri 'none'",
    );
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// What browsers are told about every page.
async fn keep_to_ourselves(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
             frame-ancestors 'none'; base-uri 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn home_of(asked: &Asked) -> IpAddr {
    let named = asked.context.ip.as_deref().and_then(|ip| ip.parse().ok());
    home(named.unwrap_or(IpAddr::from([0, 0, 0, 0])))
}
