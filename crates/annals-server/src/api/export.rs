//! `/v1/export`: all events that match, as a file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::Event;
use annals::query::{Page, Query};
use annals::store::Store;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::ask::{Ask, Filters, described, wrong};
use super::row::Row;
use crate::access::{Caller, CallerOf};
use crate::problem::{Problem, Wrong};

/// Events that are read at a time.
const PAGE: usize = 1_000;

/// How often to see whether whoever exports still may.
const CHECK: Duration = Duration::from_secs(1);

/// As what.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the fields are what is described")]
pub(crate) struct As {
    /// `ndjson` (one event a line, and unless it is said), `json` (one array) or `csv`.
    #[param(inline)]
    format: Option<FormatWord>,
}

/// Export events
///
/// All events that match, the earliest first, as they are at the time of the request. An
/// answer that ends early is cut off, so that nobody takes it for whole.
#[utoipa::path(
    get,
    path = "/v1/export",
    tag = "events",
    params(Filters, As),
    security(("key" = ["read"]), ("session" = ["read"])),
    responses((status = 200, description = "The events", content((String = "application/x-ndjson"), (Vec<Row<'static>> = "application/json"), (String = "text/csv"))), Wrong)
)]
pub(crate) async fn export(
    State(api): State<Arc<Api>>,
    CallerOf(caller): CallerOf,
    ask: Ask,
) -> Result<Response, Problem> {
    let ask = ask.only(&[described::<Filters>(), described::<As>()])?;
    let format = match ask.get::<String>("format")?.as_deref() {
        None | Some("ndjson") => Format::Ndjson,
        Some("json") => Format::Json,
        Some("csv") => Format::Csv,
        Some(other) => {
            return Err(wrong(format!("format: expected ndjson, json or csv, found {other:?}")));
        }
    };
    let query = Query::newest(ask.filter(&caller)?).oldest_first().limit(PAGE);
    let room = Arc::clone(&api.exporting).try_acquire_owned().map_err(|_| {
        Problem::retry_after("others export now; wait until one of them is done", 10)
    })?;
    let store = Arc::clone(&api.reading.store);
    // What can be told with a status is found out before the first byte.
    let first = store.query(query.clone()).await?;
    let (sender, body) = Channel::new(2);
    tokio::spawn(Exporting { store, caller, format, query, sender, _room: room }.run(first));
    let headers = [
        (header::CONTENT_TYPE, format.content_type()),
        (header::CONTENT_DISPOSITION, format.disposition()),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::new(body)).into_response())
}

/// As what events are exported.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "the variants are what is described")]
pub(crate) enum FormatWord {
    Ndjson,
    Json,
    Csv,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Ndjson,
    Json,
    Csv,
}

impl Format {
    fn content_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }

    fn disposition(self) -> &'static str {
        match self {
            Self::Ndjson => "attachment; filename=\"events.ndjson\"",
            Self::Json => "attachment; filename=\"events.json\"",
            Self::Csv => "attachment; filename=\"events.csv\"",
        }
    }

    fn before(self) -> String {
        match self {
            Self::Ndjson => String::new(),
            Self::Json => "[".to_owned(),
            Self::Csv => COLUMNS.join(",") + "\r\n",
        }
    }

    fn after(self) -> &'static str {
        if matches!(self, Self::Json) { "\n]\n" } else { "" }
    }

    /// Adds a page; `first` if nothing stands before it.
    fn page(self, page: &Page, first: bool, out: &mut String) {
        for (index, stored) in page.events.iter().enumerate() {
            let row = || serde_json::to_string(&Row::of(stored)).unwrap_or_default();
            match self {
                Self::Ndjson => {
                    out.push_str(&row());
                    out.push('\n');
                }
                Self::Json => {
                    out.push_str(if first && index == 0 { "\n" } else { ",\n" });
                    out.push_str(&row());
                }
                Self::Csv => csv_row(stored, out),
            }
        }
    }
}

/// The columns of a CSV file.
const COLUMNS: [&str; 19] = [
    "position",
    "id",
    "occurred_at",
    "appended_at",
    "action",
    "outcome",
    "entity_type",
    "entity_id",
    "actor_type",
    "actor_id",
    "actor_name",
    "tenant",
    "ip",
    "request_id",
    "service",
    "reason",
    "old_values",
    "new_values",
    "damaged",
];

