//! What the shop answers when it does not do what it was asked.

use std::fmt;

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

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<annals::Error> for Refusal {
    fn from(error: annals::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(what) => write!(f, "there is no such {what}"),
            Self::Denied(what) => write!(f, "you may not {what}"),
            Self::Conflict(what) | Self::Broken(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Refusal {}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({ "error": self.to_string() }))).into_response()
    }
}
