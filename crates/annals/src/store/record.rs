//! An encoded event and the columns by which stores find it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;

use crate::event::{Column, DecodeError, EventId, Skimmed, Span, Timestamp, push_unescaped, skim};

/// An encoded event and the columns by which stores find it.
///
/// The columns are not copied: they stand in the encoded event.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The event's id.
    pub id: EventId,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// The encoded event, and behind it the columns that are escaped in it.
    text: String,
    /// Bytes of the encoded event.
    body: usize,
    columns: Skimmed,
}

impl Record {
    /// Finds the columns of an encoded event.
    ///
    /// # Errors
    /// If the bytes are not an event.
    pub fn decode(body: Vec<u8>) -> Result<Self, DecodeError> {
        let text = String::from_utf8(body)
            .map_err(|error| DecodeError::field("event", error.utf8_error()))?;
        match skim(&text) {
            Some((columns, 0)) => Self::of(text.len(), text, columns),
            Some((columns, escaped)) => Self::decode_escaped(text, columns, escaped),
            None => Self::decode_any(text),
        }
    }

    /// Takes the columns of a plain event of which some have escapes, such as the names of
    /// PHP's classes: what these say goes behind the body.
    fn decode_escaped(
        text: String,
        mut columns: Skimmed,
        escaped: u16,
    ) -> Result<Self, DecodeError> {
        let (body, mut behind) = (text.len(), String::new());
        for (column, span) in columns.iter_mut().enumerate() {
            if escaped & (1 << column) == 0 {
                continue;
            }
            let start = body + behind.len();
            let said = text_at(&text, *span).is_some_and(|raw| push_unescaped(raw, &mut behind));
            let end = u32::try_from(body + behind.len());
            let (true, Ok(start), Ok(end)) = (said, u32::try_from(start), end) else {
                return Self::decode_any(text);
            };
            *span = Span { start, end };
        }
        let mut text = text;
        text.push_str(&behind);
        Self::of(body, text, columns)
    }

    /// Finds the columns of an event that is not of the plain kind, and says what
    /// is wrong with what is none. The texts of the columns go behind the body.
    fn decode_any(mut text: String) -> Result<Self, DecodeError> {
        let body = text.len();
        let mut columns = Skimmed::default();
        let wire: Wire<'_> =
            serde_json::from_str(&text).map_err(|error| DecodeError::json(&error))?;
        let (actor, context) = (wire.actor.unwrap_or_default(), wire.context.unwrap_or_default());
        let found = [
            (Column::Id, Some(&*wire.id)),
            (Column::OccurredAt, Some(&*wire.occurred_at)),
            (Column::Action, Some(&*wire.action)),
            (Column::Outcome, wire.outcome.as_deref()),
            (Column::EntityType, wire.entity.r#type.as_deref()),
            (Column::EntityId, wire.entity.id.as_deref()),
            (Column::ActorType, actor.r#type.as_deref()),
            (Column::ActorId, actor.id.as_deref()),
            (Column::Tenant, wire.tenant.as_deref()),
            (Column::RequestId, context.request_id.as_deref()),
            (Column::Service, context.service.as_deref()),
        ];
        let mut behind = String::new();
        let place = |at| u32::try_from(at).map_err(|_| DecodeError::field("event", "over 4 GiB"));
        for (column, found) in found {
            let Some(found) = found else { continue };
            let start = body + behind.len();
            behind.push_str(found);
            columns[column as usize] =
                Span { start: place(start)?, end: place(body + behind.len())? };
        }
        text.push_str(&behind);
        Self::of(body, text, columns)
    }

    /// Takes the id and the time, and sees to it that nothing is missing.
    fn of(body: usize, text: String, columns: Skimmed) -> Result<Self, DecodeError> {
        let needed = |name: &'static str, column| {
            text_at(&text, columns[column as usize])
                .ok_or_else(|| DecodeError::field(name, "missing"))
        };
        let id: EventId =
            needed("id", Column::Id)?.parse().map_err(|what| DecodeError::field("id", what))?;
        let occurred_at: Timestamp = needed("occurred_at", Column::OccurredAt)?
            .parse()
            .map_err(|what| DecodeError::field("occurred_at", what))?;
        needed("action", Column::Action)?;
        needed("entity.type", Column::EntityType)?;
        if id.millis() != occurred_at.as_millis() {
            let what = format!("is not of the event's time, {occurred_at}");
            return Err(DecodeError::field("id", what));
        }
        Ok(Self { id, occurred_at, text, body, columns })
    }

    /// The encoded event, stored as it is.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.text.as_bytes()[..self.body]
    }

    /// The encoded event, as text.
    pub(crate) fn text(&self) -> &str {
        &self.text[..self.body]
    }

    /// The encoded event.
    #[must_use]
    pub fn into_body(self) -> Vec<u8> {
        let mut body = self.text.into_bytes();
        body.truncate(self.body);
        body
    }

    /// What was done.
    #[must_use]
    pub fn action(&self) -> &str {
        self.column(Column::Action).unwrap_or_default()
    }

    /// How it went: `success`, `failure` or `denied`.
    #[must_use]
    pub fn outcome(&self) -> &str {
        self.column(Column::Outcome).unwrap_or("success")
    }

    /// The entity's type.
    #[must_use]
    pub fn entity_type(&self) -> &str {
        self.column(Column::EntityType).unwrap_or_default()
    }

    /// The entity's id.
    #[must_use]
    pub fn entity_id(&self) -> Option<&str> {
        self.column(Column::EntityId)
    }

