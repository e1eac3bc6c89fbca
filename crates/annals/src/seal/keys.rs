//! The keys of subjects in clear, as many as are kept in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::master::MasterKey;
use super::sealed::Keys;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{SubjectKey, Whose};

/// Keys that are kept, at most; then all are forgotten, and unwrapped again as they are
/// needed.
const MOST: usize = 10_000;

/// Unwraps keys, and remembers them by their ids.
pub(super) struct Keyring {
    master: MasterKey,
    known: Mutex<HashMap<[u8; 16], Arc<Keys>>>,
}

impl Keyring {
    pub(super) fn new(master: MasterKey) -> Self {
        Self { master, known: Mutex::default() }
    }

    /// A key in clear; `None` if it is destroyed.
    pub(super) async fn open(&self, key: &SubjectKey) -> Result<Option<Arc<Keys>>> {
        let Some(wrapped) = &key.wrapped else {
            self.lock().remove(&key.id);
            return Ok(None);
        };
        if let Some(known) = self.lock().get(&key.id) {
            return Ok(Some(Arc::clone(known)));
        }
        let clear = self.master.unwrap(wrapped, &data(key.id, &key.whose)).await?;
        let keys = Arc::new(Keys::of(&clear));
        let mut known = self.lock();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(key.id, Arc::clone(&keys));
        Ok(Some(keys))
    }

    /// A new key of a subject, wrapped.
    pub(super) async fn make(&self, whose: Whose) -> Result<SubjectKey> {
        let id = *crate::secret::random::<16>()?;
        let clear = crate::secret::random::<32>()?;
        let wrapped = self.master.wrap(&clear, &data(id, &whose)).await?;
        if wrapped.len() > super::master::MAX_WRAPPED {
            let found = format!("wrapped it has {} bytes", wrapped.len());
            return Err(Error::new(ErrorKind::Usage, "keep the key of a subject", found));
        }
        let made_at = crate::event::Timestamp::now();
        Ok(SubjectKey { id, whose, wrapped: Some(wrapped), made_at, erased_at: None })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 16], Arc<Keys>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a wrapped key is bound to: its id and whose it is, so that nobody can put one
/// subject's key in the place of another's.
fn data(id: [u8; 16], whose: &Whose) -> Vec<u8> {
    let mut data = b"annals/wrap/v1\n".to_vec();
    data.extend_from_slice(&id);
    for text in [&whose.tenant, &whose.subject] {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        data.extend_from_slice(&length.to_be_bytes());
        data.extend_from_slice(text.as_bytes());
    }
    data
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").finish_non_exhaustive()
    }
}
