//! Redacting encoded events.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::key::HashKey;
use super::mask;
use super::patterns::{Secret, find_secrets};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Accepted, Encoded, Event, Turn, personal_value, rewrite};
use crate::store::Record;
use crate::worker::Redact;

/// What matches entities of every type.
const ANY: &str = "*";

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Drop,
    Mask,
    Hash,
}

/// Fields that are redacted: `TYPE.FIELD` as their names stand in old and new values, behind
/// the last dot; `*.FIELD` of entities of every type.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// By type and name; the name as a JSON pointer has it.
    deeds: HashMap<String, HashMap<String, Deed>>,
    hashes: bool,
}

impl Fields {
    /// From names that are dropped, masked and hashed. What is named twice, the first of
    /// these counts for.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a name without a dot.
    pub fn of(drop: &[String], mask: &[String], hash: &[String]) -> Result<Self> {
        let mut fields = Self { hashes: !hash.is_empty(), ..Self::default() };
        for (names, deed) in [(drop, Deed::Drop), (mask, Deed::Mask), (hash, Deed::Hash)] {
            for name in names {
                let parts = name.rsplit_once('.');
                let Some((entity, field)) =
                    parts.filter(|(entity, field)| !entity.is_empty() && !field.is_empty())
                else {
                    let doing = format!("redact the field {name:?}");
                    return Err(Error::new(ErrorKind::Usage, doing, "it names no entity's type")
                        .hint("write TYPE.FIELD such as customer.phone, or *.FIELD"));
                };
                let text = serde_json::Value::from(field).to_string();
                let key = text[1..text.len() - 1].replace('~', "~0").replace('/', "~1");
                fields.deeds.entry(entity.to_owned()).or_default().entry(key).or_insert(deed);
            }
        }
        Ok(fields)
    }

    fn deed(&self, entity_type: &str, field: &str) -> Option<Deed> {
        let of = |kind: &str| self.deeds.get(kind).and_then(|fields| fields.get(field)).copied();
        of(entity_type).or_else(|| of(ANY))
    }
}

/// Drops, masks and hashes fields, and finds secrets.
#[derive(Debug)]
pub struct Redactor {
    fields: Fields,
    key: Option<HashKey>,
    patterns: bool,
    redacted: AtomicU64,
    found: [AtomicU64; Secret::ALL.len()],
}

impl Redactor {
    /// Redacts these fields, and with `patterns` what looks like a secret in old and new
    /// values, metadata, the reason and the URL.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if fields are to be hashed, and there is no key.
    pub fn new(fields: Fields, key: Option<HashKey>, patterns: bool) -> Result<Self> {
        if fields.hashes && key.is_none() {
            let found = "there is no key to do so";
            return Err(Error::new(ErrorKind::Usage, "replace fields by their hashes", found)
                .hint("set `redact.key_file`; it is made if it is not there"));
        }
        let (redacted, found) = Default::default();
        Ok(Self { fields, key, patterns, redacted, found })
    }

