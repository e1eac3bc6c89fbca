//! A key of an application, and what it may do.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::Result;
use crate::event::Timestamp;
use crate::hex::hex;
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
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ingest, Self::Read, Self::Operate];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Operate => "operate",
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
        found.ok_or_else(|| format!("expected ingest, read or operate, found {text:?}"))
    }
}

/// Whose data: of all tenants and of none, or of some tenants alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Tenants {
    /// These, and nothing that has no tenant.
    Only(BTreeSet<String>),
    /// All, and what has none.
    All,
}

impl Tenants {
    /// Whether data of this tenant, or of none, is among them.
    #[must_use]
    pub fn has(&self, tenant: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Only(tenants) => tenant.is_some_and(|tenant| tenants.contains(tenant)),
        }
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
        let of = |name: &str, text: &str| {
            let wrong = text.is_empty() || text.len() > MOST || text.contains('\0');
            wrong.then(|| format!("{name} has between 1 and {MOST} bytes and no NUL"))
        };
        if self.scopes.is_empty() {
            return Some("a key without a scope can do nothing".to_owned());
        }
        if let Tenants::Only(tenants) = &self.tenants {
            if tenants.is_empty() || tenants.len() > MOST_TENANTS {
                return Some(format!("a key is for all tenants, or for 1 to {MOST_TENANTS}"));
            }
            if let Some(fault) = tenants.iter().find_map(|tenant| of("a tenant", tenant)) {
                return Some(fault);
            }
        }
        self.source.as_deref().and_then(|source| of("a source", source))
    }
}

/// A key of an application, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiKey {
    /// What it is called by: 16 hexadecimal digits.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub grant: Grant,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it no longer works.
    pub expires_at: Option<Timestamp>,
    /// From when on it no longer works since another one replaces it.
    pub retires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
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

/// An [`ApiKey`] as it is kept. Times are RFC 3339, so that people can read it.
#[derive(Serialize, Deserialize)]
struct Body {
    name: String,
    #[serde(flatten)]
    grant: Grant,
    created_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retires_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
    hash: String,
}

impl ApiKey {
    /// What is kept of it.
    pub(super) fn body(&self) -> String {
        let time = |time: Timestamp| time.to_string();
        let body = Body {
            name: self.name.clone(),
            grant: self.grant.clone(),
            created_at: time(self.created_at),
            expires_at: self.expires_at.map(time),
            retires_at: self.retires_at.map(time),
            revoked_at: self.revoked_at.map(time),
            hash: hex(&self.hash),
        };
        // Texts, lists and nothing else: there is no way to fail.
        serde_json::to_string(&body).unwrap_or_default()
    }

    pub(super) fn read(id: &str, body: &str) -> Result<Self, String> {
        let body: Body = serde_json::from_str(body).map_err(|error| error.to_string())?;
        let time = |text: String| text.parse::<Timestamp>();
        let digits = |at| body.hash.get(2 * at..2 * at + 2);
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            let read = digits(at).and_then(|two| u8::from_str_radix(two, 16).ok());
            *byte = read.ok_or("its hash is none")?;
        }
        Ok(Self {
            id: id.to_owned(),
            name: body.name,
            grant: body.grant,
            created_at: time(body.created_at)?,
            expires_at: body.expires_at.map(time).transpose()?,
            retires_at: body.retires_at.map(time).transpose()?,
            revoked_at: body.revoked_at.map(time).transpose()?,
            hash,
        })
    }

    /// What is wrong with a name, if something is.
    pub(super) fn fault_of_name(name: &str) -> Option<String> {
        let wrong = name.trim().is_empty() || name.len() > MOST || name.contains(char::is_control);
        wrong.then(|| format!("a name has between 1 and {MOST} bytes, all of them visible"))
    }
}

/// The text that an application shows: `annals_`, the key's id, `_` and 64 hexadecimal
/// digits, which are 256 random bits.
#[derive(Clone)]
pub struct Token {
    id: String,
    secret: Zeroizing<String>,
}

impl Token {
    pub(super) fn generate() -> Result<Self> {
        let (id, secret) = (random::<8>()?, random::<32>()?);
        Ok(Self { id: hex(&*id), secret: Zeroizing::new(hex(&*secret)) })
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
