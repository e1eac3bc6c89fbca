//! Sealing a batch.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use super::declared::Declared;
use super::keys::Keyring;
use super::master::MasterKey;
use super::sealed::{Keys, Place, Sealed};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{REDACTED, Turn, has_personal, personal_value, rewrite};
use crate::store::{Record, Store, SubjectKey, Whose};
use crate::worker::Seal;

/// Bytes of a mark with a short value.
const MARK: usize = 192;

/// How often the live keys are asked for: they may be destroyed meanwhile.
const TRIES: usize = 5;

/// Seals personal values under keys of their subjects, which it makes and keeps in the
/// store.
///
/// Values are sealed under the key of the event's `subject`; without one under that of
/// the event's entity, `TYPE:ID`. Texts about the actor (see [`Declared`]) are sealed
/// under the actor's, where it has type and id: erasing a customer does not erase who
/// served them.
#[derive(Debug)]
pub struct Sealer {
    store: Arc<dyn Store>,
    keyring: Keyring,
    declared: Declared,
}

/// The key of one subject, ready to seal, and its id.
type Ready = ([u8; 16], Arc<Keys>);

/// The subjects of a batch, each once.
#[derive(Default)]
struct Subjects {
    all: Vec<Whose>,
    places: HashMap<Whose, usize>,
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

/// What is to be sealed of an event.
struct Plan {
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

impl Sealer {
    /// Seals what is stored in `store`.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if that store keeps no keys.
    pub fn new(store: Arc<dyn Store>, master: MasterKey, declared: Declared) -> Result<Self> {
        store.vault()?;
        Ok(Self { store, keyring: Keyring::new(master), declared })
    }

    /// The live keys of these subjects, made where there is none.
    async fn ready(&self, subjects: &Subjects) -> Result<Vec<Ready>> {
        let vault = self.store.vault()?;
        let mut ready: Vec<Option<Ready>> = vec![None; subjects.all.len()];
        for _ in 0..TRIES {
            let missing: Vec<Whose> = subjects
                .all
                .iter()
                .zip(&ready)
                .filter(|(_, ready)| ready.is_none())
                .map(|(whose, _)| whose.clone())
                .collect();
            if missing.is_empty() {
                return Ok(ready.into_iter().flatten().collect());
            }
            let live: Vec<SubjectKey> = vault.live(missing).await?;
            for key in live {
                if let Some(place) = subjects.places.get(&key.whose)
                    && let Some(keys) = self.keyring.open(&key).await?
                {
                    ready[*place] = Some((key.id, keys));
                }
            }
            let mut made = Vec::new();
            for (whose, _) in subjects.all.iter().zip(&ready).filter(|(_, ready)| ready.is_none()) {
                made.push(self.keyring.make(whose.clone()).await?);
            }
            if !made.is_empty() {
                // Whose key it is in the end, the store says: another worker may be first.
                vault.keep(made).await?;
            }
        }
        let doing = format!("make keys of subjects in {}", self.store.url());
        Err(Error::new(ErrorKind::Transient, doing, "they are erased as fast as they are made"))
    }

    /// What is to become of each value of an event.
    fn visit<'a>(&'a self, record: &'a Record, path: &str, depth: usize, raw: &'a str) -> Want<'a> {
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
        if self.declared.texts().contains(&path) && raw.starts_with('"') {
            return Want::Text(raw);
        }
        let field = path.strip_prefix("/old_values/").or(path.strip_prefix("/new_values/"));
        let fields = self.declared.fields(record.entity_type());
        match (field, fields) {
            // A redacted value has nothing to hide any more.
            (Some(field), Some(fields)) if fields.contains(field) && raw != REDACTED => {
                Want::Value(raw)
            }
            _ => Want::Look,
        }
    }

