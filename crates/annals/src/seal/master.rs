//! The master key, which wraps the keys of subjects.

use std::fmt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::cipher::{self, NONCE_BYTES};
use crate::command;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::{Purpose, Secret, random};

const PURPOSE: Purpose = Purpose { name: "the master key", before: "ANNALS+MASTER+KEY+" };

/// The first byte of what a master key of ours wrapped; behind it nonce and text.
const WRAPPED: u8 = 1;

/// Bytes of a wrapped key, at most.
pub(super) const MAX_WRAPPED: usize = 4096;

/// Wraps the keys of subjects.
#[derive(Clone)]
pub struct MasterKey(Kind);

#[derive(Clone)]
enum Kind {
    Key(Secret),
    Command(String),
}

impl MasterKey {
    /// A new one.
    ///
    /// # Errors
    /// If the operating system has no random numbers.
    pub fn generate() -> Result<Self> {
        Secret::generate().map(Kind::Key).map(Self)
    }

    /// From text: `ANNALS+MASTER+KEY+` and 32 bytes in base64.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if it is none.
    pub fn from_text(text: &str) -> Result<Self> {
        Secret::from_text(&PURPOSE, text).map(Kind::Key).map(Self)
    }

    /// From a file that its owner alone may read; if it is not there, it is made if that
    /// `may` be.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if there is none, it is none, or others may read it.
    pub fn from_file(path: &Path, may_make: bool) -> Result<Self> {
        let (key, made) = Secret::from_file(&PURPOSE, path, may_make)?;
        if made {
            tracing::info!(target: "annals::seal", path = %path.display(), "made a master key; without it nothing that is sealed can be read");
        }
        Ok(Self(Kind::Key(key)))
    }

    /// A command of the shell, such as one that asks a key management service. It is run
    /// with `wrap` or `unwrap` as its last argument, gets the key, or what wrapping it
    /// gave, in base64 on its input, and prints the other in base64.
    #[must_use]
    pub fn from_command(command: impl Into<String>) -> Self {
        Self(Kind::Command(command.into()))
    }

    /// What [`Self::from_text`] reads; `None` if it is a command.
    #[must_use]
    pub fn to_secret_text(&self) -> Option<Zeroizing<String>> {
        match &self.0 {
            Kind::Key(key) => Some(key.to_text(&PURPOSE)),
            Kind::Command(_) => None,
        }
    }

    /// Wraps a key; `data` is bound to it by a key of ours.
    pub(super) async fn wrap(&self, key: &[u8; 32], data: &[u8]) -> Result<Vec<u8>> {
        match &self.0 {
            Kind::Key(master) => {
                let nonce = random::<NONCE_BYTES>()?;
                let text = cipher::seal(master.bytes(), &nonce, data, key).ok_or_else(|| {
                    Error::new(ErrorKind::Away, "wrap a key", "the cipher refused it")
                })?;
                Ok([&[WRAPPED], nonce.as_slice(), &text].concat())
            }
            Kind::Command(command) => Ok(run(command, "wrap", key).await?.to_vec()),
        }
    }

    /// Gives a wrapped key back.
    pub(super) async fn unwrap(&self, wrapped: &[u8], data: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        let wrong = |found: &str| {
            Error::new(ErrorKind::Usage, "unwrap the key of a subject", found)
                .hint("give the master key that it was wrapped with")
        };
        let key = match &self.0 {
            Kind::Key(master) => {
                let (nonce, text) = wrapped
                    .strip_prefix(&[WRAPPED])
                    .and_then(<[u8]>::split_first_chunk::<NONCE_BYTES>)
                    .ok_or_else(|| wrong("another kind of master key wrapped it"))?;
                cipher::open(master.bytes(), nonce, data, text)
                    .ok_or_else(|| wrong("another master key wrapped it"))?
            }
            Kind::Command(command) => run(command, "unwrap", wrapped).await?,
        };
        let key = key.as_slice().try_into().map_err(|_| wrong("what came back is no key"))?;
        Ok(Zeroizing::new(key))
    }
}

/// Lets the command do its part.
async fn run(command: &str, what: &str, input: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let away = |found: String| {
        let doing = format!("{what} the key of a subject with the command of the master key");
        Error::new(ErrorKind::Away, doing, found)
    };
    let line = Zeroizing::new(format!("{}\n", STANDARD.encode(input)));
    let most = 2 * MAX_WRAPPED;
    let mut said = Zeroizing::new(Vec::with_capacity(most));
    let command = format!("{command} {what}");
    command::run(&command, line.as_bytes(), &mut said, most as u64).await.map_err(away)?;
    let text = said.trim_ascii();
    let bytes = STANDARD.decode(text).map_err(|_| away("it did not print base64".to_owned()))?;
    if bytes.is_empty() || bytes.len() > MAX_WRAPPED {
        return Err(away(format!("it printed {} bytes", bytes.len())));
    }
    Ok(Zeroizing::new(bytes))
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Key(_) => f.write_str("MasterKey"),
            Kind::Command(_) => f.write_str("MasterKey of a command"),
        }
    }
}
