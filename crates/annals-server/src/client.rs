//! Whose request it is, behind proxies that are trusted.

use std::net::IpAddr;

use annals::context::proxy::TrustedProxies;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::server::Peer;

/// The address of whoever sent a request: the peer's, or what trusted proxies say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client(pub(crate) IpAddr);

/// Finds out whose request it is.
pub(crate) async fn find(
    State(proxies): State<TrustedProxies>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(Peer(peer)) = request.extensions().get::<Peer>().copied() {
        let lines = request.headers().get_all(proxies.header_name());
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        let client = proxies.client(peer.ip(), lines);
        request.extensions_mut().insert(Client(client));
    }
    next.run(request).await
}
