//! Sealing a batch.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
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

/// The key of one subject, ready to seal.
type Ready = HashMap<Whose, ([u8; 16], Arc<Keys>)>;

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
    async fn ready(&self, whose: BTreeSet<Whose>) -> Result<Ready> {
        let vault = self.store.vault()?;
        let all: Vec<Whose> = whose.into_iter().collect();
        let mut ready = Ready::new();
        for _ in 0..TRIES {
            let missing: Vec<Whose> =
                all.iter().filter(|one| !ready.contains_key(one)).cloned().collect();
            if missing.is_empty() {
                return Ok(ready);
            }
            let live: Vec<SubjectKey> = vault.live(missing.clone()).await?;
            for key in live {
                if let Some(keys) = self.keyring.open(&key).await? {
                    ready.insert(key.whose, (key.id, keys));
                }
            }
            let mut made = Vec::new();
            for one in missing.into_iter().filter(|one| !ready.contains_key(one)) {
                made.push(self.keyring.make(one).await?);
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

    /// The subjects whose keys an event needs.
    fn needed(&self, record: &Record, about: &About) -> Result<Vec<Whose>, String> {
        let mut needed = Vec::new();
        rewrite::<String>(record.text(), &mut |path, depth, raw| {
            Ok(match self.visit(record, path, depth, raw) {
                Want::Leave => Turn::Keep,
                Want::Look => Turn::Into,
                Want::Value(_) => {
                    needed.push(about.subject()?.clone());
                    Turn::Keep
                }
                Want::Text(_) => {
                    needed.push(about.actor()?.clone());
                    Turn::Keep
                }
            })
        })?;
        Ok(needed)
    }

    fn sealed(&self, record: &Record, about: &About, ready: &Ready) -> Result<Record, String> {
        let tenant = record.tenant().unwrap_or_default();
        let seal = |whose: &Whose, path: &str, value: &str| -> Result<Sealed, String> {
            let (id, keys) = ready.get(whose).ok_or("there is no key for it")?;
            let place = Place { event: record.id, tenant, path };
            Sealed::seal(*id, keys, place, value).ok_or_else(|| "a value is too long".to_owned())
        };
        let text = rewrite::<String>(record.text(), &mut |path, depth, raw| {
            Ok(match self.visit(record, path, depth, raw) {
                Want::Leave => Turn::Keep,
                Want::Look => Turn::Into,
                Want::Value(value) => Turn::Put(seal(about.subject()?, path, value)?.to_mark()),
                Want::Text(value) => Turn::Put(seal(about.actor()?, path, value)?.to_text()),
            })
        })?;
        match text {
            None => Ok(record.clone()),
            Some(text) if has_personal(&text) => {
                Err("a personal value stands where none may be: only old and new values and metadata may have them".to_owned())
            }
            Some(text) => Record::decode(text.into_bytes()).map_err(|error| error.to_string()),
        }
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

    async fn seal(&self, records: Vec<Record>) -> Result<Vec<Result<Record, String>>> {
        let mut all = BTreeSet::new();
        let abouts: Vec<Option<Result<About, String>>> = records
            .iter()
            .map(|record| {
                self.concerns(record).then(|| {
                    let about = About::of(record)?;
                    let needed = self.needed(record, &about)?;
                    all.extend(needed);
                    Ok(about)
                })
            })
            .collect();
        let ready = self.ready(all).await?;
        let sealed = records.into_iter().zip(abouts).map(|(record, about)| match about {
            None => Ok(record),
            Some(Err(why)) => Err(why),
            Some(Ok(about)) => self.sealed(&record, &about, &ready),
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
        let tenant = record.tenant().unwrap_or_default();
        let whose = |subject: String| Whose { tenant: tenant.to_owned(), subject };
        let entity = record.entity_id().map(|id| format!("{}:{id}", record.entity_type()));
        let actor = record.actor_type().zip(record.actor_id());
        let subject = wire.subject.map(Cow::into_owned).or(entity).map(whose);
        let actor = actor.map(|(kind, id)| whose(format!("{kind}:{id}"))).or(subject.clone());
        Ok(Self { subject, actor })
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