    /// The actor's type.
    #[must_use]
    pub fn actor_type(&self) -> Option<&str> {
        self.column(Column::ActorType)
    }

    /// The actor's id.
    #[must_use]
    pub fn actor_id(&self) -> Option<&str> {
        self.column(Column::ActorId)
    }

    /// Whose data it is.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.column(Column::Tenant)
    }

    /// The request that caused it.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.column(Column::RequestId)
    }

    /// The service that it came from.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        self.column(Column::Service)
    }

    fn column(&self, column: Column) -> Option<&str> {
        text_at(&self.text, self.columns[column as usize])
    }
}

/// What stands there, if there is anything.
fn text_at(text: &str, Span { start, end }: Span) -> Option<&str> {
    text.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?).filter(|_| end > 0)
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({})", &self.text[..self.body])
    }
}

/// The columns of any encoded event.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    occurred_at: Cow<'a, str>,
    #[serde(borrow)]
    action: Cow<'a, str>,
    outcome: Option<String>,
    entity: Who,
    actor: Option<Who>,
    tenant: Option<String>,
    context: Option<Around>,
}

#[derive(Default, Deserialize)]
struct Who {
    r#type: Option<String>,
    id: Option<String>,
}

#[derive(Default, Deserialize)]
struct Around {
    request_id: Option<String>,
    service: Option<String>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What both ways say of an event.
    fn columns(record: &Record) -> impl PartialEq + fmt::Debug {
        (
            (record.id, record.occurred_at, record.body().to_vec()),
            [Some(record.action()), Some(record.outcome()), Some(record.entity_type())]
                .map(|text| text.map(str::to_owned)),
            [
                record.entity_id(),
                record.actor_type(),
                record.actor_id(),
                record.tenant(),
                record.request_id(),
                record.service(),
            ]
            .map(|text| text.map(str::to_owned)),
        )
    }

    const EVENT: &str = concat!(
        r#"{"id":"019aaaf5-7d4e-7000-8000-000000000001","occurred_at":"2025-11-22T10:00:00.334000Z","#,
        r#""action":"updated","outcome":"denied","entity":{"type":"product","id":"42"},"#,
        r#""actor":{"type":"user","id":"7","name":"Jo"},"tenant":"t","#,
        r#""context":{"ip":"::1","request_id":"r-1","service":"shop"},"#,
        r#""old_values":{"price":1.5e3,"on":true,"x":null,"l":[1,-2,{"y":"a\"b"}]},"version":1}"#
    );

    #[test]
    fn a_plain_event_takes_the_short_way() {
        let event = with_the_ids_time(EVENT);
        assert!(skim(&event).is_some());
        let record = Record::decode(event.clone().into_bytes()).unwrap();
        assert_eq!(record.body(), event.as_bytes());
        assert_eq!((record.action(), record.outcome()), ("updated", "denied"));
        assert_eq!((record.entity_type(), record.entity_id()), ("product", Some("42")));
        assert_eq!((record.actor_type(), record.actor_id()), (Some("user"), Some("7")));
        assert_eq!((record.tenant(), record.request_id()), (Some("t"), Some("r-1")));
        assert_eq!(record.service(), Some("shop"));
    }

    /// The sample's id names a time; the event is made to be of it.
    fn with_the_ids_time(event: &str) -> String {
        let id: EventId = "019aaaf5-7d4e-7000-8000-000000000001".parse().unwrap();
        let time = Timestamp::from_micros(id.millis() * 1000).unwrap();
        event.replace("2025-11-22T10:00:00.334000Z", &time.to_string())
    }

    #[test]
    fn what_is_escaped_in_a_column_is_found_unescaped() {
        let event = with_the_ids_time(EVENT).replace(r#""id":"42""#, r#""id":"a\"\u00e9 ""#);
        assert!(skim(&event).is_none());
        let record = Record::decode(event.clone().into_bytes()).unwrap();
        assert_eq!((record.entity_id(), record.tenant()), (Some("a\"é "), Some("t")));
        assert_eq!(record.body(), event.as_bytes());
        assert_eq!(record.into_body(), event.as_bytes());
    }

    proptest! {
        /// Whatever is changed in an event, the short way and the long way agree.
        #[test]
        fn both_ways_agree_on_any_change_of_an_event(
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, 0..24_usize), 0..4),
        ) {
            const PIECES: [&str; 24] = [
                "\"", "\\", "{", "}", "[", "]", ",", ":", "0", "-", ".", "e", " ", "null",
                "\\u00e9", "\\ud834", "\n", "é", "\"id\":\"x\",", "\"actor\":null,", "\"tenant\":1,",
                "[[[[[[[[", "1e999", "true",
            ];
            let mut event = with_the_ids_time(EVENT);
            for (place, how, piece) in changes {
                let at = place.index(event.len().max(1));
                if at == event.len() || !event.is_char_boundary(at) || !event.is_char_boundary(at + 1) { continue; }
                match how {
                    0 => event.insert_str(at, PIECES[piece]),
                    1 => event.replace_range(at..=at, ""),
                    2 => event.replace_range(at..=at, PIECES[piece]),
                    _ => event.truncate(at.max(1)),
                }
            }
            let short = Record::decode(event.clone().into_bytes());
            let long = Record::decode_any(event);
            prop_assert_eq!(short.as_ref().map(columns).ok(), long.as_ref().map(columns).ok());
        }
    }
}
