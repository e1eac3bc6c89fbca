//! The keys that a server knows.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::api_key::{ApiKey, Token};
use super::keyring::{Keyring, Listed};
use crate::error::Result;
use crate::event::Timestamp;

/// The keys of a store, as they were at the last look. Whoever has it looks again with
/// [`Known::refresh`], every two seconds or so: what was revoked works until then.
#[derive(Debug)]
pub struct Known {
    keyring: Keyring,
    keys: RwLock<Keys>,
    /// One look at a time.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Keys {
    /// What was written up to here is known; `None` before the first look.
    revision: Option<u64>,
    by_id: HashMap<String, Arc<ApiKey>>,
}

/// Why a key does not let anybody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// There is none such, or what was shown is not it.
    Unknown,
    /// It was revoked.
    Revoked,
    /// It has expired.
    Expired,
    /// No look at the store has succeeded yet.
    NotYet,
}

impl Known {
    /// None yet, until [`Known::refresh`].
    #[must_use]
    pub fn new(keyring: Keyring) -> Self {
        Self { keyring, keys: RwLock::default(), looking: tokio::sync::Mutex::default() }
    }

    /// Looks at what was changed since the last look.
    ///
    /// # Errors
    /// If the store cannot be read; what was known stays known.
    pub async fn refresh(&self) -> Result<()> {
        let _one_at_a_time = self.looking.lock().await;
        let from = self.keys.read().unwrap_or_else(PoisonError::into_inner).revision;
        let (revision, changed) = self.keyring.after(from.unwrap_or(0)).await?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.revision = Some(revision);
        for (_, listed) in changed {
            match listed {
                Listed::Ours(key) => {
                    keys.by_id.insert(key.id.clone(), Arc::new(key));
                }
                Listed::Foreign(id) => {
                    keys.by_id.remove(&id);
                    tracing::warn!(target: "annals::access", key = id, "a key is signed by another access key, or was changed in the database; it does not work here");
                }
            }
        }
        Ok(())
    }

    /// Whether a key that was let in would be let in still.
    #[must_use]
    pub fn still_admits(&self, key: &ApiKey, now: Timestamp) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let known = keys.by_id.get(&key.id);
        known.is_some_and(|known| known.works_at(now) && known.grant == key.grant)
    }

    /// The key that somebody shows.
    ///
    /// # Errors
    /// Why it lets nobody in.
    pub fn find(&self, token: &Token, now: Timestamp) -> Result<Arc<ApiKey>, Refused> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        if keys.revision.is_none() {
            return Err(Refused::NotYet);
        }
        let key = keys.by_id.get(token.id()).ok_or(Refused::Unknown)?;
        if !self.keyring.access_key().is_hash(token.id(), token.secret(), &key.hash) {
            return Err(Refused::Unknown);
        }
        match (key.revoked_at, key.works_at(now)) {
            (Some(_), _) => Err(Refused::Revoked),
            (None, false) => Err(Refused::Expired),
            (None, true) => Ok(Arc::clone(key)),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "this key is not known",
            Self::Revoked => "this key was revoked",
            Self::Expired => "this key has expired",
            Self::NotYet => "keys cannot be checked yet, since the store is away",
        })
    }
}
