//! What the pages are made of.

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;

pub(super) async fn asset(Path(name): Path<String>) -> Response {
    let (kind, body) = match &*name {
        "annals.css" => ("text/css; charset=utf-8", include_str!("../../assets/annals.css")),
        "annals.svg" => ("image/svg+xml", include_str!("../../assets/annals.svg")),
        _ => return Problem::new(StatusCode::NOT_FOUND, "there is nothing here").into_response(),
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")),
    ];
    (headers, body).into_response()
}
