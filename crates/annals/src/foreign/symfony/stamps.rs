//! Sending a message again, as Messenger does: the same message with more stamps.
//!
//! What a worker of Messenger's adds to a message that it retries, and to one that it
//! gives up, is what stands here, in the serializer's own format, so that
//! `messenger:failed:show` and a worker that gets it next read it as their own.
//! (symfony/messenger, `EventListener/SendFailedMessageForRetryListener.php`,
//! `SendFailedMessageToFailureTransportListener.php`, `AddErrorDetailsStampListener.php`.)

use serde_json::{Value, json};

use super::envelope::{Envelope, Kind, STAMP, STAMP_HEADER, with_slashes};
use crate::event::Timestamp;
use crate::foreign::php::{Document, Index, Key, Rewriting, base64, write_text};

/// What the failure's details name as the class of an exception.
const EXCEPTION: &str = "Annals\\Failure";

/// Stamps of one kind, most: the first and the last ones stay.
const HISTORY: usize = 10;

/// Why a message is given up, for the stamp that says it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What could not be done.
    pub reason: String,
    /// The transport's name in the application.
    pub receiver: String,
}

/// A value of a stamp's property.
enum Told<'a> {
    Text(&'a str),
    Int(i64),
    Date(Timestamp),
    Nothing,
}

struct Stamp<'a> {
    name: &'static str,
    properties: Vec<(&'static str, Told<'a>)>,
}

type Written = Result<(String, String), String>;

/// Body and headers of a message that is retried: the `count`th time, in `delay`
/// milliseconds. `row` is the number of the row that it leaves.
///
/// # Errors
/// Why no stamp can be put on it.
pub fn retried(
    envelope: &Envelope<'_>,
    row: i64,
    count: u32,
    delay: i64,
    now: Timestamp,
) -> Written {
    stamped(envelope, &[moved(row), delayed(delay), redelivered(count, now)], None)
}

/// Body and headers of a message that is given up.
///
/// # Errors
/// As [`retried`].
pub fn failed(envelope: &Envelope<'_>, row: i64, failure: &Failure, now: Timestamp) -> Written {
    let details = Stamp {
        name: "ErrorDetailsStamp",
        properties: vec![
            ("exceptionClass", Told::Text(EXCEPTION)),
            ("exceptionCode", Told::Int(0)),
            ("exceptionMessage", Told::Text(&failure.reason)),
            ("flattenException", Told::Nothing),
        ],
    };
    let sent = Stamp {
        name: "SentToFailureTransportStamp",
        properties: vec![("originalReceiverName", Told::Text(&failure.receiver))],
    };
    stamped(envelope, &[moved(row), details, sent, delayed(0), redelivered(0, now)], None)
}

/// Body and headers of a message that is put back into its queue. Without the stamp that
/// says it has failed, since a worker of PHP's throws away what has it and fails again.
///
/// # Errors
/// As [`retried`]; also if another value of the message refers to that stamp.
pub fn revived(envelope: &Envelope<'_>, row: i64) -> Written {
    stamped(envelope, &[moved(row)], Some("SentToFailureTransportStamp"))
}

fn moved(row: i64) -> Stamp<'static> {
    Stamp { name: "TransportMessageIdStamp", properties: vec![("id", Told::Int(row))] }
}

fn delayed(millis: i64) -> Stamp<'static> {
    Stamp { name: "DelayStamp", properties: vec![("delay", Told::Int(millis))] }
}

fn redelivered(count: u32, now: Timestamp) -> Stamp<'static> {
    let properties =
        vec![("retryCount", Told::Int(i64::from(count))), ("redeliveredAt", Told::Date(now))];
    Stamp { name: "RedeliveryStamp", properties }
}

fn stamped(envelope: &Envelope<'_>, added: &[Stamp<'_>], without: Option<&str>) -> Written {
    match &envelope.kind {
        Kind::Php { document, stamps, base64, .. } => {
            let body = in_php(document, *stamps, added, without)?;
            Ok((as_body(&body, *base64), "[]".to_owned()))
        }
        Kind::Json { body, headers } => {
            let headers: Value = serde_json::from_str(headers.as_str())
                .map_err(|error| format!("the headers: {error}"))?;
            Ok(((*body).to_owned(), in_headers(headers, added, without)?))
        }
    }
}

/// What PhpSerializer does after it has serialized.
fn as_body(serialized: &[u8], base64_before: bool) -> String {
    let slashed = with_slashes(serialized);
    match String::from_utf8(slashed) {
        Ok(text) if !base64_before => text,
        Ok(text) => base64(text.as_bytes()),
        Err(error) => base64(error.as_bytes()),
    }
}

