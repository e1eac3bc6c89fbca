//! Signed notes (C2SP signed-note): a text, and under it the signatures of any
//! number of keys.
//!
//! Two types of signature are known here, both Ed25519 (RFC 8032): that of a log,
//! over the text (0x01), and that of a witness, over a time and the text (0x04,
//! C2SP tlog-cosignature). Those of other keys are kept and ignored, as the format
//! demands, so that keys can be changed and witnesses added.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signer as _, SigningKey as Ed25519Key, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::event::Timestamp;

/// Bytes of a note, at most.
const MAX_BYTES: usize = 64 * 1024;

/// Signatures of a note, at most; the format demands that 16 are taken.
const MAX_SIGNATURES: usize = 64;

/// What a signature line begins with: an em dash and a space.
const DASH: &str = "\u{2014} ";

/// What the text of a private key begins with, as Go's `sumdb/note` writes it.
const PRIVATE: &str = "PRIVATE+KEY+";

/// What is wrong with a note or a key, as the end of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteFault(String);

impl fmt::Display for NoteFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoteFault {}

pub(super) fn fault<T>(why: impl Into<String>) -> Result<T, NoteFault> {
    Err(NoteFault(why.into()))
}

/// What a key's signatures say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// The text (0x01).
    Log,
    /// That the text was seen at a time, and nothing that contradicts it before
    /// (0x04).
    Witness,
}

impl KeyType {
    fn byte(self) -> u8 {
        match self {
            Self::Log => 0x01,
            Self::Witness => 0x04,
        }
    }

    fn of_byte(byte: u8) -> Option<Self> {
        [Self::Log, Self::Witness].into_iter().find(|known| known.byte() == byte)
    }
}

/// A key that signs: its name and its secret.
///
/// Its text is `PRIVATE+KEY+<name>+<id>+<base64 of type and seed>`, the form of Go's
/// `sumdb/note`; [`fmt::Debug`] shows the public half.
#[derive(Clone)]
pub struct SigningKey {
    name: String,
    of: KeyType,
    key: Ed25519Key,
}

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    /// If a note could not bear the name, or the system gives no random numbers.
    pub fn generate(name: &str, of: KeyType) -> Result<Self, NoteFault> {
        let mut seed = [0; 32];
        if let Err(error) = getrandom::fill(&mut seed) {
            return fault(format!("the system gives no random numbers: {error}"));
        }
        Self::of_seed(name, of, &seed)
    }

    fn of_seed(name: &str, of: KeyType, seed: &[u8; 32]) -> Result<Self, NoteFault> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), of, key: Ed25519Key::from_bytes(seed) })
    }

    /// Its name, which for a log's key is the log's origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is for.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        self.of
    }

    /// The public half.
    #[must_use]
    pub fn verifier(&self) -> VerifierKey {
        VerifierKey { name: self.name.clone(), of: self.of, key: self.key.verifying_key() }
    }

    /// All of it as text: a secret.
    #[must_use]
    pub fn to_secret_text(&self) -> String {
        let mut key = vec![self.of.byte()];
        key.extend_from_slice(self.key.as_bytes());
        format!("{PRIVATE}{}+{:08x}+{}", self.name, self.verifier().id(), BASE64.encode(key))
    }

    /// Signs a text, at this time if it is a witness's key.
    #[must_use]
    pub fn sign(&self, text: &str, now: Timestamp) -> Signature {
        let verifier = self.verifier();
        let mut bytes = verifier.id().to_be_bytes().to_vec();
        match self.of {
            KeyType::Log => bytes.extend_from_slice(&self.key.sign(text.as_bytes()).to_bytes()),
            KeyType::Witness => {
                let seconds = u64::try_from(now.as_micros() / 1_000_000).unwrap_or(0);
                let message = cosigned(seconds, text);
                bytes.extend_from_slice(&seconds.to_be_bytes());
                bytes.extend_from_slice(&self.key.sign(message.as_bytes()).to_bytes());
            }
        }
        Signature { name: self.name.clone(), bytes }
    }
}

impl FromStr for SigningKey {
    type Err = NoteFault;

