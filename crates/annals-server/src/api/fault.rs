//! What a client is told of an error; the operator's log has the rest.

use annals::{Error, ErrorKind};
use axum::http::StatusCode;

use crate::problem::Problem;

/// After how many seconds to ask again.
const RETRY_SECONDS: u32 = 2;

impl From<Error> for Problem {
    /// What was asked wrongly is told as it is. Of all else only the kind is: the URL of a
    /// database, or what it said, is not for everybody.
    fn from(error: Error) -> Self {
        if error.kind() == ErrorKind::Usage {
            let hint = error.advice().map(|hint| format!("; {hint}"));
            let detail = format!("{}{}", error.found(), hint.unwrap_or_default());
            return Self::new(StatusCode::BAD_REQUEST, detail);
        }
        tracing::warn!(%error, "cannot answer a request");
        match error.kind() {
            ErrorKind::Damaged => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "what is stored is damaged there; `annals verify` says what is wrong",
            ),
            _ => Self::retry_after(
                "the store or the queue is away; events go on being taken in",
                RETRY_SECONDS,
            ),
        }
    }
}
