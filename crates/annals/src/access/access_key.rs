//! The key that the servers have and the database does not.

use std::fmt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::Result;
use crate::secret::{Purpose, Secret};
use crate::store::Entry;

/// What somebody shows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown {
    Key,
    Link,
    /// The link of the first administrator.
    First,
    Session,
    /// That a request was made by a page of the session's own.
    Page,
    /// A text that comes back.
    Text,
}

impl Shown {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Key => b"annals/api-key/v1\n",
            Self::Link => b"annals/link/v1\n",
            Self::First => b"annals/first-link/v1\n",
            Self::Session => b"annals/session/v1\n",
            Self::Page => b"annals/page/v1\n",
            Self::Text => b"annals/text/v1\n",
        }
    }
}

const PURPOSE: Purpose = Purpose { name: "the access key", before: "ANNALS+ACCESS+KEY+" };

/// Hashes the keys of applications, and signs what is kept of them.
#[derive(Clone)]
pub struct AccessKey(Secret);

impl AccessKey {
    /// A new one.
    ///
    /// # Errors
    /// If the operating system has no random numbers.
    pub fn generate() -> Result<Self> {
        Secret::generate().map(Self)
    }

    /// From text: `ANNALS+ACCESS+KEY+` and 32 bytes in base64.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) if it is none.
    pub fn from_text(text: &str) -> Result<Self> {
        Secret::from_text(&PURPOSE, text).map(Self)
    }

    /// What [`Self::from_text`] reads.
    #[must_use]
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        self.0.to_text(&PURPOSE)
    }

    /// From a file that its owner alone may read; if it is not there, it is made if that
    /// `may` be.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) if there is none, it is none, or others
    /// may read it.
    pub fn from_file(path: &Path, may_make: bool) -> Result<Self> {
        let (key, made) = Secret::from_file(&PURPOSE, path, may_make)?;
        if made {
            tracing::info!(target: "annals::access", path = %path.display(), "made an access key; all servers of one store need the same");
        }
        Ok(Self(key))
    }

    /// What is kept of the secret part of something with this id that somebody shows.
    pub(super) fn hash(&self, what: Shown, id: &str, secret: &str) -> [u8; 32] {
        self.0.mac(&[what.label(), id.as_bytes(), b"\n", secret.as_bytes()])
    }

    /// Whether that was made of this, in a time that tells nothing about the difference.
    pub(super) fn is_hash(&self, what: Shown, id: &str, secret: &str, hash: &[u8; 32]) -> bool {
        self.0.is_mac(&[what.label(), id.as_bytes(), b"\n", secret.as_bytes()], hash)
    }

    /// What passwords are hashed with.
    pub(super) fn pepper(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.mac(&[b"annals/password/v1\n"]))
    }

    /// Signs an entry's kind, id and body.
    pub(super) fn sign(&self, kind: &str, id: &str, body: &str) -> [u8; 32] {
        self.0.mac(&signed(kind, id, body, &lengths(kind, id)))
    }

    /// Whether this key signed the entry.
    pub(super) fn signed(&self, entry: &Entry) -> bool {
        let Entry { kind, id, body, .. } = entry;
        self.0.is_mac(&signed(kind, id, body, &lengths(kind, id)), &entry.mac)
    }
}

/// The lengths of what stands before the body, so that one cannot pass for the other.
fn lengths(kind: &str, id: &str) -> [[u8; 4]; 2] {
    [kind, id].map(|text| u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes())
}

fn signed<'a>(
    kind: &'a str,
    id: &'a str,
    body: &'a str,
    [kind_length, id_length]: &'a [[u8; 4]; 2],
) -> [&'a [u8]; 6] {
    let (kind, id, body) = (kind.as_bytes(), id.as_bytes(), body.as_bytes());
    [b"annals/access/v1\n", kind_length, kind, id_length, id, body]
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey")
    }
}
