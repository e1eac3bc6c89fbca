//! Forms that our own pages send.

use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::Response;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{Pages, show};
use crate::access::{Asked, Origin};

/// Bytes of a form, at most.
const MOST: usize = 16 * 1024;

/// How long one may take to come.
const TIME: Duration = Duration::from_secs(15);

/// A form of one of our own pages.
pub(super) struct Form<T> {
    pub(super) sent: T,
    pub(super) asked: Asked,
    pub(super) from: Origin,
    pub(super) headers: axum::http::HeaderMap,
}

impl<T: DeserializeOwned> FromRequest<Arc<Pages>> for Form<T> {
    type Rejection = Response;

    async fn from_request(request: Request, pages: &Arc<Pages>) -> Result<Self, Response> {
        let path = request.uri().path().to_owned();
        let (asked, from) = (Asked::of(&request, &path), Origin::of(&request));
        let headers = request.headers().clone();
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        // The browser must say that it was one of ours: one that says nothing may hide another.
        if pages.ours.is_own_page(&headers, host.unwrap_or_default()) != Some(true) {
            let text = "The form was not sent by a page of this server.";
            return Err(show::message(StatusCode::FORBIDDEN, "Not sent by us", text));
        }
        let wrong = |status, text: &str| show::message(status, "It did not come whole", text);
        let body = timeout(TIME, to_bytes(request.into_body(), MOST)).await;
        let body = body
            .map_err(|_| wrong(StatusCode::REQUEST_TIMEOUT, "It took too long; send it again."))?
            .map_err(|_| wrong(StatusCode::PAYLOAD_TOO_LARGE, "It is too long, or was cut off."))?;
        let sent = serde_urlencoded::from_bytes(&body)
            .map_err(|_| wrong(StatusCode::BAD_REQUEST, "A field is missing; fill all of them."))?;
        Ok(Self { sent, asked, from, headers })
    }
}
