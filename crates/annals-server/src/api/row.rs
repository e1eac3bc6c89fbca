//! An event at rest, as it is answered: its bytes as they are stored.

use annals::store::Stored;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// An event at rest.
#[derive(Serialize, ToSchema)]
pub(crate) struct Row<'a> {
    /// The event's id.
    #[schema(format = "uuid")]
    id: String,
    /// Its place in the log, from 0.
    position: u64,
    /// When it was stored, by the store's clock.
    #[schema(format = DateTime)]
    appended_at: String,
    /// The event, as it was encoded when it was captured.
    #[schema(value_type = Option<super::description::Event>)]
    event: Option<&'a RawValue>,
    /// Why there is none: somebody altered what is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<String>,
}

impl<'a> Row<'a> {
    pub(crate) fn of(stored: &'a Stored) -> Self {
        let (event, damaged) = match serde_json::from_slice(&stored.body) {
            Ok(event) => (Some(event), None),
            Err(error) => (None, Some(format!("what is stored is no event: {error}"))),
        };
        let appended_at = stored.appended_at.to_string();
        Self { id: stored.id.to_string(), position: stored.position, appended_at, event, damaged }
    }
}
