//! A small JSON object that a request sends.

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::problem::Problem;

/// Bytes of such an object, at most.
const MOST: usize = 1024 * 1024;

/// Reads what may be left out, and is no null if it is there.
pub(crate) fn given<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// What a request sent, as JSON.
#[derive(Debug)]
pub(crate) struct Sent<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Sent<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            let detail = "send application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).closing());
        }
        let bytes = to_bytes(request.into_body(), MOST).await.map_err(|_| {
            let detail = format!("the body did not come whole, or is over {MOST} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).closing()
        })?;
        let sent = serde_json::from_slice(&bytes);
        sent.map(Self).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))
    }
}