    /// What is to be sealed of an event; `None` if nothing is.
    fn plan(&self, record: &Record, subjects: &mut Subjects) -> Result<Option<Plan>, String> {
        let (text, mut values, mut subject) = (record.text(), Vec::new(), None);
        let range = |part: &str| {
            let start = part.as_ptr() as usize - text.as_ptr() as usize;
            start..start + part.len()
        };
        rewrite::<String>(text, &mut |path, depth, raw| {
            if depth == 1 && path == "/subject" {
                subject = Some(range(raw));
            }
            let (value, is_text) = match self.visit(record, path, depth, raw) {
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
        Ok(Some(Plan { values, subject, actor }))
    }

    /// The event with its values sealed.
    fn sealed(record: &Record, plan: &Plan, ready: &[Ready]) -> Result<Record, String> {
        let (event, tenant, text) = (record.id, record.tenant().unwrap_or_default(), record.text());
        let mut out = String::with_capacity(text.len() + plan.values.len() * MARK);
        let mut copied = 0;
        for Personal { stands, value, path, is_text } in &plan.values {
            let whose = if *is_text { plan.actor } else { plan.subject };
            let (id, keys) =
                whose.and_then(|place| ready.get(place)).ok_or("there is no key for it")?;
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
            return Err("a personal value stands where none may be: only old and new values and \
                        metadata may have them"
                .to_owned());
        }
        Record::decode(out.into_bytes()).map_err(|error| error.to_string())
    }
}

/// What [`Sealer::visit`] wants.
enum Want<'a> {
    Leave,
    Look,
    Value(&'a str),
    Text(&'a str),
}

#[async_trait]
impl Seal for Sealer {
    fn concerns(&self, record: &Record) -> bool {
        self.declared.concerns(record.entity_type()) || has_personal(record.text())
    }

    async fn seal(&self, records: &[Record]) -> Result<Vec<Option<Result<Record, String>>>> {
        let mut subjects = Subjects::default();
        let plan = |record: &Record| match self.concerns(record) {
            true => self.plan(record, &mut subjects).and_then(|plan| match plan {
                None if has_personal(record.text()) => Err("a personal value stands where none \
                     may be: only old and new values and metadata may have them"
                    .to_owned()),
                plan => Ok(plan),
            }),
            false => Ok(None),
        };
        let plans: Vec<Result<Option<Plan>, String>> = records.iter().map(plan).collect();
        let ready = self.ready(&subjects).await?;
        let sealed = records.iter().zip(plans).map(|(record, plan)| match plan {
            Ok(None) => None,
            Ok(Some(plan)) => Some(Self::sealed(record, &plan, &ready)),
            Err(why) => Some(Err(why)),
        });
        Ok(sealed.collect())
    }

    async fn was_stored(&self, record: &Record) -> Result<bool> {
        let Some(stored) = self.store.get(record.id).await? else { return Ok(false) };
        let Ok(stored) = std::str::from_utf8(&stored.body) else { return Ok(false) };
        let (here, mut ids) = blanked(record.text());
        let (there, stored_ids) = blanked(stored);
        if here != there || ids.len() != stored_ids.len() {
            return Ok(false);
        }
        let keys = self.store.vault()?.with_ids(stored_ids.clone()).await?;
        let erased = |id: &[u8; 16]| keys.iter().any(|key| key.id == *id && key.wrapped.is_none());
        // What is under the same key is to be the same bytes; what is not, was erased.
        ids.retain(|id| !stored_ids.contains(id));
        Ok(!ids.is_empty() && stored_ids.iter().any(erased))
    }
}

/// An event without what is sealed in it, and the keys that it is sealed under.
fn blanked(event: &str) -> (Cow<'_, str>, Vec<[u8; 16]>) {
    let mut ids = Vec::new();
    let blank = rewrite::<std::convert::Infallible>(event, &mut |_, _, raw| {
        Ok(match Sealed::read(raw) {
            Some(sealed) => {
                ids.push(sealed.key);
                Turn::Put("0".to_owned())
            }
            None => Turn::Into,
        })
    });
    match blank {
        Ok(Some(text)) => (Cow::Owned(text), ids),
        Ok(None) => (Cow::Borrowed(event), ids),
        Err(never) => match never {},
    }
}

/// Whom an event is about.
pub(super) struct About {
    subject: Option<Whose>,
    actor: Option<Whose>,
}

impl About {
    pub(super) fn of(record: &Record) -> Result<Self, String> {
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
    pub(super) fn is(&self, whose: &Whose) -> bool {
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
