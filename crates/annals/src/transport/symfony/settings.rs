//! What a `symfony+…` URL says: the table and its queue, the messages, and how they are
//! read.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{Error, ErrorKind, Result};
use crate::event::{EventId, Timestamp};
use crate::foreign::php::base64;
use crate::foreign::symfony::{Body, Envelope, Field, Row, Symfony, Undecodable};
use crate::url::without_secrets;

/// Messenger's own defaults.
const TABLE: &str = "messenger_messages";
const QUEUE: &str = "default";
const REDELIVER: Duration = Duration::from_secs(3600);

/// The failure transport's queue in the configuration that Symfony's recipe writes.
const FAILURE_QUEUE: &str = "failed";

/// How the table is worked through.
#[derive(Debug)]
pub(super) struct Settings {
    /// As it is shown.
    pub(super) url: String,
    pub(super) shape: Symfony,
    pub(super) table: String,
    pub(super) queue: String,
    pub(super) failure_queue: String,
    /// The transport's name in the application.
    pub(super) receiver: String,
    pub(super) redeliver: Duration,
    /// Whether rows may stay locked for a moment before they are leased.
    pub(super) hold: bool,
}

impl Settings {
    /// Those of a URL, and what is left of it: the database's own.
    pub(super) fn of(url: &str) -> Result<(String, Self)> {
        let shown = without_secrets(url);
        let wrong = |found: String, hint: &str| {
            Error::new(ErrorKind::Usage, format!("open the transport {shown}"), found).hint(hint)
        };
        let inner = url.strip_prefix("symfony+").unwrap_or(url);
        let (address, query) = inner.split_once('?').unwrap_or((inner, ""));
        let mut settings = Self {
            url: shown.clone(),
            shape: Symfony::of::<String>([]),
            table: TABLE.to_owned(),
            queue: QUEUE.to_owned(),
            failure_queue: FAILURE_QUEUE.to_owned(),
            receiver: String::new(),
            redeliver: REDELIVER,
            hold: true,
        };
        let mut others = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value).ok_or_else(|| {
                wrong(format!("{name}={value}"), "write what is no letter as % and two digits")
            })?;
            match name {
                "message" => {
                    let class = value.trim_start_matches('\\').to_owned();
                    if class.is_empty() || !class.bytes().all(is_of_a_class) {
                        let hint = "write the class as PHP does: message=App\\Message\\AuditEvent";
                        return Err(wrong(format!("message={value}"), hint));
                    }
                    settings.shape.messages.push(class);
                }
                "table_name" => settings.table = value,
                "queue" | "queue_name" => settings.queue = value,
                "failure_queue" => settings.failure_queue = value,
                "receiver" => settings.receiver = value,
                "redeliver_timeout" => {
                    let seconds = value.parse().ok().filter(|seconds| *seconds > 0);
                    let seconds = seconds.ok_or_else(|| {
                        let hint = "write seconds, as in the application's messenger.yaml";
                        wrong(format!("redeliver_timeout={value}"), hint)
                    })?;
                    settings.redeliver = Duration::from_secs(seconds);
                }
                "hold" => match value.as_str() {
                    "yes" => settings.hold = true,
                    "no" => settings.hold = false,
                    _ => return Err(wrong(format!("hold={value}"), "write hold=yes or hold=no")),
                },
                "timezone" => {
                    settings.shape.zone = value.parse().map_err(|why| {
                        wrong(why, "give the application's date.timezone of before Symfony 6")
                    })?;
                }
                "redact" => {
                    let names = value.split(',').filter(|name| !name.is_empty());
                    settings.shape.secrets = settings.shape.secrets.clone().and(names);
                }
                "source" => settings.shape.source = Cow::Owned(value),
                "tenant" => settings.shape.tenant = Some(Cow::Owned(value)),
                _ => match name.strip_prefix("map.") {
                    Some(property) => {
                        let field: Field =
                            value.parse().map_err(|why| wrong(why, "write map.PROPERTY=FIELD"))?;
                        let mapping = std::mem::take(&mut settings.shape.mapping);
                        settings.shape.mapping = mapping.and(property, field);
                    }
                    None => others.push(pair),
                },
            }
        }
        if settings.shape.messages.is_empty() {
            let hint = "name the class to take: message=App\\Message\\AuditEvent; all others stay";
            return Err(wrong("no message class".to_owned(), hint));
        }
        if !is_table(&settings.table) {
            let hint = "use letters, digits and _, and one point behind a schema";
            return Err(wrong(format!("table_name={}", settings.table), hint));
        }
        if settings.receiver.is_empty() {
            settings.receiver.clone_from(&settings.queue);
        }
        let inner = match others.is_empty() {
            true => address.to_owned(),
            false => format!("{address}?{}", others.join("&")),
        };
        Ok((inner, settings))
    }

    /// What is being done, for messages.
    pub(super) fn opening(&self) -> String {
        format!("open the transport {}", self.url)
    }

    /// Where what cannot be decoded is kept: where PHP does not look.
    pub(super) fn undecodable_queue(&self) -> String {
        format!("{}_undecodable", self.failure_queue)
    }

    /// A time as it stands in the table: whole seconds of the application's clock.
    pub(super) fn text(&self, time: Timestamp) -> String {
        self.shape.zone.write(self.second(time))
    }

    /// The second that a time is in.
    pub(super) fn second(&self, time: Timestamp) -> Timestamp {
        let micros = time.as_micros();
        Timestamp::from_micros(micros - micros % 1_000_000).unwrap_or(Timestamp::MIN)
    }

    /// A time of the table's.
    pub(super) fn time(&self, text: &str) -> Timestamp {
        self.shape.zone.read(text).unwrap_or(Timestamp::MIN)
    }

    /// The id by which a message that is no event can be named.
    pub(super) fn id_of(&self, row: i64, created_at: &str) -> EventId {
        let tenant = self.shape.tenant.as_deref().unwrap_or_default();
        EventId::derived(self.time(created_at), tenant, &self.shape.source, &row.to_string())
    }

    pub(super) fn body<'r>(&self, row: &'r Row) -> Result<Body<'r>, Undecodable> {
        Body::of(&row.body, &row.headers)
    }

    /// Why a failed message failed, how often it was tried, and the row it had first.
    pub(super) fn history(&self, row: &Row) -> (String, u32, Option<i64>) {
        let unknown = || "no reason was given".to_owned();
        let Ok(body) = self.body(row) else { return (unknown(), 1, None) };
        let Ok(envelope) = body.envelope(&row.headers) else { return (unknown(), 1, None) };
        let first = envelope.first_id().and_then(|id| id.parse().ok());
        (envelope.error().unwrap_or_else(unknown), Envelope::attempts(&envelope), first)
    }

    /// Texts one of which is in the body, or in the headers, of every message of ours.
    pub(super) fn needles(&self) -> (Vec<String>, Vec<String>) {
        let (mut bodies, mut headers) = (Vec::new(), Vec::new());
        for class in &self.shape.messages {
            let slashed = class.replace('\\', "\\\\");
            headers.push(format!("\"type\":\"{slashed}\""));
            let told = format!("\\0message\\\";O:{}:\\\"{slashed}\\\":", class.len());
            // In base64 it begins at one of three places of a group, and what stands
            // before and behind it is not known.
            for offset in 0..3 {
                let from = (3 - offset) % 3;
                let whole = (told.len() - from) / 3 * 3;
                bodies.push(base64(&told.as_bytes()[from..from + whole]));
            }
            bodies.insert(0, told);
        }
        (bodies, headers)
    }
}

