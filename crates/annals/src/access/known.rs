//! The keys, people and sessions that a server knows.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::access_key::Shown;
use super::api_key::{ApiKey, Token};
use super::entries::{Entries, Kept, Listed};
use super::keyring::Keyring;
use super::people::People;
use super::person::Person;
use super::session::Session;
use crate::error::Result;
use crate::event::Timestamp;
use crate::hex::hex;

/// Who may use a store's servers, as it was at the last look. Whoever has it looks again with
/// [`Known::refresh`], every two seconds or so: what was revoked works until then.
#[derive(Debug)]
pub struct Known {
    entries: Entries,
    known: RwLock<Everybody>,
    /// One look at a time.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Everybody {
    /// What was written up to here is known; `None` before the first look.
    revision: Option<u64>,
    keys: HashMap<String, Arc<ApiKey>>,
    people: HashMap<String, Arc<Person>>,
    sessions: HashMap<String, Arc<Session>>,
}

/// Somebody who has signed in.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// Who.
    pub person: Arc<Person>,
    /// In which session.
    pub session: Arc<Session>,
}

/// Why a key or a session does not let anybody in.
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
    /// Nobody yet, until [`Known::refresh`].
    #[must_use]
    pub fn new(keyring: &Keyring) -> Self {
        let (known, looking) = (RwLock::default(), tokio::sync::Mutex::default());
        Self { entries: keyring.entries().clone(), known, looking }
    }

    /// The keys of the same store, to change them.
    #[must_use]
    pub fn keyring(&self) -> Keyring {
        Keyring::of(self.entries.clone())
    }

    /// The people of the same store, to change them.
    #[must_use]
    pub fn people(&self) -> People {
        People::of(self.entries.clone())
    }

    fn known(&self) -> RwLockReadGuard<'_, Everybody> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what was changed since the last look.
    ///
    /// # Errors
    /// If the store cannot be read; what was known stays known.
    pub async fn refresh(&self) -> Result<()> {
        let _one_at_a_time = self.looking.lock().await;
        let from = self.known().revision;
        let (revision, changed) = self.entries.after(from.unwrap_or(0)).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.revision = Some(revision);
        for entry in changed {
            match &*entry.kind {
                ApiKey::KIND => put(&mut known.keys, self.entries.read(&entry)),
                Person::KIND => put(&mut known.people, self.entries.read(&entry)),
                Session::KIND => put(&mut known.sessions, self.entries.read(&entry)),
                // Of a later version.
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a key that was let in would be let in still.
    #[must_use]
    pub fn still_admits(&self, key: &ApiKey, now: Timestamp) -> bool {
        let known = self.known();
        let known = known.keys.get(&key.id);
        known.is_some_and(|known| known.works_at(now) && known.grant == key.grant)
    }

    /// Whether somebody who was let in would be let in still, and to the same.
    #[must_use]
    pub fn still_admits_person(&self, who: &SignedIn, now: Timestamp) -> bool {
        let known = self.known();
        let session = known.sessions.get(&who.session.id);
        session.is_some_and(|session| session.hash == who.session.hash)
            && known
                .signed_in(&who.session.id, now)
                .is_ok_and(|still| still.person.grant() == who.person.grant())
    }

    /// The key that somebody shows.
    ///
    /// # Errors
    /// Why it lets nobody in.
    pub fn find(&self, token: &Token, now: Timestamp) -> Result<Arc<ApiKey>, Refused> {
        let known = self.known();
        if known.revision.is_none() {
            return Err(Refused::NotYet);
        }
        let key = known.keys.get(token.id()).ok_or(Refused::Unknown)?;
        if !self.is_shown(Shown::Key, token, &key.hash) {
            return Err(Refused::Unknown);
        }
        match (key.revoked_at, key.works_at(now)) {
            (Some(_), _) => Err(Refused::Revoked),
            (None, false) => Err(Refused::Expired),
            (None, true) => Ok(Arc::clone(key)),
        }
    }

    /// Who shows that they have signed in.
    ///
    /// # Errors
    /// Why it lets nobody in.
    pub fn find_session(&self, token: &Token, now: Timestamp) -> Result<SignedIn, Refused> {
        let known = self.known();
        if known.revision.is_none() {
            return Err(Refused::NotYet);
        }
        let session = known.sessions.get(token.id()).ok_or(Refused::Unknown)?;
        if !self.is_shown(Shown::Session, token, &session.hash) {
            return Err(Refused::Unknown);
        }
        known.signed_in(token.id(), now)
    }

    fn is_shown(&self, what: Shown, token: &Token, hash: &[u8; 32]) -> bool {
        self.entries.key().is_hash(what, token.id(), token.secret(), hash)
    }

    /// A text that comes back from somebody's browser, signed.
    #[must_use]
    pub fn sign_text(&self, text: &str) -> String {
        let hash = self.entries.key().hash(Shown::Text, "", text);
        format!("{}{}", hex(&hash), URL_SAFE_NO_PAD.encode(text))
    }

    /// The text that was signed, if it was.
    #[must_use]
    pub fn read_signed(&self, signed: &str) -> Option<String> {
        let (hash, text) = signed.split_at_checked(64)?;
        let hash = super::digits::read(hash)?;
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        self.entries.key().is_hash(Shown::Text, "", &text, &hash).then_some(text)
    }

    /// What the pages of a session show with each change that they ask for, so that other
    /// sites' pages cannot.
    #[must_use]
    pub fn page_token(&self, session: &Session) -> String {
        hex(&self.entries.key().hash(Shown::Page, &session.id, &hex(&session.hash)))
    }

    /// Whether a page of a session's own shows that.
    #[must_use]
    pub fn is_page_token(&self, session: &Session, shown: &str) -> bool {
        let Some(shown) = super::digits::read(shown) else { return false };
        self.entries.key().is_hash(Shown::Page, &session.id, &hex(&session.hash), &shown)
    }
}

impl Everybody {
    fn signed_in(&self, id: &str, now: Timestamp) -> Result<SignedIn, Refused> {
        let session = self.sessions.get(id).ok_or(Refused::Unknown)?;
        let person = self.people.get(&session.person).ok_or(Refused::Unknown)?;
        if session.was_ended(person) {
            return Err(Refused::Revoked);
        }
        if !session.lasts_at(now) {
            return Err(Refused::Expired);
        }
        Ok(SignedIn { person: Arc::clone(person), session: Arc::clone(session) })
    }
}

fn put<T: Kept>(all: &mut HashMap<String, Arc<T>>, listed: Listed<T>) {
    match listed {
        Listed::Ours(one) => {
            all.insert(one.id().to_owned(), Arc::new(one));
        }
        Listed::Foreign(id) => {
            all.remove(&id);
            tracing::warn!(target: "annals::access", id, "a {} is signed by another access key, or was changed in the database; it does not work here", T::WORD);
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
