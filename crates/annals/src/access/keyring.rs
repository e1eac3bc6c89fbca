//! Makes keys and changes them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::access_key::AccessKey;
use super::api_key::{ApiKey, Grant, Token};
use super::{KEY_CREATED, KEY_REVOKED, KEY_ROTATED, TENANT};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Actor, Entity, Timestamp};
use crate::store::{Entry, Store, append_system_event, system_event};

/// Keys of one store, at most, those included that no longer work.
pub const MAX_KEYS: usize = 10_000;

/// What the registry calls them.
const KIND: &str = "key";

/// Entries to read at a time.
const READ: usize = 1_000;

/// Makes the keys of a store's servers, and changes them.
#[derive(Clone, Debug)]
pub struct Keyring {
    store: Arc<dyn Store>,
    key: AccessKey,
}

/// A key as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Listed {
    /// One that this access key signed.
    Ours(ApiKey),
    /// One that it did not sign, by its id: servers with another access key made it, or
    /// somebody changed it in the database. It does not work here.
    Foreign(String),
}

impl Keyring {
    /// The keys in that store, under that key.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if this kind of store keeps none.
    pub fn new(store: Arc<dyn Store>, key: AccessKey) -> Result<Self> {
        store.registry()?;
        Ok(Self { store, key })
    }

    pub(super) fn access_key(&self) -> &AccessKey {
        &self.key
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
        let doing = || format!("make a key in {}", self.store.url());
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
        self.write(&key, 0).await?;
        self.tell(KEY_CREATED, &key, None, by).await?;
        Ok((key, token))
    }

    /// All of them, in the order in which they were changed last.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn list(&self) -> Result<Vec<Listed>> {
        Ok(self.after(0).await?.1.into_iter().map(|(_, listed)| listed).collect())
    }

    /// What was written after a revision, each with its own; and the revision then.
    pub(super) async fn after(&self, mut revision: u64) -> Result<(u64, Vec<(u64, Listed)>)> {
        let mut keys = Vec::new();
        loop {
            let entries = self.store.registry()?.entries(revision, READ).await?;
            let Some(last) = entries.last() else { return Ok((revision, keys)) };
            revision = last.revision;
            let ours = entries.into_iter().filter(|entry| entry.kind == KIND);
            keys.extend(ours.map(|entry| (entry.revision, self.read(entry))));
        }
    }

    fn read(&self, entry: Entry) -> Listed {
        if !self.key.signed(&entry) {
            return Listed::Foreign(entry.id);
        }
        match ApiKey::read(&entry.id, &entry.body) {
            Ok(key) => Listed::Ours(key),
            Err(_) => Listed::Foreign(entry.id),
        }
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
        let (revision, mut old) = self.find(id, "rotate").await?;
        if !old.works_at(now) {
            let found = "it was revoked or has expired";
            return Err(Error::new(ErrorKind::Usage, format!("rotate the key {id}"), found)
                .hint("make a new one with `annals keys create`"));
        }
        let life = old.expires_at.map(|end| end.since(old.created_at));
        let (mut key, token) = self.make(&old.name, old.grant.clone(), None)?;
        key.expires_at = life.map(|life| key.created_at.after(life));
        self.write(&key, 0).await?;
        let end = now.after(overlap);
        old.retires_at = Some(old.retires_at.map_or(end, |before| before.min(end)));
        self.write(&old, revision).await?;
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
        let (revision, mut key) = self.find(id, "revoke").await?;
        if key.revoked_at.is_some() {
            return Ok(false);
        }
        key.revoked_at = Some(Timestamp::now());
        self.write(&key, revision).await?;
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
        let hash = self.key.hash(token.id(), token.secret());
        let (id, name) = (token.id().to_owned(), name.to_owned());
        let created_at = Timestamp::now();
        let (retires_at, revoked_at) = (None, None);
        let key = ApiKey { id, name, grant, created_at, expires_at, retires_at, revoked_at, hash };
        Ok((key, token))
    }

    async fn find(&self, id: &str, doing: &str) -> Result<(u64, ApiKey)> {
        let wrong = |found: &str, hint: &str| {
            Err(Error::new(ErrorKind::Usage, format!("{doing} the key {id}"), found).hint(hint))
        };
        for (revision, listed) in self.after(0).await?.1 {
            match listed {
                Listed::Ours(key) if key.id == id => return Ok((revision, key)),
                Listed::Foreign(foreign) if foreign == id => {
                    return wrong(
                        "this access key did not sign it",
                        "use the access key of the servers that it was made for",
                    );
                }
                _ => {}
            }
        }
        wrong("there is none of that id", "`annals keys list` names those there are")
    }

    /// Writes a key in the place of that revision, 0 if it is new.
    async fn write(&self, key: &ApiKey, revision: u64) -> Result<()> {
        let body = key.body();
        let mac = self.key.sign(KIND, &key.id, &body);
        let entry = Entry { kind: KIND.to_owned(), id: key.id.clone(), revision, body, mac };
        match self.store.registry()?.write(entry).await? {
            Some(_) => Ok(()),
            None => Err(Error::new(
                ErrorKind::Away,
                format!("write the key {} into {}", key.id, self.store.url()),
                "somebody else has just changed it",
            )
            .hint("look at `annals keys list`, and try again")),
        }
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
        let mut event = system_event(action, &tells, by)?.tenant(TENANT);
        event.entity = Entity::new("annals.key", &key.id);
        append_system_event(&*self.store, &event).await
    }
}
