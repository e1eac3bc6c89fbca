//! The request layer: a [`Scope`] around each request of a tower service.
//!
//! It fits every server that speaks the `http` crate's requests (axum, tonic,
//! hyper), since it depends on three small trait crates and on none of them.
//!
//! ```
//! use annals::context::layer::ScopeLayer;
//! use annals::context::proxy::TrustedProxies;
//!
//! # fn peer(_: &http::Extensions) -> Option<std::net::IpAddr> { None }
//! let layer = ScopeLayer::new()
//!     .service("shop")
//!     // Where the server put the peer's address; with axum:
//!     // |extensions| Some(extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip())
//!     .peer(peer)
//!     .proxies("10.0.0.0/8".parse::<TrustedProxies>()?)
//!     .redact_query("coupon");
//! # let _ = layer;
//! # Ok::<(), annals::Error>(())
//! ```

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use http::{Extensions, HeaderMap, Request, Uri};
use tower_layer::Layer;
use tower_service::Service;

use super::proxy::TrustedProxies;
use super::{Scope, Scoped};
use crate::event::{EventId, Text, Timestamp};

/// Query parameters whose values never enter an event.
const SECRET_PARAMETERS: [&str; 19] = [
    "access_token",
    "api_key",
    "apikey",
    "auth",
    "authorization",
    "client_secret",
    "id_token",
    "jwt",
    "passwd",
    "password",
    "private_key",
    "pwd",
    "refresh_token",
    "secret",
    "session",
    "session_id",
    "sig",
    "signature",
    "token",
];

/// What stands in the place of such a value.
const REDACTED: &str = "[redacted]";

/// Bytes of a URL, a User-Agent and a method that are kept; what is longer is
/// cut and ends with `…`, since the client chooses them and the event is bounded.
const MAX_URL: usize = 2048;
const MAX_USER_AGENT: usize = 512;
const MAX_METHOD: usize = 32;

/// Bytes of a client's `x-request-id`, at most.
const MAX_REQUEST_ID: usize = 128;

/// Puts a [`Scope`] around each request: the client's address, User-Agent, URL,
/// method, request id and trace id.
#[derive(Clone, Debug)]
pub struct ScopeLayer(Arc<Settings>);

#[derive(Clone, Debug)]
struct Settings {
    service: Option<Text>,
    peer: fn(&Extensions) -> Option<IpAddr>,
    proxies: TrustedProxies,
    secret: Vec<Text>,
}

impl Default for ScopeLayer {
    fn default() -> Self {
        Self(Arc::new(Settings {
            service: None,
            peer: |_| None,
            proxies: TrustedProxies::none(),
            secret: SECRET_PARAMETERS.map(Text::Borrowed).to_vec(),
        }))
    }
}

impl ScopeLayer {
    /// A layer that trusts no proxy and knows no peer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the application's name.
    #[must_use]
    pub fn service(self, name: impl Into<Text>) -> Self {
        self.with(|settings| settings.service = Some(name.into()))
    }

    /// Sets how to find the address of the connection's peer among the request's
    /// extensions, where the server puts it. Without it, events have no `ip`:
    /// a header alone is never believed.
    #[must_use]
    pub fn peer(self, find: fn(&Extensions) -> Option<IpAddr>) -> Self {
        self.with(|settings| settings.peer = find)
    }

    /// Sets which proxies are believed about the client's address.
    #[must_use]
    pub fn proxies(self, proxies: TrustedProxies) -> Self {
        self.with(|settings| settings.proxies = proxies)
    }

    /// Redacts the values of this query parameter too, in any case. Those named
    /// `token`, `password`, `secret`, `api_key`, `signature`, `session` and
    /// their like are redacted already.
    #[must_use]
    pub fn redact_query(self, name: impl Into<Text>) -> Self {
        self.with(|settings| settings.secret.push(name.into()))
    }

    fn with(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.0));
        self
    }

    /// The scope of one request, for frameworks that are not tower services. The
    /// current scope's other facts (tenant, reason, actor) stay.
    #[must_use]
    pub fn scope<B>(&self, request: &Request<B>) -> Scope {
        let settings = &*self.0;
        let headers = request.headers();
        let mut scope = Scope::current()
            .method(cut(request.method().as_str(), MAX_METHOD))
            .url(settings.url(request.uri()))
            .request_id(request_id(headers));
        if let Some(service) = &settings.service {
            scope = scope.service(service.clone());
        }
        if let Some(peer) = (settings.peer)(request.extensions()) {
            let lines: Vec<&[u8]> = headers
                .get_all(settings.proxies.header_name())
                .iter()
                .map(http::HeaderValue::as_bytes)
                .collect();
            scope = scope.ip(settings.proxies.client(peer, lines).to_string());
        }
        if let Some(agent) = headers.get(http::header::USER_AGENT) {
            let agent = String::from_utf8_lossy(agent.as_bytes());
            scope = scope.user_agent(cut(&agent, MAX_USER_AGENT));
        }
        match headers.get("traceparent").and_then(|parent| trace_id(parent.as_bytes())) {
            Some(trace_id) => scope.trace_id(trace_id),
            None => scope,
        }
    }
}

