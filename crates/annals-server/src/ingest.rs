//! `POST /v1/events`: see the crate's page for what goes in and comes out.

mod encoding;
mod read;

use std::sync::Arc;

use annals::event::Encoded;
use annals::redact::Redactor;
use annals::{Audit, Error, ErrorKind, EventId};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::CallerOf;
use crate::api::NewEvents;
use crate::body::{self, BodyFault, Format};
use crate::limits::Limits;
use crate::problem::{Problem, Wrong};
use encoding::Encoding;

/// Bytes of a request's events that wait for the transport at a time, so that a
/// large request does not fill the capture's buffer alone.
const FORWARDED_BYTES: usize = 1024 * 1024;

/// After how many seconds to send again what the transport did not take.
const RETRY_SECONDS: u32 = 2;

/// What the route works with.
#[derive(Debug)]
pub(crate) struct Ingest {
    audit: Audit,
    redactor: Option<Arc<Redactor>>,
    limits: Limits,
    /// Counts down [`Limits::held_bytes`].
    held: Arc<Semaphore>,
}

/// What became of each event of a request.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Report {
    /// Events that were taken.
    pub(crate) accepted: usize,
    /// Those that were not.
    pub(crate) rejected: Vec<Rejected>,
    /// The id of each event, in the order of the request; null of one that was refused.
    #[schema(value_type = Vec<Option<String>>)]
    pub(crate) ids: Vec<Option<Id>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rejected {
    /// Its place in the request, from 0.
    index: usize,
    /// Why.
    reason: String,
}

#[derive(Debug)]
pub(crate) struct Id(EventId);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// An event of a request, or why it is none, and the bytes that it was written in.
type Read = (Result<Encoded, String>, usize);

impl Ingest {
    pub(crate) fn new(audit: Audit, limits: Limits, redactor: Option<Arc<Redactor>>) -> Self {
        let held = limits.held_bytes.min(Semaphore::MAX_PERMITS);
        Self { audit, redactor, limits, held: Arc::new(Semaphore::new(held)) }
    }

    /// Waits until every event that can be taken is durable.
    async fn forward(&self, events: Vec<Read>) -> Result<Report, Problem> {
        let deadline = Instant::now() + self.limits.durable_time;
        let mut report = Report::default();
        let mut waiting = Vec::new();
        let mut bytes = 0;
        for (index, (event, length)) in events.into_iter().enumerate() {
            match event {
                Ok(event) => {
                    report.ids.push(Some(Id(event.id())));
                    waiting.push((index, self.audit.forward_encoded(&event)));
                }
                Err(reason) => report.reject(index, reason),
            }
            bytes += length;
            if bytes >= FORWARDED_BYTES {
                settle(&mut report, &mut waiting, deadline).await?;
                bytes = 0;
            }
        }
        settle(&mut report, &mut waiting, deadline).await?;
        Ok(report)
    }
}

impl Report {
    fn reject(&mut self, index: usize, reason: String) {
        self.rejected.push(Rejected { index, reason });
        match self.ids.get_mut(index) {
            Some(id) => *id = None,
            None => self.ids.push(None),
        }
    }
}

/// Waits for the events on their way.
async fn settle(
    report: &mut Report,
    waiting: &mut Vec<(usize, annals::Receipt)>,
    deadline: Instant,
) -> Result<(), Problem> {
    for (index, receipt) in waiting.drain(..) {
        match timeout_at(deadline, receipt).await {
            Ok(Ok(())) => report.accepted += 1,
            Ok(Err(error)) if error.kind() == ErrorKind::Event => {
                report.reject(index, error.found().to_owned());
            }
            Ok(Err(error)) => return Err(unavailable(&error)),
            Err(_late) => {
                let detail = "the transport took too long to make the events durable; \
                              some may be durable, send all of them again";
                return Err(Problem::retry_after(detail, RETRY_SECONDS));
            }
        }
    }
    Ok(())
}

/// What the client may know; the operator's log has the rest.
fn unavailable(error: &Error) -> Problem {
    tracing::warn!(%error, "cannot take events over HTTP");
    let what = match error.kind() {
        ErrorKind::Full => "the transport is full",
        ErrorKind::Closed => "the server is shutting down, or must be restarted",
        _ => "the transport is away",
    };
    let detail = format!("{what}; some of the events may be durable, send all of them again");
    Problem::retry_after(detail, RETRY_SECONDS)
}

