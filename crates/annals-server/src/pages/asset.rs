//! What the pages are made of.

use std::io::Read;

use askama::Template;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::read::GzDecoder;

use super::show::page;
use crate::problem::Problem;

/// What a file is.
struct Asset {
    kind: &'static str,
    bytes: &'static [u8],
    /// Whether it is compressed with gzip.
    zipped: bool,
}

impl Asset {
    fn answer(&self, headers: &HeaderMap) -> Response {
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        let kept = (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
        let taken = headers.get(header::ACCEPT_ENCODING).and_then(|taken| taken.to_str().ok());
        match (self.zipped, taken.is_some_and(|taken| taken.contains("gzip"))) {
            (false, _) => ([kind, kept], self.bytes).into_response(),
            (true, true) => {
                let zipped = (header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                ([kind, kept, zipped], self.bytes).into_response()
            }
            (true, false) => {
                let mut bytes = Vec::new();
                match GzDecoder::new(self.bytes).read_to_end(&mut bytes) {
                    Ok(_) => ([kind, kept], bytes).into_response(),
                    Err(error) => {
                        let status = StatusCode::INTERNAL_SERVER_ERROR;
                        Problem::new(status, error.to_string()).into_response()
                    }
                }
            }
        }
    }
}

fn plain(kind: &'static str, text: &'static str) -> Asset {
    Asset { kind, bytes: text.as_bytes(), zipped: false }
}

const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// `GET /assets/{name}`
pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let asset = match &*name {
        "annals.css" => plain(STYLE, include_str!("../../assets/annals.css")),
        "annals.svg" => plain("image/svg+xml", include_str!("../../assets/annals.svg")),
        _ => return nothing(),
    };
    asset.answer(&headers)
}

fn nothing() -> Response {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing here").into_response()
}

#[derive(Template)]
#[template(path = "try.html")]
struct TryPage;

/// `GET /api/`: a page to try the API, made by Swagger UI.
pub(super) async fn try_page() -> Response {
    page(StatusCode::OK, &TryPage)
}

/// `GET /api/{name}`
pub(super) async fn try_asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let zipped = |kind, bytes| Asset { kind, bytes, zipped: true };
    let asset = match &*name {
        "try.js" => plain(SCRIPT, include_str!("../../assets/try.js")),
        "swagger-ui.css" => {
            zipped(STYLE, include_bytes!("../../assets/swagger-ui/swagger-ui.css.gz"))
        }
        "swagger-ui-bundle.js" => {
            zipped(SCRIPT, include_bytes!("../../assets/swagger-ui/swagger-ui-bundle.js.gz"))
        }
        _ => return nothing(),
    };
    asset.answer(&headers)
}
