//! What is to be sealed of each event of a batch, and under whose key.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;

use super::super::declared::Declared;
use super::super::sealed::{Keys, Place, Sealed};
use crate::event::{REDACTED, Turn, has_personal, personal_value, rewrite};
use crate::store::{Record, Whose};

/// Bytes of a mark with a short value.
const MARK: usize = 192;

/// Why an event is refused that has a personal value elsewhere.
const MISPLACED: &str =
    "a personal value stands where none may be: only old and new values and metadata may have them";

/// The key of one subject, ready to seal, and its id.
pub(super) type Ready = ([u8; 16], Arc<Keys>);

/// A batch that was looked through.
pub(super) struct Planned {
    /// For each event what is to be sealed, if anything is, or why it can never be stored.
    pub(super) plans: Vec<Result<Option<Plan>, String>>,
    pub(super) subjects: Subjects,
}

/// The subjects of a batch, each once.
#[derive(Default)]
pub(super) struct Subjects {
    pub(super) all: Vec<Whose>,
    pub(super) places: HashMap<Whose, usize>,
}

/// What is to be sealed of an event.
pub(super) struct Plan {
    values: Vec<Personal>,
    /// Whose keys, by their places among the subjects of the batch.
    subject: Option<usize>,
    actor: Option<usize>,
}

/// A value that is to be sealed, and where it stands.
struct Personal {
    /// In the event's text, a mark included.
    stands: Range<usize>,
    /// The value itself.
    value: Range<usize>,
    /// A JSON pointer.
    path: String,
    /// Whether it is a text about the actor.
    is_text: bool,
}

/// Whether an event may have personal values.
pub(super) fn concerns(declared: &Declared, record: &Record) -> bool {
    declared.concerns(record.entity_type()) || has_personal(record.text())
}

impl Planned {
    pub(super) fn of(records: &[Record], declared: &Declared) -> Self {
        let mut subjects = Subjects::default();
        let plan = |record: &Record| match concerns(declared, record) {
            false => Ok(None),
            true => match Plan::of(record, declared, &mut subjects)? {
                None if has_personal(record.text()) => Err(MISPLACED.to_owned()),
                plan => Ok(plan),
            },
        };
        Self { plans: records.iter().map(plan).collect(), subjects }
    }
}

impl Subjects {
    fn place(&mut self, whose: Whose) -> usize {
        if let Some(place) = self.places.get(&whose) {
            return *place;
        }
        let place = self.all.len();
        self.all.push(whose.clone());
        self.places.insert(whose, place);
        place
    }
}

impl Plan {
    /// `None` if nothing is to be sealed.
    fn of(
        record: &Record,
        declared: &Declared,
        subjects: &mut Subjects,
    ) -> Result<Option<Self>, String> {
        let (text, mut values, mut subject) = (record.text(), Vec::new(), None);
        let range = |part: &str| {
            let start = part.as_ptr() as usize - text.as_ptr() as usize;
            start..start + part.len()
        };
        rewrite::<String>(text, &mut |path, depth, raw| {
            if depth == 1 && path == "/subject" {
                subject = Some(range(raw));
            }
            let (value, is_text) = match visit(declared, record, path, depth, raw) {
                Want::Leave => return Ok(Turn::Keep),
                Want::Look => return Ok(Turn::Into),
                Want::Value(value) => (value, false),
                Want::Text(value) => (value, true),
            };
            let (stands, value, path) = (range(raw), range(value), path.to_owned());
            values.push(Personal { stands, value, path, is_text });
            Ok(Turn::Keep)
        })?;
        if values.is_empty() {
            return Ok(None);
        }
        let subject = subject
            .map(|at| serde_json::from_str(&text[at]))
            .transpose()
            .map_err(|e| e.to_string())?;
        let about = About::with(record, subject);
        let mut place = |wanted: bool, whose: &dyn Fn() -> Result<Whose, String>| {
            wanted.then(whose).transpose().map(|whose| whose.map(|whose| subjects.place(whose)))
        };
        let of_subject = values.iter().any(|value| !value.is_text);
        let of_actor = values.iter().any(|value| value.is_text);
        let subject = place(of_subject, &|| about.subject().cloned())?;
        let actor = place(of_actor, &|| about.actor().cloned())?;
        Ok(Some(Self { values, subject, actor }))
    }