fn in_php(
    document: &Document<'_>,
    stamps: Index,
    added: &[Stamp<'_>],
    without: Option<&str>,
) -> Result<Vec<u8>, String> {
    let lists = document.array(stamps).ok_or("the envelope's stamps are no array")?;
    let mut rewriting = Rewriting::of(document);
    let mut new = Vec::new();
    for stamp in added {
        let class = format!("{STAMP}{}", stamp.name);
        let (object, values) = object(&class, stamp);
        let known = lists.iter().find(|(key, _)| key.name() == class);
        let Some(list) = known.and_then(|(_, list)| document.array(*list).map(|all| (*list, all)))
        else {
            let mut list = Vec::new();
            write_text(&mut list, class.as_bytes());
            list.extend_from_slice(b"a:1:{i:0;");
            list.extend_from_slice(&object);
            list.push(b'}');
            new.push((list, values + 1));
            continue;
        };
        let (index, elements) = list;
        // The keys that go on are those behind the highest.
        let next = elements.iter().map(|(key, _)| match key {
            Key::Int(number) => number.saturating_add(1),
            Key::Text(_) => 0,
        });
        let mut element = format!("i:{};", next.max().unwrap_or(0)).into_bytes();
        element.extend_from_slice(&object);
        let oldest_kept = elements.len().saturating_sub(HISTORY - 2);
        let goes: Vec<&Key<'_>> = match elements.len() < HISTORY {
            true => Vec::new(),
            false => elements[1..oldest_kept].iter().map(|(key, _)| key).collect(),
        };
        rewriting.array(index, |key| !goes.contains(&key), &[(element, values)]);
    }
    let without = without.map(|name| format!("{STAMP}{name}"));
    let keep = |key: &Key<'_>| without.as_deref().is_none_or(|class| key.name() != class);
    rewriting.array(stamps, keep, &new);
    rewriting.write()
}

/// A stamp as PHP would serialize it, and how many values with numbers it is.
fn object(class: &str, stamp: &Stamp<'_>) -> (Vec<u8>, usize) {
    let mut out =
        format!("O:{}:\"{class}\":{}:{{", class.len(), stamp.properties.len()).into_bytes();
    let mut values = 1 + stamp.properties.len();
    for (name, value) in &stamp.properties {
        write_text(&mut out, format!("\0{class}\0{name}").as_bytes());
        match value {
            Told::Text(text) => write_text(&mut out, text.as_bytes()),
            Told::Int(number) => out.extend_from_slice(format!("i:{number};").as_bytes()),
            Told::Nothing => out.extend_from_slice(b"N;"),
            Told::Date(time) => {
                let date = time.to_string()[..26].replace('T', " ");
                out.extend_from_slice(b"O:17:\"DateTimeImmutable\":3:{s:4:\"date\";");
                write_text(&mut out, date.as_bytes());
                out.extend_from_slice(b"s:13:\"timezone_type\";i:3;s:8:\"timezone\";s:3:\"UTC\";}");
                values += 3;
            }
        }
    }
    out.push(b'}');
    (out, values)
}

fn in_headers(
    headers: Value,
    added: &[Stamp<'_>],
    without: Option<&str>,
) -> Result<String, String> {
    let Value::Object(mut headers) = headers else {
        return Err("the headers are no object".to_owned());
    };
    if let Some(name) = without {
        headers.remove(&format!("{STAMP_HEADER}{STAMP}{name}"));
    }
    for stamp in added {
        let header = format!("{STAMP_HEADER}{STAMP}{}", stamp.name);
        let known = headers.get(&header).and_then(Value::as_str);
        let mut list: Vec<Value> =
            known.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        if list.len() >= HISTORY {
            list.drain(1..=list.len() + 1 - HISTORY);
        }
        let property = |(name, value): &(&str, Told<'_>)| {
            let value = match value {
                Told::Text(text) => json!(text),
                Told::Int(number) => json!(number),
                Told::Nothing => Value::Null,
                Told::Date(time) => json!(format!("{}+00:00", &time.to_string()[..19])),
            };
            ((*name).to_owned(), value)
        };
        list.push(Value::Object(stamp.properties.iter().map(property).collect()));
        headers.insert(header, Value::String(Value::Array(list).to_string()));
    }
    Ok(Value::Object(headers).to_string())
}
