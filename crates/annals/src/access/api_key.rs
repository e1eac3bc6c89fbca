//! A key of an application, and what it may do.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::entries::Kept;
use crate::error::Result;
use crate::event::Timestamp;
use crate::hex::hex;
use crate::query::Tenants;
use crate::secret::random;

/// What a key's text begins with, so that scanners for secrets know one when they see it.
const BEFORE: &str = "annals_";

/// Bytes of a name, a tenant or a source, at most: those of an event's indexed texts.
const MOST: usize = 255;

/// Tenants of one key, at most.
const MOST_TENANTS: usize = 100;

/// Something that a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Send events in.
    Ingest,
    /// Read events, and what is said of them.
    Read,
    /// Look after what could not be stored, and after holds.
    Operate,
    /// Say who may use the server: for people alone.
    Administer,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ingest, Self::Read, Self::Operate, Self::Administer];

    /// Those that the key of an application may have.
    pub const OF_KEYS: [Self; 3] = [Self::Ingest, Self::Read, Self::Operate];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Administer => "administer",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| format!("expected ingest, read, operate or administer, found {text:?}"))
    }
}

/// What a key may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// What for; at least one.
    pub scopes: BTreeSet<Scope>,
    /// For whose data.
    pub tenants: Tenants,
    /// The source that its events have, if it is bound to one.
    pub source: Option<String>,
}

impl Grant {
    /// What is wrong with it, if something is.
    pub(super) fn fault(&self) -> Option<String> {
        if self.scopes.is_empty() {
            return Some("a key without a scope can do nothing".to_owned());
        }
        if let Some(scope) = self.scopes.iter().find(|scope| !Scope::OF_KEYS.contains(scope)) {
            return Some(format!("a key has no scope {scope}: that is for people"));
        }
        if let Some(fault) = fault_of_tenants("a key", &self.tenants) {
            return Some(fault);
        }
        self.source.as_deref().and_then(|source| fault_of_text("a source", source))
    }
}

/// What is wrong with the tenants that somebody is for, if something is.
pub(super) fn fault_of_tenants(who: &str, tenants: &Tenants) -> Option<String> {
    let tenants = tenants.only()?;
    if tenants.is_empty() || tenants.len() > MOST_TENANTS {
        return Some(format!("{who} is for all tenants, or for 1 to {MOST_TENANTS}"));
    }
    tenants.iter().find_map(|tenant| fault_of_text("a tenant", tenant))
}

fn fault_of_text(name: &str, text: &str) -> Option<String> {
    let wrong = text.is_empty() || text.len() > MOST || text.contains('\0');
    wrong.then(|| format!("{name} has between 1 and {MOST} bytes and no NUL"))
}

/// A key of an application, without the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ApiKey {
    /// What it is called by: 16 hexadecimal digits.
    #[serde(skip)]
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it may do.
    #[serde(flatten)]
    pub grant: Grant,
    /// When it was made.
    #[serde(with = "super::times")]
    pub created_at: Timestamp,
    /// From when on it no longer works.
    #[serde(with = "super::times::maybe", default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// From when on it no longer works since another one replaces it.
    #[serde(with = "super::times::maybe", default, skip_serializing_if = "Option::is_none")]
    pub retires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(with = "super::times::maybe", default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    #[serde(with = "super::digits")]
    pub(super) hash: [u8; 32],
}

impl ApiKey {
    /// Whether it works at a time.
    #[must_use]
    pub fn works_at(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.ends_at().is_none_or(|end| now < end)
    }

    /// From when on it no longer works, if nobody revokes it before.
    #[must_use]
    pub fn ends_at(&self) -> Option<Timestamp> {
        [self.expires_at, self.retires_at].into_iter().flatten().min()
    }
}

impl Kept for ApiKey {
    const KIND: &'static str = "key";
    const WORD: &'static str = "key";
    const LIST: &'static str = "annals keys list";

    fn id(&self) -> &str {
        &self.id
    }

    fn body(&self) -> String {
        // Texts, lists and nothing else: there is no way to fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn read(id: &str, body: &str) -> Result<Self, String> {
        let read: Self = serde_json::from_str(body).map_err(|error| error.to_string())?;
        Ok(Self { id: id.to_owned(), ..read })
    }
}

impl ApiKey {
    /// What is wrong with a name, if something is.
    pub(super) fn fault_of_name(name: &str) -> Option<String> {
        let wrong = name.trim().is_empty() || name.len() > MOST || name.contains(char::is_control);
        wrong.then(|| format!("a name has between 1 and {MOST} bytes, all of them visible"))
    }
}

/// The text that an application shows: `annals_`, the id of its key, `_` and 64 hexadecimal
/// digits, which are 256 random bits.
#[derive(Clone)]
pub struct Token {
    id: String,
    secret: Zeroizing<String>,
}

impl Token {
    pub(super) fn generate() -> Result<Self> {
        Self::generate_for(&hex(&*random::<8>()?))
    }

    /// Another one with that id.
    pub(super) fn generate_for(id: &str) -> Result<Self> {
        Ok(Self::of(id.to_owned(), Zeroizing::new(hex(&*random::<32>()?))))
    }

    pub(super) fn of(id: String, secret: Zeroizing<String>) -> Self {
        Self { id, secret }
    }

    /// The id of its key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// The text, which is a secret.
    #[must_use]
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{BEFORE}{}_{}", self.id, *self.secret))
    }
}

impl FromStr for Token {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hex = |text: &str, digits| {
            text.len() == digits
                && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let parts = text.strip_prefix(BEFORE).and_then(|rest| rest.split_once('_'));
        match parts {
            Some((id, secret)) if is_hex(id, 16) && is_hex(secret, 64) => {
                Ok(Self { id: id.to_owned(), secret: Zeroizing::new(secret.to_owned()) })
            }
            _ => Err("it is no key: one is annals_, 16 digits, _ and 64 digits"),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}
