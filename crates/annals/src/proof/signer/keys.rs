//! Where the keys of a log come from.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::log::{KeyType, SigningKey};
use crate::proof::durable::create;

/// The private keys of a log, as text: a line each, and all of them sign.
#[derive(Clone)]
pub enum Keys {
    /// In a file of their own. If there is none, and the log was never signed, a key is
    /// made.
    File(PathBuf),
    /// In a directory, in a file for each log, named after its store. As [`Keys::File`]
    /// otherwise.
    Directory(PathBuf),
    /// As they were given, such as by the environment.
    Given(String),
}

impl Keys {
    /// The file of the keys of a log, or the keys.
    fn path(&self, origin: &str) -> std::result::Result<PathBuf, &str> {
        match self {
            Self::Given(text) => Err(text),
            Self::File(path) => Ok(path.clone()),
            // The origin ends with the store's uuid, which is no path.
            Self::Directory(directory) => {
                let store = origin.rsplit('/').next().unwrap_or(origin);
                Ok(directory.join(format!("{store}.key")))
            }
        }
    }

    /// The keys of the log with that origin. If there is no file, makes a key if it
    /// `may`.
    pub(super) fn of(&self, origin: &str, may_make: bool) -> Result<Vec<SigningKey>> {
        self.of_type(KeyType::Log, origin, may_make)
    }

    /// As [`Keys::of`], for a log or a witness of that name.
    pub(in crate::proof) fn of_type(
        &self,
        of: KeyType,
        name: &str,
        may_make: bool,
    ) -> Result<Vec<SigningKey>> {
        let whose = Whose { of, name };
        let (text, place) = match self.path(name) {
            Err(text) => (text.to_owned(), "what was given".to_owned()),
            Ok(path) => (read(&path, whose, may_make)?, path.display().to_string()),
        };
        let wrong = |found: String| {
            Error::new(ErrorKind::Usage, format!("read the key of {whose} in {place}"), found)
        };
        let mut keys = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let key: SigningKey = line.parse().map_err(|fault| {
                wrong(format!("{fault}"))
                    .hint("a key is a line that begins with PRIVATE+KEY+, as `annals log new-key` prints it")
            })?;
            if key.name() != name || key.key_type() != of {
                return Err(wrong(format!("a key is of {}", key.name()))
                    .hint("each has a key of its own: give this one another file, or none"));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(wrong("it holds no key".to_owned()));
        }
        Ok(keys)
    }
}

/// What signs with a key.
#[derive(Clone, Copy)]
struct Whose<'a> {
    of: KeyType,
    name: &'a str,
}

impl std::fmt::Display for Whose<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.of {
            KeyType::Log => write!(f, "the log {}", self.name),
            KeyType::Witness => write!(f, "the witness {}", self.name),
        }
    }
}

fn read(path: &Path, whose: Whose<'_>, may_make: bool) -> Result<String> {
    let doing = || format!("read the key of {whose} in {}", path.display());
    refuse_readable(path, &doing)?;
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound && may_make => make(path, whose),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::new(
            ErrorKind::Usage,
            doing(),
            match whose.of {
                KeyType::Log => "there is none, and the log was signed before",
                KeyType::Witness => "there is none, and the witness has cosigned before",
            },
        )
        .hint(match whose.of {
            KeyType::Log => "bring the key back, or let the worker that has it sign alone",
            KeyType::Witness => {
                "bring the key back, or begin in another directory under another name"
            }
        })),
        Err(error) => Err(Error::new(ErrorKind::Usage, doing(), error)),
    }
}

/// Makes a key, and keeps it before it is used.
fn make(path: &Path, whose: Whose<'_>) -> Result<String> {
    let doing = || format!("make a key for {whose} in {}", path.display());
    let key = SigningKey::generate(whose.name, whose.of)
        .map_err(|fault| Error::new(ErrorKind::Away, doing(), fault))?;
    let text = format!("{}\n", key.to_secret_text());
    match create(path, text.as_bytes()) {
        Ok(()) => {}
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return read(path, whose, false);
        }
        Err(error) => return Err(Error::new(ErrorKind::Away, doing(), error)),
    }
    tracing::info!(target: "annals::proof", key = %key.verifier(), path = %path.display(), "made a key for {whose}");
    Ok(text)
}

/// Refuses a key that others than its owner may read.
#[cfg(unix)]
fn refuse_readable(path: &Path, doing: &dyn Fn() -> String) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let Ok(attributes) = fs::metadata(path) else { return Ok(()) };
    let mode = attributes.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Usage, doing(), format!("others may read it (mode {mode:03o})"))
        .hint(format!("chmod 600 {}; if others may have read it, make a new key", path.display())))
}

#[cfg(not(unix))]
fn refuse_readable(_: &Path, _: &dyn Fn() -> String) -> Result<()> {
    Ok(())
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Directory(path) => f.debug_tuple("Directory").field(path).finish(),
            Self::Given(_) => f.write_str("Given"),
        }
    }
}
