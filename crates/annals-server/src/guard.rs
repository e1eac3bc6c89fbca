//! Keeps web pages out, while there are no keys.
//!
//! A page in a browser on this machine can send requests to loopback. It cannot
//! hide three things: the Host that it reached us by (a name that its own DNS
//! bound to 127.0.0.1 stays its name), its Origin, and what the browser adds in
//! Sec-Fetch-Site. The content types that ingest takes add a fourth lock: a page
//! may not send them across origins without asking first, and nobody answers.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;

/// Lets a request through unless a web page may have sent it.
pub(crate) async fn guard(
    State(ours): State<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    match check(&request, ours) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.closing().into_response(),
    }
}

fn check(request: &Request, ours: SocketAddr) -> Result<(), Problem> {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next().map(header::HeaderValue::to_str), hosts.next()) {
        (Some(Ok(host)), None) => host,
        _ => return Err(Problem::new(StatusCode::BAD_REQUEST, "send one Host header")),
    };
    let authority = request.uri().authority().map(|authority| authority.as_str());
    for name in [Some(host), authority].into_iter().flatten() {
        // What others can reach has names that it does not know.
        if ours.ip().to_canonical().is_loopback() && !is_ours(name, ours.port()) {
            let detail = format!(
                "this server is not {name:?}: it serves loopback only, as localhost:{port} or {ours}",
                port = ours.port()
            );
            return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail));
        }
    }
    let page = headers.contains_key(header::ORIGIN)
        || headers
            .get("sec-fetch-site")
            .is_some_and(|site| !matches!(site.as_bytes(), b"none" | b"same-origin"));
    if page {
        let detail = "web pages may not use this server; \
                      send no Origin header and no Sec-Fetch-Site of another site";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    Ok(())
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
