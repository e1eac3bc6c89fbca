//! Makes keys and changes them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::access_key::{AccessKey, Shown};
use super::api_key::{ApiKey, Grant, Token};
use super::entries::{Entries, Listed};
use super::{KEY_CREATED, KEY_REVOKED, KEY_ROTATED};
use crate::capture::Audit;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Actor, Timestamp};
use crate::store::Store;

/// Keys of one store, at most, those included that no longer work.
pub const MAX_KEYS: usize = 10_000;

/// Makes the keys of a store's servers, and changes them.
#[derive(Clone, Debug)]
pub struct Keyring {
    entries: Entries,
}

impl Keyring {
    /// The keys in that store, under that key.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if this kind of store keeps none.
    pub fn new(store: Arc<dyn Store>, key: AccessKey) -> Result<Self> {
        Entries::new(store, key).map(|entries| Self { entries })
    }

    /// Tells of changes by a handle, and not in the store itself.
    #[must_use]
    pub fn telling(mut self, audit: Audit) -> Self {
        self.entries.tell_by(audit);
        self
    }

    pub(super) fn of(entries: Entries) -> Self {
        Self { entries }
    }

    pub(super) fn entries(&self) -> &Entries {
        &self.entries
    }

    /// Makes a key. An event [`KEY_CREATED`] tells of it.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a grant or a name that is none, [`ErrorKind::Full`] where
    /// there are [`MAX_KEYS`]; otherwise if the store cannot be written.
    pub async fn create(
        &self,
        name: &str,
        grant: Grant,
        expires_at: Option<Timestamp>,
        by: Option<Actor>,
    ) -> Result<(ApiKey, Token)> {
        let doing = || format!("make a key in {}", self.entries.url());
        let past = || "it would have expired already".to_owned();
        let expired = expires_at.filter(|end| *end <= Timestamp::now()).map(|_| past());
        if let Some(fault) = ApiKey::fault_of_name(name).or_else(|| grant.fault()).or(expired) {
            return Err(Error::new(ErrorKind::Usage, doing(), fault));
        }
        if self.list().await?.len() >= MAX_KEYS {
            let found = format!("there are {MAX_KEYS} already, which is the most");
            return Err(Error::new(ErrorKind::Full, doing(), found));
        }
        let (key, token) = self.make(name, grant, expires_at)?;
        self.entries.write(&key, 0).await?;
        self.tell(KEY_CREATED, &key, None, by).await?;
        Ok((key, token))
    }

    /// All of them, in the order in which they were changed last.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn list(&self) -> Result<Vec<Listed<ApiKey>>> {
        Ok(self.entries.all().await?.into_iter().map(|(_, listed)| listed).collect())
    }

    /// Replaces a key by a new one that may do the same, for as long from now on as the old one
    /// could from its beginning; the old one works for `overlap` yet, unless it ends sooner. An event [`KEY_ROTATED`] tells of it.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if there is no such key, or it no longer works; otherwise if the
    /// store cannot be written.
    pub async fn rotate(
        &self,
        id: &str,
        overlap: Duration,
        by: Option<Actor>,
    ) -> Result<(ApiKey, Token)> {
        let now = Timestamp::now();
        let (revision, mut old) = self.entries.find::<ApiKey>(id, "rotate").await?;
        if !old.works_at(now) {
            let found = "it was revoked or has expired";
            return Err(Error::new(ErrorKind::Usage, format!("rotate the key {id}"), found)
                .hint("make a new one with `annals keys create`"));
        }
        let life = old.expires_at.map(|end| end.since(old.created_at));
        let (mut key, token) = self.make(&old.name, old.grant.clone(), None)?;
        key.expires_at = life.map(|life| key.created_at.after(life));
        self.entries.write(&key, 0).await?;
        let end = now.after(overlap);
        old.retires_at = Some(old.retires_at.map_or(end, |before| before.min(end)));
        self.entries.write(&old, revision).await?;
        self.tell(KEY_ROTATED, &key, Some(&old), by).await?;
        Ok((key, token))
    }

    /// Revokes a key; answers false if it was revoked before. An event [`KEY_REVOKED`] tells
    /// of it.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if there is no such key; otherwise if the store cannot be
    /// written.
    pub async fn revoke(&self, id: &str, by: Option<Actor>) -> Result<bool> {
        let (revision, mut key) = self.entries.find::<ApiKey>(id, "revoke").await?;
        if key.revoked_at.is_some() {
            return Ok(false);
        }
        key.revoked_at = Some(Timestamp::now());
        self.entries.write(&key, revision).await?;
        self.tell(KEY_REVOKED, &key, None, by).await?;
        Ok(true)
    }

    fn make(
        &self,
        name: &str,
        grant: Grant,
        expires_at: Option<Timestamp>,
    ) -> Result<(ApiKey, Token)> {
        let token = Token::generate()?;
        let hash = self.entries.key().hash(Shown::Key, token.id(), token.secret());
        let (id, name) = (token.id().to_owned(), name.to_owned());
        let created_at = Timestamp::now();
        let (retires_at, revoked_at) = (None, None);
        let key = ApiKey { id, name, grant, created_at, expires_at, retires_at, revoked_at, hash };
        Ok((key, token))
    }

    async fn tell(
        &self,
        action: &'static str,
        key: &ApiKey,
        old: Option<&ApiKey>,
        by: Option<Actor>,
    ) -> Result<()> {
        let tells = json!({
            "name": key.name, "scopes": key.grant.scopes, "tenants": key.grant.tenants,
            "source": key.grant.source,
            "expires_at": key.expires_at.map(|end| end.to_string()),
            "replaces": old.map(|old| &old.id),
        });
        self.entries.tell(action, ("annals.key", &key.id), &tells, by).await
    }
}
