//! Reads a request's body within the bounds.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use http_body_util::BodyExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Duration, Instant, timeout_at};

use super::{Ingest, RETRY_SECONDS};
use crate::problem::Problem;

/// How much of a body that is too large is read and thrown away, in bodies of
/// the largest size, and for how long: a client that is still sending would
/// otherwise see a broken connection instead of the answer.
const DRAINED_BODIES: usize = 2;
const DRAIN_TIME: Duration = Duration::from_secs(2);

impl Ingest {
    /// The whole body, and its share of [`crate::Limits::held_bytes`]. Nothing is
    /// taken from a body that did not come whole.
    pub(super) async fn read(
        &self,
        request: Request,
    ) -> Result<(Vec<u8>, OwnedSemaphorePermit), Problem> {
        let limit = self.limits.body_bytes;
        let announced = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let asks_first = request.headers().contains_key(header::EXPECT);
        let mut body = request.into_body();
        if announced.is_some_and(|announced| announced > limit) {
            if !asks_first {
                self.drain(&mut body).await;
            }
            return Err(too_large(limit));
        }
        let mut held = self.hold(0)?;
        let mut bytes = Vec::new();
        let deadline = Instant::now() + self.limits.body_time;
        loop {
            let frame = match timeout_at(deadline, body.frame()).await {
                Ok(None) => return Ok((bytes, held)),
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => {
                    tracing::debug!(%error, "a request's body did not come whole");
                    let detail = "the body ended before it was whole; nothing was taken";
                    return Err(Problem::new(StatusCode::BAD_REQUEST, detail).closing());
                }
                Err(_late) => {
                    let seconds = self.limits.body_time.as_secs_f64();
                    let detail =
                        format!("the body took longer than {seconds} s; nothing was taken");
                    return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail).closing());
                }
            };
            let Some(data) = frame.data_ref() else { continue };
            if bytes.len() + data.len() > limit {
                self.drain(&mut body).await;
                return Err(too_large(limit));
            }
            held.merge(self.hold(data.len())?);
            bytes.extend_from_slice(data);
        }
    }

    /// Room for so many bytes more among those of all bodies.
    pub(super) fn hold(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let busy = || {
            let detail = format!(
                "the server is busy with other requests (limit held_bytes, {})",
                self.limits.held_bytes
            );
            Problem::retry_after(detail, RETRY_SECONDS).closing()
        };
        let bytes = u32::try_from(bytes).map_err(|_| busy())?;
        Arc::clone(&self.held).try_acquire_many_owned(bytes).map_err(|_| busy())
    }

    async fn drain(&self, body: &mut Body) {
        let deadline = Instant::now() + DRAIN_TIME;
        let mut left = self.limits.body_bytes.saturating_mul(DRAINED_BODIES);
        while let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await {
            let length = frame.data_ref().map_or(0, |data| data.len());
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    }
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("the body is over the limit of {limit} bytes; split it");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).closing()
}