impl Settings {
    /// Path and query, without the values of secret parameters.
    fn url(&self, uri: &Uri) -> String {
        let Some(query) = uri.query() else { return cut(uri.path(), MAX_URL) };
        let mut url = String::with_capacity(uri.path().len() + query.len() + 1);
        url.push_str(uri.path());
        for (index, pair) in query.split('&').enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            match pair.split_once('=') {
                Some((name, _)) if self.is_secret(name) => {
                    url.push_str(name);
                    url.push('=');
                    url.push_str(REDACTED);
                }
                _ => url.push_str(pair),
            }
        }
        cut(&url, MAX_URL)
    }

    fn is_secret(&self, name: &str) -> bool {
        let name = percent_decoded(name);
        // `user[password]` is how forms write a nested field.
        let last = name.trim_end_matches(']').rsplit('[').next().unwrap_or_default();
        let named = |name: &str| self.secret.iter().any(|secret| secret.eq_ignore_ascii_case(name));
        named(&name) || named(last)
    }
}

/// The bytes that a name in a query stands for, as text as far as they are.
fn percent_decoded(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, behind @ ..] = rest {
        let escaped = (*first == b'%')
            .then(|| std::str::from_utf8(behind.get(..2)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The text, or as much of it as `limit` bytes hold.
fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(limit.saturating_sub('…'.len_utf8()));
    format!("{}…", &text[..end])
}

/// The request's own id if it is sane, else a new one: all events of a request
/// share it.
fn request_id(headers: &HeaderMap) -> String {
    let sane = |id: &&str| {
        (1..=MAX_REQUEST_ID).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte))
    };
    match headers.get("x-request-id").and_then(|id| id.to_str().ok()).filter(sane) {
        Some(id) => id.to_owned(),
        None => EventId::at(Timestamp::now()).to_string(),
    }
}

