//! Answers that many requests give.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use annals::query::Page;

use super::row::Row;

/// Events, a part of them.
#[derive(Serialize, ToSchema)]
pub(crate) struct Events<'a> {
    /// In the order that was asked for.
    events: Vec<Row<'a>>,
    /// Where to go on: the `cursor` of the next page. There may be a next page though this
    /// one is not full, and even empty: the store then gave up looking for a while.
    next: Option<String>,
    /// How far back, or on, was looked if the store gave up before the page was full.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    searched_to: Option<String>,
}

/// Answers a page of at most `limit` events.
pub(crate) fn page(page: &Page, limit: usize) -> Response {
    let gave_up = page.next.filter(|_| page.events.len() < limit);
    let searched_to = gave_up.and_then(|next| annals::Timestamp::from_micros(next.micros));
    let events = page.events.iter().map(Row::of).collect();
    let next = page.next.map(|next| next.to_string());
    let searched_to = searched_to.map(|to| to.to_string());
    Json(Events { events, next, searched_to }).into_response()
}