    fn from_str(text: &str) -> Result<Self, NoteFault> {
        let Some(rest) = text.trim().strip_prefix(PRIVATE) else {
            return fault(format!("a private key begins with {PRIVATE}"));
        };
        let (name, id, of, seed) = parts(rest)?;
        let key = Self::of_seed(name, of, &seed)?;
        if key.verifier().id() == id {
            Ok(key)
        } else {
            fault("the key's id is not that of the key")
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.verifier())
    }
}

/// A key that verifies: what is given to whoever checks.
///
/// Its text is the `vkey` of C2SP signed-note:
/// `<name>+<id as 8 hexadecimal digits>+<base64 of type and key>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    of: KeyType,
    key: VerifyingKey,
}

impl VerifierKey {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is for.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        self.of
    }

    /// The first 4 bytes of SHA-256(name || newline || type || key).
    #[must_use]
    pub fn id(&self) -> u32 {
        let hash = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', self.of.byte()])
            .chain_update(self.key.as_bytes())
            .finalize();
        u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
    }

    /// When a witness's signature says that it saw the text, or the epoch for a log's,
    /// which says no time; `None` if it is another key's.
    ///
    /// # Errors
    /// If it bears this key's name and id, and is not its signature of the text.
    fn verify(&self, text: &str, signature: &Signature) -> Result<Option<Timestamp>, NoteFault> {
        if signature.name != self.name || signature.id() != Some(self.id()) {
            return Ok(None);
        }
        let wrong = || NoteFault(format!("the signature of {} is not one of this text", self.name));
        let rest = &signature.bytes[4..];
        let (message, rest, seconds) = match self.of {
            KeyType::Log => (text.to_owned(), rest, 0),
            KeyType::Witness => {
                let (seconds, rest) = rest.split_first_chunk::<8>().ok_or_else(wrong)?;
                let seconds = u64::from_be_bytes(*seconds);
                (cosigned(seconds, text), rest, seconds)
            }
        };
        let bytes: &[u8; 64] = rest.try_into().map_err(|_| wrong())?;
        let signature = ed25519_dalek::Signature::from_bytes(bytes);
        self.key.verify_strict(message.as_bytes(), &signature).map_err(|_| wrong())?;
        let micros = i64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1_000_000));
        micros.and_then(Timestamp::from_micros).map(Some).ok_or_else(wrong)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![self.of.byte()];
        key.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{:08x}+{}", self.name, self.id(), BASE64.encode(key))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteFault;

    fn from_str(text: &str) -> Result<Self, NoteFault> {
        let text = text.trim();
        if text.starts_with(PRIVATE) {
            return fault("this is a private key: whoever checks is given the public one");
        }
        let (name, id, of, key) = parts(text)?;
        let Ok(key) = VerifyingKey::from_bytes(&key) else {
            return fault("the key is no Ed25519 key");
        };
        let key = Self { name: name.to_owned(), of, key };
        if key.id() == id { Ok(key) } else { fault("the key's id is not that of the key") }
    }
}

/// Name, id, type and bytes of a key's text.
fn parts(text: &str) -> Result<(&str, u32, KeyType, [u8; 32]), NoteFault> {
    // Base64 may hold a plus, the name and the id may not.
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return fault("a key is NAME+ID+KEY");
    };
    check_name(name)?;
    let hex = id.len() == 8 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let Some(id) = u32::from_str_radix(id, 16).ok().filter(|_| hex) else {
        return fault(format!("the key's id {id:?} is not 8 hexadecimal digits"));
    };
    let Ok(bytes) = BASE64.decode(key) else { return fault("the key is not base64") };
    let Some((of, key)) = bytes.split_first() else { return fault("the key is empty") };
    let Some(of) = KeyType::of_byte(*of) else {
        return fault(format!("the key's type is {of:#04x}; known are 0x01 and 0x04, of Ed25519"));
    };
    match key.try_into() {
        Ok(key) => Ok((name, id, of, key)),
        Err(_) => fault(format!("the key has {} bytes where Ed25519 has 32", key.len())),
    }
}

