//! What the shop answers when it does not do what it was asked.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why the shop did not do it.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// There is no such thing.
    NotFound(&'static str),
    /// This person may not.
    Denied(&'static str),
    /// It makes no sense now.
    Conflict(String),
    /// The shop itself failed.
    Broken(String),
}

/// An answer, or why there is none.
pub(crate) type Answer<T> = Result<T, Refusal>;

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            Self::NotFound(what) => (StatusCode::NOT_FOUND, format!("there is no such {what}")),
            Self::Denied(what) => (StatusCode::FORBIDDEN, format!("you may not {what}")),
            Self::Conflict(what) => (StatusCode::CONFLICT, what),
            Self::Broken(what) => (StatusCode::INTERNAL_SERVER_ERROR, what),
        };
        (status, Json(json!({ "error": error }))).into_response()
    }
}