/// What is said of a message that cannot be decoded, in the headers of the row where it
/// is kept.
pub(super) struct Kept {
    pub(super) reason: String,
    /// The row's number when it came.
    pub(super) row: Option<i64>,
    /// Its headers as they came.
    pub(super) headers: Option<String>,
}

impl Kept {
    pub(super) fn headers(row: &Row, reason: &str) -> String {
        let kept = json!({ "reason": reason, "row": row.id, "headers": row.headers });
        let mut headers = json!({ "X-Annals-Undecodable": kept });
        // By which it is found as one of ours.
        let came: Value = serde_json::from_str(&row.headers).unwrap_or_default();
        if let Some(class) = came["type"].as_str() {
            headers["type"] = json!(class);
        }
        headers.to_string()
    }

    pub(super) fn of(headers: &str) -> Self {
        let headers: Value = serde_json::from_str(headers).unwrap_or_default();
        let kept = &headers["X-Annals-Undecodable"];
        Self {
            reason: kept["reason"].as_str().unwrap_or("no reason was given").to_owned(),
            row: kept["row"].as_i64(),
            headers: kept["headers"].as_str().map(str::to_owned),
        }
    }
}

fn is_of_a_class(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'\\' || byte >= 0x80
}

fn is_table(name: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let words: Vec<&str> = name.split('.').collect();
    words.len() <= 2 && words.into_iter().all(is_word)
}

/// A value of a URL's query without its escapes; `None` if they are wrong.
fn decoded(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}
