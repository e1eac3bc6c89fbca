//! The key of hashes.

use std::path::Path;

use zeroize::Zeroizing;

use crate::error::Result;
use crate::hex::hex;
use crate::secret::{Purpose, Secret};

const PURPOSE: Purpose = Purpose { name: "the key of hashes", before: "ANNALS+HASH+KEY+" };

/// Replaces values by what only its holder can compare with others.
#[derive(Clone)]
pub struct HashKey {
    key: Secret,
    /// What its hashes are marked with.
    id: String,
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HashKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl HashKey {
    fn of(key: Secret) -> Self {
        let id = hex(&key.mac(&[b"annals/hash/key/v1\n"])[..4]);
        Self { key, id }
    }

    /// A new one.
    ///
    /// # Errors
    /// If the operating system has no random numbers.
    pub fn generate() -> Result<Self> {
        Secret::generate().map(Self::of)
    }

    /// From text: `ANNALS+HASH+KEY+` and 32 bytes in base64.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) if it is none.
    pub fn from_text(text: &str) -> Result<Self> {
        Secret::from_text(&PURPOSE, text).map(Self::of)
    }

    /// What [`Self::from_text`] reads.
    #[must_use]
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        self.key.to_text(&PURPOSE)
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
            tracing::info!(target: "annals::redact", path = %path.display(), "made a key for hashes; with another one no value is found again");
        }
        Ok(Self::of(key))
    }

    /// The mark in the place of a value of a tenant's; `value` is its JSON.
    #[must_use]
    pub fn mark(&self, tenant: &str, value: &str) -> String {
        let plain = value.starts_with('"').then(|| serde_json::from_str::<String>(value).ok());
        let canonical = plain.flatten().map(|text| serde_json::Value::from(text).to_string());
        let value = canonical.as_deref().unwrap_or(value);
        let length = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
        let hash = self.key.mac(&[
            b"annals/hash/v1\n",
            &length(tenant),
            tenant.as_bytes(),
            &length(value),
            value.as_bytes(),
        ]);
        format!(r#"{{"$annals":{{"kind":"hmac","key":"{}","hmac":"{}"}}}}"#, self.id, hex(&hash))
    }
}