/// The route, and what it is described as.
pub(crate) fn routes(ingest: Arc<Ingest>) -> OpenApiRouter {
    described().with_state(ingest)
}

/// The route without where events go.
pub(crate) fn described() -> OpenApiRouter<Arc<Ingest>> {
    OpenApiRouter::new().routes(routes!(ingest))
}

/// Send events in
///
/// Each event is taken or refused on its own. 202 means that every event that was taken is
/// durable. One that its sender named, by a UUIDv7 or by a `source_id` with `occurred_at`,
/// may be sent again.
#[utoipa::path(
    post,
    path = "/v1/events",
    tag = "events",
    request_body(content((NewEvents = "application/json"), (String = "application/x-ndjson")), description = "One event, an array of them, or one a line; plain, gzip or zstd"),
    security(("key" = ["ingest"])),
    responses(
        (status = 202, description = "What was taken is durable", body = Report),
        Wrong,
    )
)]
pub(crate) async fn ingest(
    State(ingest): State<Arc<Ingest>>,
    CallerOf(caller): CallerOf,
    request: Request,
) -> Result<Response, Problem> {
    let format = format_of(request.headers()).map_err(Problem::closing)?;
    let encoding = Encoding::of(request.headers()).map_err(Problem::closing)?;
    let (body, mut held) = ingest.read(request).await?;
    let at_work = Arc::clone(&ingest);
    // Reading 16 MiB of JSON takes long enough to hold up other requests.
    let read = tokio::task::spawn_blocking(move || {
        let (ingest, limits) = (&at_work, &at_work.limits);
        let hold = |bytes| ingest.hold(bytes).map(|more| held.merge(more));
        let body = encoding.decode(body, limits.body_bytes, hold)?;
        let redactor = &ingest.redactor;
        let pieces = body::split(&body, format, limits.events)?;
        let accept = |piece: body::Piece<'_>| {
            let event = piece.accept_from(caller.writer());
            let event = match redactor {
                Some(redactor) => event.and_then(|event| redactor.accepted(event)),
                None => event,
            };
            (event.map(|event| event.encoded), piece.len())
        };
        let events = pieces.into_iter().map(accept).collect::<Vec<Read>>();
        Ok::<_, Problem>((events, held))
    });
    let (events, held) = match read.await {
        Ok(read) => read?,
        Err(_) => return Err(Problem::retry_after("the server is shutting down", RETRY_SECONDS)),
    };
    let report = ingest.forward(events).await?;
    drop(held);
    if report.accepted == 0 && !report.rejected.is_empty() {
        let detail = match &*report.rejected {
            [only] => format!("the event was refused: {}", only.reason),
            all => format!("all {} events were refused; rejected says why", all.len()),
        };
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).report(report));
    }
    Ok((StatusCode::ACCEPTED, axum::Json(report)).into_response())
}

impl From<BodyFault> for Problem {
    fn from(fault: BodyFault) -> Self {
        let status = match fault {
            BodyFault::NotJson(_) => StatusCode::BAD_REQUEST,
            BodyFault::TooMany { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        };
        Self::new(status, fault.to_string())
    }
}

fn format_of(headers: &HeaderMap) -> Result<Format, Problem> {
    let unsupported = |what: &str| {
        let detail = format!("{what}; send application/json or application/x-ndjson, in UTF-8");
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    };
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (given, None) = (types.next(), types.next()) else {
        return Err(unsupported("there are several Content-Type headers"));
    };
    let Some(given) = given else { return Err(unsupported("there is no Content-Type header")) };
    let text = given.to_str().unwrap_or_default();
    let mut parts = text.split(';').map(str::trim);
    let format = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "application/json" => Format::Json,
        "application/x-ndjson" => Format::Ndjson,
        _ => return Err(unsupported(&format!("Content-Type {given:?} is not understood"))),
    };
    for parameter in parts.filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name.eq_ignore_ascii_case("charset")
            && !value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        {
            return Err(unsupported(&format!("the charset {value:?} is not understood")));
        }
    }
    Ok(format)
}