/// # Errors
/// If a note cannot bear a key of that name.
pub fn check_name(name: &str) -> Result<(), NoteFault> {
    let bad = |letter: char| letter.is_whitespace() || letter.is_control() || letter == '+';
    if name.is_empty() || name.contains(bad) {
        return fault(format!("the name {name:?} is empty, or has a space or a plus in it"));
    }
    Ok(())
}

/// What a witness signs (C2SP tlog-cosignature).
fn cosigned(seconds: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {seconds}\n{text}")
}

/// A line under a note: who signed, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    name: String,
    /// The key's id, and what its algorithm makes.
    bytes: Vec<u8>,
}

impl Signature {
    /// The name of the key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> Option<u32> {
        self.bytes.first_chunk().map(|id| u32::from_be_bytes(*id))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DASH}{} {}", self.name, BASE64.encode(&self.bytes))
    }
}

impl FromStr for Signature {
    type Err = NoteFault;

    fn from_str(line: &str) -> Result<Self, NoteFault> {
        let parts = line.strip_prefix(DASH).and_then(|line| line.split_once(' '));
        let Some((name, bytes)) = parts else {
            return fault(format!("no signature line: {line:?}"));
        };
        check_name(name)?;
        match BASE64.decode(bytes) {
            Ok(bytes) if bytes.len() > 4 => Ok(Self { name: name.to_owned(), bytes }),
            _ => fault(format!("the signature of {name} is not base64 of an id and a signature")),
        }
    }
}

/// A text and the signatures under it. Nothing is known of the text until
/// [`Note::seen_by`] says that a trusted key has signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl Note {
    /// A text without signatures yet; it ends with a newline.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self { text, signatures: Vec::new() }
    }

    /// The text, with the newline at its end.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines under it.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds a signature, unless one of that key is there.
    pub fn add(&mut self, signature: Signature) {
        let same = |known: &Signature| known.name == signature.name && known.id() == signature.id();
        if !self.signatures.iter().any(same) {
            self.signatures.push(signature);
        }
    }

    /// The same text with the signatures of these keys alone, by name and id.
    #[must_use]
    pub fn only(&self, keys: &[VerifierKey]) -> Self {
        let known = |signature: &&Signature| {
            let same =
                |key: &VerifierKey| key.name == signature.name && Some(key.id()) == signature.id();
            keys.iter().any(same)
        };
        let signatures = self.signatures.iter().filter(known).cloned().collect();
        Self { text: self.text.clone(), signatures }
    }

    /// When a key signed: a witness's says so, a log's answers the epoch. `None` if it
    /// did not sign.
    ///
    /// # Errors
    /// If a signature bears the key's name and id, and is not its signature of the text.
    pub fn seen_by(&self, key: &VerifierKey) -> Result<Option<Timestamp>, NoteFault> {
        let mut seen = None;
        for signature in &self.signatures {
            seen = key.verify(&self.text, signature)?.or(seen);
        }
        Ok(seen)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

impl FromStr for Note {
    type Err = NoteFault;

    fn from_str(note: &str) -> Result<Self, NoteFault> {
        if note.len() > MAX_BYTES {
            return fault(format!("the note has {} bytes, and {MAX_BYTES} are read", note.len()));
        }
        if note.contains(|letter: char| letter < ' ' && letter != '\n') {
            return fault("the note holds a control character");
        }
        // The text may have empty lines; the signatures stand behind the last.
        let Some(end) = note.rfind("\n\n") else {
            return fault("the note has no empty line between its text and its signatures");
        };
        let (text, lines) = (&note[..=end], &note[end + 2..]);
        let Some(lines) = lines.strip_suffix('\n') else {
            return fault("the note has no signature, or its last line no newline");
        };
        let signatures: Vec<Signature> =
            lines.split('\n').map(str::parse).collect::<Result<_, _>>()?;
        if signatures.len() > MAX_SIGNATURES {
            let count = signatures.len();
            return fault(format!(
                "the note has {count} signatures, and {MAX_SIGNATURES} are read"
            ));
        }
        Ok(Self { text: text.to_owned(), signatures })
    }
}