    /// Whether it has anything to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.patterns && self.fields.deeds.is_empty()
    }

    /// How many values it has redacted since it was made: by their fields, and by their
    /// looks.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let found = self.found.iter().map(|one| one.load(Ordering::Relaxed)).sum();
        (self.redacted.load(Ordering::Relaxed), found)
    }

    /// How many secrets of a kind it has found.
    #[must_use]
    pub fn found(&self, secret: Secret) -> u64 {
        let place = Secret::ALL.iter().position(|one| *one == secret);
        place.map_or(0, |place| self.found[place].load(Ordering::Relaxed))
    }

    /// Redacts an event that came in from somebody else.
    ///
    /// # Errors
    /// If it can no longer be encoded.
    pub fn accepted(&self, accepted: Accepted) -> std::result::Result<Accepted, String> {
        if self.is_idle() {
            return Ok(accepted);
        }
        let event = &accepted.event;
        let text =
            std::str::from_utf8(accepted.encoded.bytes()).map_err(|error| error.to_string())?;
        let tenant = event.tenant.as_deref().unwrap_or_default();
        let Some(text) = self.text(text, &event.entity.kind, tenant) else { return Ok(accepted) };
        let event = Event::decode(text.as_bytes()).map_err(|error| error.to_string())?;
        let encoded = Encoded::of(&event).map_err(|fault| fault.to_string())?;
        Ok(Accepted { event, encoded, ..accepted })
    }

    /// Redacts an event that is about to be captured.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn event(&self, event: Event) -> std::result::Result<Event, String> {
        if self.is_idle() {
            return Ok(event);
        }
        let text = event.encode().map_err(|fault| fault.to_string())?;
        let text = String::from_utf8(text).map_err(|error| error.to_string())?;
        let (kind, tenant) = (event.entity.kind.as_ref(), event.tenant.as_deref());
        match self.text(&text, kind, tenant.unwrap_or_default()) {
            Some(text) => Event::decode(text.as_bytes()).map_err(|error| error.to_string()),
            None => Ok(event),
        }
    }

    /// The event's text without what is to be redacted; `None` if there is nothing.
    fn text(&self, text: &str, entity_type: &str, tenant: &str) -> Option<String> {
        let visit = &mut |path: &str, depth: usize, raw: &str| {
            if depth == 1 {
                let into = ["/old_values", "/new_values", "/metadata", "/context"];
                return Ok(match path {
                    "/reason" => self.secrets(raw),
                    path if into.contains(&path) => Turn::Into,
                    _ => Turn::Keep,
                });
            }
            if path.starts_with("/context/") {
                return Ok(if path == "/context/url" { self.secrets(raw) } else { Turn::Keep });
            }
            let field = path.strip_prefix("/old_values/").or(path.strip_prefix("/new_values/"));
            if let (2, Some(field)) = (depth, field)
                && let Some(deed) = self.fields.deed(entity_type, field)
            {
                return Ok(self.redact(deed, tenant, raw));
            }
            // What a mark holds is not looked into, save that it waits to be sealed.
            if raw.starts_with(r#"{"$annals""#) && personal_value(raw).is_none() {
                return Ok(Turn::Keep);
            }
            Ok::<_, std::convert::Infallible>(match raw.as_bytes().first() {
                Some(b'"') => self.secrets(raw),
                _ => Turn::Into,
            })
        };
        match rewrite(text, visit) {
            Ok(text) => text,
            Err(never) => match never {},
        }
    }

    fn redact(&self, deed: Deed, tenant: &str, raw: &str) -> Turn {
        let value = personal_value(raw).unwrap_or(raw);
        // A mark is no value, nor is nothing; both say what they say.
        if deed != Deed::Drop && (value.starts_with(r#"{"$annals""#) || value == "null") {
            return Turn::Keep;
        }
        self.redacted.fetch_add(1, Ordering::Relaxed);
        match (deed, &self.key) {
            (Deed::Drop, _) => Turn::Remove,
            (Deed::Hash, Some(key)) => Turn::Put(key.mark(tenant, value)),
            (Deed::Mask | Deed::Hash, _) => Turn::Put(mask::mark(value)),
        }
    }

    /// A text without the secrets in it.
    fn secrets(&self, raw: &str) -> Turn {
        if !self.patterns || raw.len() < MIN {
            return Turn::Keep;
        }
        // As it is written, if nothing in it is escaped.
        let decoded = match raw.contains('\\') {
            true => serde_json::from_str::<String>(raw).ok().map(Cow::Owned),
            false => raw.get(1..raw.len() - 1).map(Cow::Borrowed),
        };
        let Some(text) = decoded else { return Turn::Keep };
        let secrets = find_secrets(&text);
        if secrets.is_empty() {
            return Turn::Keep;
        }
        let (mut clean, mut copied) = (String::with_capacity(text.len()), 0);
        for (range, secret) in secrets {
            clean.push_str(&text[copied..range.start]);
            clean.push_str(secret.placeholder());
            copied = range.end;
            if let Some(place) = Secret::ALL.iter().position(|one| *one == secret) {
                self.found[place].fetch_add(1, Ordering::Relaxed);
            }
        }
        clean.push_str(&text[copied..]);
        Turn::Put(serde_json::Value::from(clean).to_string())
    }
}

/// Bytes of the shortest text that may hold a secret, with its quotes: `a://b:c@d`.
const MIN: usize = 11;

impl Redact for Redactor {
    fn redact(&self, record: &Record) -> Option<std::result::Result<Record, String>> {
        let tenant = record.tenant().unwrap_or_default();
        let text = self.text(record.text(), record.entity_type(), tenant)?;
        Some(Record::decode(text.into_bytes()).map_err(|error| error.to_string()))
    }
}
