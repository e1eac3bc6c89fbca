//! What the registry keeps, signed by the access key.

use std::sync::Arc;

use serde_json::Value;

use super::TENANT;
use super::access_key::AccessKey;
use crate::capture::{Audit, Delivery};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Actor, Entity};
use crate::store::{Entry, Store, append_system_event, system_event};

/// Entries to read at a time.
const READ: usize = 1_000;

/// A kind of things that the registry keeps.
pub(super) trait Kept: Sized {
    /// What the registry calls them.
    const KIND: &'static str;
    /// What people call one.
    const WORD: &'static str;
    /// The command that lists them.
    const LIST: &'static str;

    fn id(&self) -> &str;

    /// What is kept of it.
    fn body(&self) -> String;

    /// # Errors
    /// What is wrong with it.
    fn read(id: &str, body: &str) -> Result<Self, String>;
}

/// Something as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Listed<T> {
    /// One that this access key signed.
    Ours(T),
    /// One that it did not sign, by its id: servers with another access key made it, or
    /// somebody changed it in the database. It does not work here.
    Foreign(String),
}

/// The entries of a store's registry, under an access key.
#[derive(Clone, Debug)]
pub(super) struct Entries {
    store: Arc<dyn Store>,
    key: AccessKey,
    /// Who tells of changes, if not the store itself.
    audit: Option<Audit>,
}

impl Entries {
    /// # Errors
    /// [`ErrorKind::Usage`] if this kind of store keeps none.
    pub(super) fn new(store: Arc<dyn Store>, key: AccessKey) -> Result<Self> {
        store.registry()?;
        Ok(Self { store, key, audit: None })
    }

    pub(super) fn tell_by(&mut self, audit: Audit) {
        self.audit = Some(audit);
    }

    pub(super) fn key(&self) -> &AccessKey {
        &self.key
    }

    pub(super) fn url(&self) -> &str {
        self.store.url()
    }

    /// What was written after a revision, and the revision then.
    pub(super) async fn after(&self, mut revision: u64) -> Result<(u64, Vec<Entry>)> {
        let mut all = Vec::new();
        loop {
            let entries = self.store.registry()?.entries(revision, READ).await?;
            let Some(last) = entries.last() else { return Ok((revision, all)) };
            revision = last.revision;
            all.extend(entries);
        }
    }

    /// One of a kind.
    pub(super) fn read<T: Kept>(&self, entry: &Entry) -> Listed<T> {
        if entry.kind != T::KIND || !self.key.signed(entry) {
            return Listed::Foreign(entry.id.clone());
        }
        match T::read(&entry.id, &entry.body) {
            Ok(read) => Listed::Ours(read),
            Err(_) => Listed::Foreign(entry.id.clone()),
        }
    }

    /// All of a kind, in the order in which they were changed last, each with its revision.
    pub(super) async fn all<T: Kept>(&self) -> Result<Vec<(u64, Listed<T>)>> {
        let (_, entries) = self.after(0).await?;
        let of_kind = entries.iter().filter(|entry| entry.kind == T::KIND);
        Ok(of_kind.map(|entry| (entry.revision, self.read(entry))).collect())
    }

    /// One by its id, with its revision.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if there is none such; otherwise if the store cannot be read.
    pub(super) async fn find<T: Kept>(&self, id: &str, doing: &str) -> Result<(u64, T)> {
        let wrong = |found: &str, hint: &str| {
            let doing = format!("{doing} the {} {id}", T::WORD);
            Err(Error::new(ErrorKind::Usage, doing, found).hint(hint))
        };
        for (revision, listed) in self.all::<T>().await? {
            match listed {
                Listed::Ours(found) if found.id() == id => return Ok((revision, found)),
                Listed::Foreign(foreign) if foreign == id => {
                    return wrong(
                        "this access key did not sign it",
                        "use the access key of the servers that it was made for",
                    );
                }
                _ => {}
            }
        }
        wrong("there is none of that id", &format!("`{}` names those there are", T::LIST))
    }

    /// Writes one in the place of that revision, 0 if it is new; answers false if another
    /// stands there.
    pub(super) async fn try_write<T: Kept>(&self, what: &T, revision: u64) -> Result<bool> {
        let (id, body) = (what.id().to_owned(), what.body());
        let mac = self.key.sign(T::KIND, &id, &body);
        let entry = Entry { kind: T::KIND.to_owned(), id, revision, body, mac };
        Ok(self.store.registry()?.write(entry).await?.is_some())
    }

    /// As [`Self::try_write`].
    ///
    /// # Errors
    /// [`ErrorKind::Away`] if another stands there; otherwise if the store cannot be written.
    pub(super) async fn write<T: Kept>(&self, what: &T, revision: u64) -> Result<()> {
        if self.try_write(what, revision).await? {
            return Ok(());
        }
        let doing = format!("write the {} {} into {}", T::WORD, what.id(), self.url());
        Err(Error::new(ErrorKind::Away, doing, "somebody else has just changed it")
            .hint(format!("look at `{}`, and try again", T::LIST)))
    }

    /// Tells in the trail what was done to something of this type and id.
    pub(super) async fn tell(
        &self,
        action: &'static str,
        (kind, id): (&'static str, &str),
        tells: &Value,
        by: Option<Actor>,
    ) -> Result<()> {
        let mut event = system_event(action, tells, by)?.tenant(TENANT);
        event.entity = Entity::new(kind, id);
        match &self.audit {
            None => append_system_event(&*self.store, &event).await,
            // What cannot be taken is counted by the handle, and told by its metrics.
            Some(audit) => {
                drop(audit.record_system(&event, Delivery::Buffered));
                Ok(())
            }
        }
    }
}