/// The trace id of a `traceparent` header (W3C Trace Context, section 3.2):
/// `VERSION-TRACEID-PARENTID-FLAGS`, in lower-case hexadecimal.
fn trace_id(parent: &[u8]) -> Option<String> {
    let parent = std::str::from_utf8(parent).ok()?;
    let mut parts = parent.split('-');
    let mut hex = |length: usize| {
        parts.next().filter(|part| {
            let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            part.len() == length && part.bytes().all(digit)
        })
    };
    let (version, trace, span, _flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    let nothing = |part: &str| part.bytes().all(|byte| byte == b'0');
    // A later version may go on behind the flags; version 00 may not.
    let whole = version != "00" || parent.len() == 55;
    (version != "ff" && whole && !nothing(trace) && !nothing(span)).then(|| trace.to_owned())
}

impl<S> Layer<S> for ScopeLayer {
    type Service = ScopeService<S>;

    fn layer(&self, inner: S) -> ScopeService<S> {
        ScopeService { inner, layer: self.clone() }
    }
}

/// A service whose requests run in a [`Scope`].
#[derive(Clone, Debug)]
pub struct ScopeService<S> {
    inner: S,
    layer: ScopeLayer,
}

impl<S, B> Service<Request<B>> for ScopeService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Scoped<S::Future>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let scope = self.layer.scope(&request);
        let future = scope.run(|| self.inner.call(request));
        scope.around(future)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Context;

    #[derive(Clone)]
    struct Peer(IpAddr);

    fn layer() -> ScopeLayer {
        ScopeLayer::new().service("shop").peer(|extensions| Some(extensions.get::<Peer>()?.0))
    }

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method("PUT").uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.extension(Peer("10.0.0.1".parse().unwrap())).body(()).unwrap()
    }

    fn context(layer: &ScopeLayer, request: &Request<()>) -> Context {
        layer.scope(request).defaults().context.clone()
    }

    #[test]
    fn tells_where_a_request_came_from() {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let request = request(
            "http://shop.example/products/42?view=full",
            &[("user-agent", "curl/8"), ("x-request-id", "r-1"), ("traceparent", trace)],
        );
        let context = context(&layer(), &request);
        assert_eq!(context.ip.as_deref(), Some("10.0.0.1"));
        assert_eq!(context.user_agent.as_deref(), Some("curl/8"));
        assert_eq!(context.url.as_deref(), Some("/products/42?view=full"));
        assert_eq!(context.method.as_deref(), Some("PUT"));
        assert_eq!(context.request_id.as_deref(), Some("r-1"));
        assert_eq!(context.trace_id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert_eq!(context.service.as_deref(), Some("shop"));
    }

    #[test]
    fn a_spoofed_forwarded_for_is_believed_from_named_proxies_only() {
        let spoofed = request("/", &[("x-forwarded-for", "1.2.3.4, 203.0.113.9")]);
        assert_eq!(context(&layer(), &spoofed).ip.as_deref(), Some("10.0.0.1"));
        let behind = layer().proxies("10.0.0.0/8".parse().unwrap());
        assert_eq!(context(&behind, &spoofed).ip.as_deref(), Some("203.0.113.9"));
        let peerless = ScopeLayer::new().proxies("0.0.0.0/0".parse().unwrap());
        assert_eq!(context(&peerless, &spoofed).ip, None);
    }

    #[test]
    fn secrets_stay_out_of_the_url() {
        let layer = layer().redact_query("coupon");
        for (uri, kept) in [
            ("/a?Token=x&b=1", "/a?Token=[redacted]&b=1"),
            ("/a?%74oken=x", "/a?%74oken=[redacted]"),
            (
                "/a?user%5Bpassword%5D=x&u[password]=y",
                "/a?user%5Bpassword%5D=[redacted]&u[password]=[redacted]",
            ),
            ("/a?coupon=x&token", "/a?coupon=[redacted]&token"),
            ("/a?password=x=y", "/a?password=[redacted]"),
            ("/a?tokens=3&%zz=1", "/a?tokens=3&%zz=1"),
        ] {
            assert_eq!(context(&layer, &request(uri, &[])).url.as_deref(), Some(kept));
        }
    }

    #[test]
    fn what_the_client_makes_too_long_is_cut() {
        let long = format!("/{}", "é".repeat(3000).replace('é', "%C3%A9"));
        let request = request(&long, &[("user-agent", &"x".repeat(5000))]);
        let context = context(&layer(), &request);
        let (url, agent) = (context.url.unwrap(), context.user_agent.unwrap());
        assert!(url.len() <= MAX_URL && url.ends_with('…'), "{}", url.len());
        assert!(agent.len() <= MAX_USER_AGENT && agent.ends_with('…'), "{}", agent.len());
    }

    #[test]
    fn an_insane_request_id_is_replaced() {
        let long = "x".repeat(129);
        for given in ["", "a b", "\"", &long] {
            let request = request("/", &[("x-request-id", given)]);
            let id = context(&layer(), &request).request_id.unwrap();
            assert!(id.parse::<EventId>().is_ok(), "{given:?} became {id}");
        }
    }

    #[test]
    fn reads_trace_parents_as_the_w3c_says() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let span = "00f067aa0ba902b7";
        for (parent, read) in [
            (format!("00-{trace}-{span}-01"), true),
            (format!("cc-{trace}-{span}-01-what-comes"), true),
            (format!("00-{trace}-{span}-01-more"), false),
            (format!("ff-{trace}-{span}-01"), false),
            (format!("00-{}-{span}-01", trace.to_uppercase()), false),
            (format!("00-{}-{span}-01", "0".repeat(32)), false),
            (format!("00-{trace}-{}-01", "0".repeat(16)), false),
            (format!("00-{trace}-{span}"), false),
        ] {
            assert_eq!(trace_id(parent.as_bytes()).as_deref(), read.then_some(trace), "{parent}");
        }
    }

    #[tokio::test]
    async fn the_scope_surrounds_the_call_and_its_future() {
        struct Asks;
        impl Service<Request<()>> for Asks {
            type Response = (Option<String>, Option<String>);
            type Error = std::convert::Infallible;
            type Future =
                std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>>>>;
            fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
                Poll::Ready(Ok(()))
            }
            fn call(&mut self, _: Request<()>) -> Self::Future {
                let url = || Scope::current().defaults().context.url.as_deref().map(str::to_owned);
                let called = url();
                Box::pin(async move {
                    tokio::task::yield_now().await;
                    Ok((called, url()))
                })
            }
        }
        let mut service = layer().layer(Asks);
        let (called, polled) = service.call(request("/here", &[])).await.unwrap();
        assert_eq!((called.as_deref(), polled.as_deref()), (Some("/here"), Some("/here")));
        assert_eq!(Scope::current().defaults().context.url, None);
    }
}
