//! Keeps other sites' web pages out.
//!
//! A page in a browser on this machine can send requests to loopback, and one in the browser
//! of somebody who has signed in sends their cookie along. It cannot hide three things: the
//! Host that it reached us by (a name that its own DNS bound to 127.0.0.1 stays its name), its
//! Origin, and what the browser adds in Sec-Fetch-Site. The content types that ingest takes
//! add a fourth lock: a page may not send them across origins without asking first, and nobody
//! answers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;

/// What this server is called.
#[derive(Clone, Debug)]
pub(crate) struct Ours {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Whether it speaks TLS itself.
    pub(crate) tls: bool,
    /// The origin by which people reach it, if it is known: `SCHEME://HOST[:PORT]`.
    pub(crate) origin: Option<String>,
}

/// Lets a request through unless another site's page may have sent it.
pub(crate) async fn guard(State(ours): State<Arc<Ours>>, request: Request, next: Next) -> Response {
    match check(&request, &ours) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.closing().into_response(),
    }
}

fn check(request: &Request, ours: &Ours) -> Result<(), Problem> {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next().map(header::HeaderValue::to_str), hosts.next()) {
        (Some(Ok(host)), None) => host,
        _ => return Err(Problem::new(StatusCode::BAD_REQUEST, "send one Host header")),
    };
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let address = ours.address;
    for name in [Some(host), authority].into_iter().flatten() {
        // What others can reach has names that it does not know.
        let known = !address.ip().to_canonical().is_loopback()
            || is_ours(name, address.port())
            || ours.public_host() == Some(name);
        if !known {
            let detail = format!(
                "this server is not {name:?}: it serves loopback only, as localhost:{port} or {address}",
                port = address.port()
            );
            return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail));
        }
    }
    if ours.is_own_page(headers, host) != Some(false) || is_followed_link(request) {
        return Ok(());
    }
    let detail = "other sites' web pages may not use this server; \
                  send no Origin header and no Sec-Fetch-Site of another site";
    Err(Problem::new(StatusCode::FORBIDDEN, detail))
}

impl Ours {
    /// The host of the origin by which people reach it.
    fn public_host(&self) -> Option<&str> {
        self.origin.as_deref()?.split_once("://").map(|(_, host)| host)
    }

    /// The origin by which somebody reaches it.
    pub(crate) fn origin_of(&self, headers: &HeaderMap) -> Option<String> {
        let named = || {
            let host = headers.get(header::HOST)?.to_str().ok()?;
            Some(format!("{}://{host}", if self.tls { "https" } else { "http" }))
        };
        self.origin.clone().or_else(named)
    }

    /// Whether one of its own pages sent a request, or another one did; `None` if none did, as
    /// far as can be seen.
    pub(crate) fn is_own_page(&self, headers: &HeaderMap, host: &str) -> Option<bool> {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let own = |origin: &str| {
            let scheme = if self.tls { "https" } else { "http" };
            origin.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")) == Some(host)
                || self.origin.as_deref() == Some(origin)
        };
        let by_origin = match (origins.next(), origins.next()) {
            (None, _) => None,
            (Some(origin), None) => Some(origin.to_str().is_ok_and(own)),
            (Some(_), Some(_)) => Some(false),
        };
        let site = headers.get("sec-fetch-site").map(header::HeaderValue::as_bytes);
        let by_site = match site {
            // A reader who typed the address, or took it from the bookmarks.
            None | Some(b"none") => None,
            Some(site) => Some(site == b"same-origin"),
        };
        match (by_origin, by_site) {
            (None, None) => None,
            (origin, site) => Some(origin != Some(false) && site != Some(false)),
        }
    }
}

/// Whether somebody followed a link of another site to one of our pages, which show things
/// and change nothing.
fn is_followed_link(request: &Request) -> bool {
    let is = |name: &str, value: &[u8]| {
        request.headers().get(name).is_some_and(|found| found.as_bytes() == value)
    };
    let path = request.uri().path();
    request.method() == Method::GET
        && is("sec-fetch-mode", b"navigate")
        && is("sec-fetch-dest", b"document")
        && !request.headers().contains_key(header::ORIGIN)
        && !path.starts_with("/v1/")
        && path != "/metrics"
}

/// Whether a `HOST:PORT` names this server: `localhost` or a loopback address.
pub(crate) fn is_ours(name: &str, port: u16) -> bool {
    let Ok(uri) = name.parse::<Uri>() else { return false };
    let Some(authority) = uri.authority().filter(|authority| !authority.as_str().contains('@'))
    else {
        return false;
    };
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let loopback = bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    // Port 80 goes without saying.
    loopback && authority.port_u16().unwrap_or(80) == port
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn only_loopback_names_with_our_port_are_ours() {
        for (name, ours) in [
            ("127.0.0.1:7171", true),
            ("127.8.9.10:7171", true),
            ("localhost:7171", true),
            ("LocalHost:7171", true),
            ("[::1]:7171", true),
            ("127.0.0.1", false),
            ("127.0.0.1:7172", false),
            ("localhost.evil.example:7171", false),
            ("evil.example:7171", false),
            ("127.0.0.1.evil.example:7171", false),
            ("user@127.0.0.1:7171", false),
            ("10.0.0.1:7171", false),
            ("0.0.0.0:7171", false),
            ("[::1]", false),
            ("", false),
            ("127.0.0.1:7171/x", false),
        ] {
            assert_eq!(is_ours(name, 7171), ours, "{name:?}");
        }
        assert!(is_ours("localhost", 80));
    }
}
