//! The key of hashes.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::private::read_secret;

/// What a key's text begins with.
const BEFORE: &str = "ANNALS+HASH+KEY+";

/// Replaces values by what only its holder can compare with others.
#[derive(Clone)]
pub struct HashKey {
    key: Zeroizing<[u8; 32]>,
    /// What its hashes are marked with.
    id: String,
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HashKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl HashKey {
    fn of(key: Zeroizing<[u8; 32]>) -> Self {
        let id = hex(&mac(&key, &[b"annals/hash/key/v1\n"])[..4]);
        Self { key, id }
    }

    /// A new one.
    ///
    /// # Errors
    /// If the operating system has no random numbers.
    pub fn generate() -> Result<Self> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).map_err(|error| {
            Error::new(ErrorKind::Away, "make a key", format!("no random numbers: {error}"))
        })?;
        Ok(Self::of(key))
    }

    /// From text: `ANNALS+HASH+KEY+` and 32 bytes in base64.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if it is none.
    pub fn from_text(text: &str) -> Result<Self> {
        let wrong = || {
            Error::new(ErrorKind::Usage, "read the key of hashes", "it is none")
                .hint(format!("such a key begins with {BEFORE}"))
        };
        let encoded = text.trim().strip_prefix(BEFORE).ok_or_else(wrong)?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| wrong())?);
        let key: [u8; 32] = bytes.as_slice().try_into().map_err(|_| wrong())?;
        Ok(Self::of(Zeroizing::new(key)))
    }

    /// What [`Self::from_text`] reads.
    #[must_use]
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{BEFORE}{}\n", STANDARD.encode(*self.key)))
    }

    /// From a file that its owner alone may read; if it is not there, it is made if that
    /// `may` be.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if there is none, it is none, or others may read it.
    pub fn from_file(path: &Path, may_make: bool) -> Result<Self> {
        let doing = || format!("read the key of hashes in {}", path.display());
        let make = || Ok(Self::generate()?.to_secret_text());
        let make: Option<&dyn Fn() -> _> = if may_make { Some(&make) } else { None };
        let (text, made) = read_secret(path, make, &doing)?;
        if made {
            tracing::info!(target: "annals::redact", path = %path.display(), "made a key for hashes; with another one no value is found again");
        }
        Self::from_text(&text).map_err(|error| Error::new(ErrorKind::Usage, doing(), error.found()))
    }

    /// The mark in the place of a value of a tenant's; `value` is its JSON.
    #[must_use]
    pub fn mark(&self, tenant: &str, value: &str) -> String {
        let plain = value.starts_with('"').then(|| serde_json::from_str::<String>(value).ok());
        let canonical = plain.flatten().map(|text| serde_json::Value::from(text).to_string());
        let value = canonical.as_deref().unwrap_or(value);
        let length = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
        let hash = mac(
            &self.key,
            &[
                b"annals/hash/v1\n",
                &length(tenant),
                tenant.as_bytes(),
                &length(value),
                value.as_bytes(),
            ],
        );
        format!(r#"{{"$annals":{{"kind":"hmac","key":"{}","hmac":"{}"}}}}"#, self.id, hex(&hash))
    }
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // A shorter key is filled up with zeros to the hash's block (RFC 2104).
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(key);
    let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new((&*block).into());
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