    /// Whose keys it needs, by their places.
    pub(super) fn needs(&self) -> impl Iterator<Item = usize> {
        [self.subject, self.actor].into_iter().flatten()
    }

    /// The event with its values sealed under these keys.
    pub(super) fn seal(&self, record: &Record, keys: &[Option<Ready>]) -> Result<Record, String> {
        let (event, tenant, text) = (record.id, record.tenant().unwrap_or_default(), record.text());
        let mut out = String::with_capacity(text.len() + self.values.len() * MARK);
        let mut copied = 0;
        for Personal { stands, value, path, is_text } in &self.values {
            let whose = if *is_text { self.actor } else { self.subject };
            let key = whose.and_then(|place| keys.get(place)).and_then(Option::as_ref);
            let (id, keys) = key.ok_or("there is no key for it")?;
            let place = Place { event, tenant, path };
            let sealed = Sealed::seal(*id, keys, place, &text[value.clone()])
                .ok_or("a value is too long")?;
            out.push_str(&text[copied..stands.start]);
            match is_text {
                true => sealed.push_text(&mut out),
                false => sealed.push_mark(&mut out),
            }
            copied = stands.end;
        }
        out.push_str(&text[copied..]);
        if has_personal(&out) {
            return Err(MISPLACED.to_owned());
        }
        Record::decode(out.into_bytes()).map_err(|error| error.to_string())
    }
}

/// What [`visit`] wants.
enum Want<'a> {
    Leave,
    Look,
    Value(&'a str),
    Text(&'a str),
}

/// What is to become of each value of an event.
fn visit<'a>(
    declared: &Declared,
    record: &Record,
    path: &str,
    depth: usize,
    raw: &'a str,
) -> Want<'a> {
    if depth == 1 {
        let into = ["/old_values", "/new_values", "/metadata", "/actor", "/context"];
        return if into.contains(&path) { Want::Look } else { Want::Leave };
    }
    if let Some(value) = personal_value(raw) {
        return Want::Value(value);
    }
    if depth != 2 {
        return Want::Look;
    }
    if declared.texts().contains(&path) && raw.starts_with('"') {
        return Want::Text(raw);
    }
    let field = path.strip_prefix("/old_values/").or(path.strip_prefix("/new_values/"));
    let fields = declared.fields(record.entity_type());
    match (field, fields) {
        // A redacted value has nothing to hide any more.
        (Some(field), Some(fields)) if fields.contains(field) && raw != REDACTED => {
            Want::Value(raw)
        }
        _ => Want::Look,
    }
}

/// Whom an event is about.
pub(in crate::seal) struct About {
    subject: Option<Whose>,
    actor: Option<Whose>,
}

impl About {
    pub(in crate::seal) fn of(record: &Record) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow)]
            subject: Option<Cow<'a, str>>,
        }
        let wire: Wire<'_> = serde_json::from_str(record.text()).map_err(|e| e.to_string())?;
        Ok(Self::with(record, wire.subject.map(Cow::into_owned)))
    }

    /// Of an event that names this subject.
    fn with(record: &Record, subject: Option<String>) -> Self {
        let tenant = record.tenant().unwrap_or_default();
        let whose = |subject: String| Whose { tenant: tenant.to_owned(), subject };
        let entity = record.entity_id().map(|id| format!("{}:{id}", record.entity_type()));
        let actor = record.actor_type().zip(record.actor_id());
        let subject = subject.or(entity).map(whose);
        let actor = actor.map(|(kind, id)| whose(format!("{kind}:{id}"))).or(subject.clone());
        Self { subject, actor }
    }

    /// Whether it is about somebody.
    pub(in crate::seal) fn is(&self, whose: &Whose) -> bool {
        self.subject.as_ref() == Some(whose) || self.actor.as_ref() == Some(whose)
    }

    fn subject(&self) -> Result<&Whose, String> {
        self.subject.as_ref().ok_or_else(|| {
            "it has personal values, and neither a subject nor an entity's id to seal them for"
                .to_owned()
        })
    }

    fn actor(&self) -> Result<&Whose, String> {
        self.actor.as_ref().map_or_else(|| self.subject(), Ok)
    }
}
