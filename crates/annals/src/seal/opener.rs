//! Reading what is sealed.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;

use super::keys::Keyring;
use super::master::MasterKey;
use super::sealed::{Keys, Place, Sealed};
use crate::error::Result;
use crate::event::{Turn, rewrite};
use crate::store::{Record, Store, Stored};

/// What stands for an erased value.
const ERASED: &str = r#"{"$annals":{"kind":"erased"}}"#;

/// What stands for an erased text, with its quotes.
const ERASED_TEXT: &str = "\"[erased]\"";

/// Opens sealed values for those who may read them.
#[derive(Debug)]
pub struct Opener {
    store: Arc<dyn Store>,
    keyring: Keyring,
}

/// An event whose sealed values were opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The event: values in clear, `{"$annals":{"kind":"erased"}}` where the key is
    /// destroyed, and as they are stored where they were altered or moved.
    pub body: Vec<u8>,
    /// Values that are erased.
    pub erased: usize,
    /// JSON pointers (RFC 6901) of the values that did not open.
    pub altered: Vec<String>,
}

impl Opener {
    /// Opens what is stored in `store`.
    ///
    /// # Errors
    /// If that store keeps no keys.
    pub fn new(store: Arc<dyn Store>, master: MasterKey) -> Result<Self> {
        store.vault()?;
        Ok(Self { store, keyring: Keyring::new(master) })
    }

    /// Opens the sealed values of events, in their order; the keys are fetched at once.
    ///
    /// # Errors
    /// When the store cannot be read; [`crate::ErrorKind::Usage`] for another master key
    /// than the keys were wrapped with.
    pub async fn open(&self, events: &[Stored]) -> Result<Vec<Opened>> {
        let mut ids = BTreeSet::new();
        for event in events {
            let Ok(text) = std::str::from_utf8(&event.body) else { continue };
            each(text, |_, sealed| {
                ids.insert(sealed.key);
                None
            });
        }
        let mut keys: HashMap<[u8; 16], Option<Arc<Keys>>> = HashMap::new();
        if !ids.is_empty() {
            for key in self.store.vault()?.with_ids(ids.into_iter().collect()).await? {
                let clear = self.keyring.open(&key).await?;
                keys.insert(key.id, clear);
            }
        }
        Ok(events.iter().map(|event| opened(event, &keys)).collect())
    }
}

fn opened(event: &Stored, keys: &HashMap<[u8; 16], Option<Arc<Keys>>>) -> Opened {
    let mut opened = Opened { body: event.body.clone(), erased: 0, altered: Vec::new() };
    let Ok(text) = std::str::from_utf8(&event.body) else { return opened };
    let record = Record::decode(event.body.clone()).ok();
    let tenant = record.as_ref().and_then(Record::tenant).unwrap_or_default();
    let clear = each(text, |path, sealed| {
        let place = Place { event: event.id, tenant, path };
        let value = match keys.get(&sealed.key) {
            Some(None) => {
                opened.erased += 1;
                let text = path.starts_with("/actor/") || path.starts_with("/context/");
                Some(if text { ERASED_TEXT } else { ERASED }.to_owned())
            }
            Some(Some(keys)) => sealed.open(keys, place),
            None => None,
        };
        if value.is_none() {
            opened.altered.push(path.to_owned());
        }
        value
    });
    if let Some(clear) = clear {
        opened.body = clear.into_bytes();
    }
    opened
}

/// Shows each sealed value with its place; what comes back takes its place.
fn each(event: &str, mut open: impl FnMut(&str, &Sealed) -> Option<String>) -> Option<String> {
    let rewritten = rewrite::<Infallible>(event, &mut |path, _, raw| {
        let Some(sealed) = Sealed::read(raw) else { return Ok(Turn::Into) };
        Ok(open(path, &sealed).map_or(Turn::Keep, Turn::Put))
    });
    match rewritten {
        Ok(rewritten) => rewritten,
        Err(never) => match never {},
    }
}
