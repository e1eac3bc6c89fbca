//! Secret keys of 32 bytes, and the texts and files that they lie in.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
#[cfg(any(feature = "access", feature = "redact"))]
use hmac::{Hmac, Mac};
#[cfg(any(feature = "access", feature = "redact"))]
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::private::read_secret;

/// What a key is for.
#[derive(Debug)]
pub(crate) struct Purpose {
    /// Such as `the master key`.
    pub(crate) name: &'static str,
    /// What its text begins with, so that nobody takes one kind of key for another.
    pub(crate) before: &'static str,
}

/// 32 random bytes that are never shown.
#[derive(Clone)]
pub(crate) struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// If the operating system has no random numbers.
    pub(crate) fn generate() -> Result<Self> {
        random().map(Self)
    }

    /// From text: what it begins with, and 32 bytes in base64.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if it is none.
    pub(crate) fn from_text(purpose: &Purpose, text: &str) -> Result<Self> {
        let wrong = || {
            Error::new(ErrorKind::Usage, format!("read {}", purpose.name), "it is none")
                .hint(format!("such a key begins with {}", purpose.before))
        };
        let encoded = text.trim().strip_prefix(purpose.before).ok_or_else(wrong)?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| wrong())?);
        let key: [u8; 32] = bytes.as_slice().try_into().map_err(|_| wrong())?;
        Ok(Self(Zeroizing::new(key)))
    }

    /// What [`Self::from_text`] reads.
    pub(crate) fn to_text(&self, purpose: &Purpose) -> Zeroizing<String> {
        Zeroizing::new(format!("{}{}\n", purpose.before, STANDARD.encode(*self.0)))
    }

    /// From a file that its owner alone may read; if it is not there, it is made if that
    /// `may` be. The second of the answers is whether it was.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if there is none, it is none, or others may read it.
    pub(crate) fn from_file(
        purpose: &Purpose,
        path: &Path,
        may_make: bool,
    ) -> Result<(Self, bool)> {
        let doing = || format!("read {} in {}", purpose.name, path.display());
        let make = || Ok(Self::generate()?.to_text(purpose));
        let make: Option<&dyn Fn() -> _> = if may_make { Some(&make) } else { None };
        let (text, made) = read_secret(path, make, &doing)?;
        let key = Self::from_text(purpose, &text)
            .map_err(|error| Error::new(ErrorKind::Usage, doing(), error.found()))?;
        Ok((key, made))
    }

    #[cfg(feature = "seal")]
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// HMAC-SHA-256 (RFC 2104) over these parts, one behind the other.
    #[cfg(any(feature = "access", feature = "redact"))]
    pub(crate) fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.begin_mac(parts).finalize().into_bytes().into()
    }

    /// Whether [`Self::mac`] gives this, in a time that does not depend on where it differs.
    #[cfg(feature = "access")]
    pub(crate) fn is_mac(&self, parts: &[&[u8]], mac: &[u8]) -> bool {
        self.begin_mac(parts).verify_slice(mac).is_ok()
    }

    #[cfg(any(feature = "access", feature = "redact"))]
    fn begin_mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        // A shorter key is filled up with zeros to the hash's block.
        let mut block = Zeroizing::new([0; 64]);
        block[..32].copy_from_slice(&*self.0);
        let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new((&*block).into());
        parts.iter().for_each(|part| mac.update(part));
        mac
    }
}

/// The operating system's random numbers.
///
/// # Errors
/// If it has none.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(|error| {
        Error::new(ErrorKind::Away, "make a key", format!("no random numbers: {error}"))
    })?;
    Ok(bytes)
}
