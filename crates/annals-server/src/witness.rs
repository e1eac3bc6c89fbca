//! The HTTP of a witness (C2SP tlog-witness).
//!
//! | request | answer |
//! |---|---|
//! | `POST /add-checkpoint` | 200 with the cosignature's line, or why not: 400, 403, 404, 409 with the size that it cosigned last, 422 |
//! | `GET /<SHA-256 of the origin, hexadecimal>/checkpoint` | the last checkpoint that it cosigned; 404 before the first |
//! | `GET /livez` | 200 while the process serves |
//!
//! It needs no keys of those who ask: a request that no log's key signed changes nothing,
//! and what it answers is public.

use std::sync::Arc;

use annals::Timestamp;
use annals::proof::{Refusal, Witness};
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;

use crate::limits::Limits;
use crate::problem::Problem;

/// Bytes of a request, at most: a checkpoint with its proof is about one kilobyte.
const MAX_BODY: usize = 64 * 1024;

/// What a refusal for its size is answered as.
const SIZE: HeaderValue = HeaderValue::from_static("text/x.tlog.size");

struct Served {
    witness: Arc<Witness>,
    limits: Limits,
}

/// The routes of a witness.
pub(crate) fn routes(witness: Arc<Witness>, limits: Limits) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add_checkpoint).fallback(post_only))
        .route("/{origin}/checkpoint", get(checkpoint))
        .with_state(Arc::new(Served { witness, limits }))
}

async fn add_checkpoint(
    State(served): State<Arc<Served>>,
    request: Request,
) -> Result<Response, Problem> {
    let body = read(request, &served.limits).await?;
    let witness = Arc::clone(&served.witness);
    // It waits for the disk.
    let answer =
        tokio::task::spawn_blocking(move || witness.add_checkpoint(&body, Timestamp::now()));
    match answer.await {
        Ok(Ok(line)) => Ok(line.into_response()),
        Ok(Err(Refusal::Conflict { size })) => {
            let kind = [(header::CONTENT_TYPE, SIZE)];
            Ok((StatusCode::CONFLICT, kind, format!("{size}\n")).into_response())
        }
        Ok(Err(refusal)) => {
            let status = StatusCode::from_u16(refusal.status());
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Err(Problem::new(status, refusal.to_string()))
        }
        Err(_) => Err(Problem::retry_after("the witness is shutting down", 2)),
    }
}

async fn read(request: Request, limits: &Limits) -> Result<String, Problem> {
    let body = Limited::new(request.into_body(), MAX_BODY).collect();
    let body = match timeout(limits.body_time, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let detail = format!("a request is at most {MAX_BODY} bytes");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).closing());
        }
        Ok(Err(_)) => {
            let detail = "the body ended before it was whole";
            return Err(Problem::new(StatusCode::BAD_REQUEST, detail).closing());
        }
        Err(_late) => {
            let detail = "the body took too long";
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail).closing());
        }
    };
    String::from_utf8(body.into())
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body is not UTF-8"))
}

async fn checkpoint(
    State(served): State<Arc<Served>>,
    Path(origin): Path<String>,
) -> Result<Response, Problem> {
    match served.witness.checkpoint(&origin) {
        Some(note) => Ok(note.into_response()),
        None => {
            let detail = "this witness has cosigned no checkpoint of such a log; \
                          ask by the SHA-256 of its origin, in lower case hexadecimal";
            Err(Problem::new(StatusCode::NOT_FOUND, detail))
        }
    }
}

async fn post_only() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "checkpoints are sent here with POST")
        .header(header::ALLOW, HeaderValue::from_static("POST"))
        .closing()
}