fn csv_row(stored: &annals::store::Stored, out: &mut String) {
    let (position, id) = (stored.position.to_string(), stored.id.to_string());
    let appended_at = stored.appended_at.to_string();
    let mut cells = [const { String::new() }; COLUMNS.len()];
    (cells[0], cells[1], cells[3]) = (position, id, appended_at);
    match stored.event() {
        Ok(event) => event_cells(&event, &mut cells),
        Err(_) => cells[COLUMNS.len() - 1] = "what is stored is no event".to_owned(),
    }
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        csv_cell(cell, out);
    }
    out.push_str("\r\n");
}

fn event_cells(event: &Event, cells: &mut [String]) {
    let text = |text: &Option<annals::event::Text>| text.as_deref().unwrap_or_default().to_owned();
    cells[2] = event.occurred_at.to_string();
    cells[4] = event.action.to_string();
    cells[5] = event.outcome.as_str().to_owned();
    cells[6] = event.entity.kind.to_string();
    cells[7] = text(&event.entity.id);
    if let Some(actor) = &event.actor {
        (cells[8], cells[9], cells[10]) = (text(&actor.kind), text(&actor.id), text(&actor.name));
    }
    cells[11] = text(&event.tenant);
    cells[12] = text(&event.context.ip);
    cells[13] = text(&event.context.request_id);
    cells[14] = text(&event.context.service);
    cells[15] = text(&event.reason);
    let object = |object: &Option<annals::Object>| {
        object.as_ref().map(|object| object.as_str().to_owned()).unwrap_or_default()
    };
    (cells[16], cells[17]) = (object(&event.old_values), object(&event.new_values));
}

/// A cell after RFC 4180. One that a spreadsheet would take for a formula gets an apostrophe
/// before it (OWASP, "CSV Injection").
fn csv_cell(cell: &str, out: &mut String) {
    let formula = cell.starts_with([
        '=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
    ]);
    if !formula && !cell.contains(['"', ',', '\r', '\n', '\'']) {
        out.push_str(cell);
        return;
    }
    out.push('"');
    if formula {
        out.push('\'');
    }
    out.push_str(&cell.replace('"', "\"\""));
    out.push('"');
}

/// An export under way.
struct Exporting {
    store: Arc<dyn Store>,
    caller: Arc<Caller>,
    format: Format,
    query: Query,
    sender: Sender<Bytes, axum::Error>,
    _room: OwnedSemaphorePermit,
}

impl Exporting {
    async fn run(mut self, first: Page) {
        let ended = self.send(first).await;
        if let Err(Some(error)) = ended {
            tracing::warn!(%error, "an export ended early");
            // The answer is cut off: without this its end would look like a whole one.
            self.sender.abort(axum::Error::new(error));
        }
    }

    /// # Errors
    /// Why it ends early; nothing if nobody reads it any more.
    async fn send(&mut self, mut page: Page) -> Result<(), Option<annals::Error>> {
        let mut text = self.format.before();
        let (mut first, mut checked) = (true, Instant::now());
        loop {
            self.format.page(&page, first, &mut text);
            first = first && page.events.is_empty();
            self.query.cursor = page.next;
            let done = page.next.is_none();
            if done {
                text.push_str(self.format.after());
            }
            if !text.is_empty() {
                let part = Bytes::from(std::mem::take(&mut text));
                self.sender.send_data(part).await.map_err(|_| None)?;
            }
            if done {
                return Ok(());
            }
            if checked.elapsed() >= CHECK {
                checked = Instant::now();
                if !self.caller.is_still_admitted() {
                    let found = "the key was revoked meanwhile";
                    let kind = annals::ErrorKind::Usage;
                    return Err(Some(annals::Error::new(kind, "export events", found)));
                }
            }
            page = self.store.query(self.query.clone()).await.map_err(Some)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::csv_cell;

    #[test]
    fn no_cell_is_a_formula() {
        for (cell, written) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "\"'=1+1\""),
            ("+49", "\"'+49\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\t=1", "\"'\t=1\""),
            ("\u{ff1d}1", "\"'\u{ff1d}1\""),
            ("'quoted", "\"'quoted\""),
        ] {
            let mut out = String::new();
            csv_cell(cell, &mut out);
            assert_eq!(out, written, "{cell:?}");
        }
    }
}
