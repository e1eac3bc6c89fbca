//! Answers that say what is wrong (RFC 9457).

use std::collections::BTreeMap;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::{Content, Ref, RefOr, Response as ApiResponse, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::ingest::{Id, Rejected, Report};

/// An answer that says what is wrong. Its type is `about:blank`: the status says
/// what kind of problem it is, and the detail is for people.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    headers: Vec<(header::HeaderName, HeaderValue)>,
    report: Option<Report>,
}

/// What is wrong (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Body<'a> {
    /// What kind of problem it is, in the words of HTTP.
    title: &'a str,
    /// The status of the answer.
    status: u16,
    /// What is wrong, for people.
    detail: &'a str,
    /// Of events that were sent in: those that were taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<usize>,
    /// Those that were not.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected: Option<&'a [Rejected]>,
    /// The id of each, in the order of the request; null of one that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Option<String>>>)]
    ids: Option<&'a [Option<Id>]>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), headers: Vec::new(), report: None }
    }

    /// It may pass: try again in as many seconds.
    pub(crate) fn retry_after(detail: impl Into<String>, seconds: u32) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            .header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    pub(crate) fn header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Closes the connection: what the client still sends cannot be told from
    /// another request.
    pub(crate) fn closing(self) -> Self {
        self.header(header::CONNECTION, HeaderValue::from_static("close"))
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn report(mut self, report: Report) -> Self {
        self.report = Some(report);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            title: self.status.canonical_reason().unwrap_or("Problem"),
            status: self.status.as_u16(),
            detail: &self.detail,
            accepted: self.report.as_ref().map(|report| report.accepted),
            rejected: self.report.as_ref().map(|report| &*report.rejected),
            ids: self.report.as_ref().map(|report| &*report.ids),
        };
        let mut response = (self.status, axum::Json(body)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// What every operation may answer that says what is wrong.
pub(crate) struct Wrong;

impl IntoResponses for Wrong {
    fn responses() -> BTreeMap<String, RefOr<ApiResponse>> {
        let body = || Content::new(Some(Ref::from_schema_name("Problem")));
        let answer = |what: &str| {
            let answer = ResponseBuilder::new().description(what);
            RefOr::from(answer.content("application/problem+json", body()).build())
        };
        let wrong = [
            ("4XX", "What is wrong with the request"),
            ("500", "What is stored is damaged"),
            ("503", "The store or the queue is away, or the server is busy; see Retry-After"),
        ];
        wrong.into_iter().map(|(status, what)| (status.to_owned(), answer(what))).collect()
    }
}

/// What describes a problem.
pub(crate) type Described = Body<'static>;
