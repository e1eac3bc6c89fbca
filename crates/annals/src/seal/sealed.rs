//! One sealed value; see [`crate::seal`] for its format.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde::Deserialize;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::cipher::{self, NONCE_BYTES};
use crate::event::EventId;
use crate::hex::push_hex;

/// What comes before the parts of a sealed text.
const TEXT_BEFORE: &str = "\"annals:sealed:";

/// The two keys that are made of a subject's.
pub(super) struct Keys {
    nonce: Zeroizing<[u8; 32]>,
    text: Zeroizing<[u8; 32]>,
}

/// Where a value stands.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) event: EventId,
    pub(super) tenant: &'a str,
    /// A JSON pointer over the event.
    pub(super) path: &'a str,
}

/// A value that is sealed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) key: [u8; 16],
    nonce: [u8; NONCE_BYTES],
    text: Vec<u8>,
}

/// HMAC-SHA-256.
fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    // A shorter key is filled up with zeros to the hash's block (RFC 2104).
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(key);
    let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new((&*block).into());
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// Adds bytes behind their number.
fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    // An event is far smaller than that.
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

impl Keys {
    pub(super) fn of(subject: &[u8; 32]) -> Self {
        Self {
            nonce: hmac(subject, &[b"annals/seal/nonce/v1\n"]),
            text: hmac(subject, &[b"annals/seal/text/v1\n"]),
        }
    }
}

/// What stands before the place in the associated data.
const DATA: &[u8] = b"annals/seal/v1\n";

impl Place<'_> {
    /// The associated data: the place is what stands behind [`DATA`].
    fn data(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(64 + self.tenant.len() + self.path.len());
        data.extend_from_slice(DATA);
        push(&mut data, self.event.as_bytes());
        push(&mut data, self.tenant.as_bytes());
        push(&mut data, self.path.as_bytes());
        data
    }
}

impl Sealed {
    /// Seals a value. `None` only if it is longer than any event may be.
    pub(super) fn seal(key: [u8; 16], keys: &Keys, place: Place<'_>, value: &str) -> Option<Self> {
        let length = u32::try_from(value.len()).ok()?.to_be_bytes();
        let data = place.data();
        let mac = hmac(&keys.nonce, &[&data[DATA.len()..], &length, value.as_bytes()]);
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&mac[..NONCE_BYTES]);
        let text = cipher::seal(&keys.text, &nonce, &data, value.as_bytes())?;
        Some(Self { key, nonce, text })
    }

    /// The value; `None` if it was altered, or sealed elsewhere or under another key.
    pub(super) fn open(&self, keys: &Keys, place: Place<'_>) -> Option<String> {
        let value = cipher::open(&keys.text, &self.nonce, &place.data(), &self.text)?;
        String::from_utf8(value.to_vec()).ok()
    }

    /// Adds it as it stands in the place of any JSON value.
    pub(super) fn push_mark(&self, out: &mut String) {
        out.push_str(r#"{"$annals":{"kind":"sealed","key":""#);
        push_hex(&self.key, out);
        out.push_str(r#"","nonce":""#);
        STANDARD.encode_string(self.nonce, out);
        out.push_str(r#"","text":""#);
        STANDARD.encode_string(&self.text, out);
        out.push_str(r#""}}"#);
    }

    /// Adds it as it stands in the place of a text, with its quotes.
    pub(super) fn push_text(&self, out: &mut String) {
        out.push_str(TEXT_BEFORE);
        push_hex(&self.key, out);
        out.push(':');
        STANDARD.encode_string(self.nonce, out);
        out.push(':');
        STANDARD.encode_string(&self.text, out);
        out.push('"');
    }

    /// Reads either of the two.
    pub(super) fn read(raw: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Mark<'a> {
            kind: &'a str,
            key: &'a str,
            nonce: &'a str,
            text: &'a str,
        }
        #[derive(Deserialize)]
        struct Marked<'a> {
            #[serde(borrow, rename = "$annals")]
            mark: Mark<'a>,
        }
        if let Some(rest) = raw.strip_prefix(TEXT_BEFORE) {
            let mut parts = rest.strip_suffix('"')?.splitn(3, ':');
            return Self::of(parts.next()?, parts.next()?, parts.next()?);
        }
        if !raw.starts_with(r#"{"$annals":{"kind":"sealed""#) {
            return None;
        }
        let Marked { mark } = serde_json::from_str(raw).ok()?;
        (mark.kind == "sealed").then(|| Self::of(mark.key, mark.nonce, mark.text))?
    }

    fn of(key: &str, nonce: &str, text: &str) -> Option<Self> {
        Some(Self {
            key: u128::from_str_radix(key, 16).ok().filter(|_| key.len() == 32)?.to_be_bytes(),
            nonce: STANDARD.decode(nonce).ok()?.try_into().ok()?,
            text: STANDARD.decode(text).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> Place<'_> {
        let event = "019aaaf5-7d4e-7000-8000-000000000001".parse().unwrap();
        Place { event, tenant: "acme", path }
    }

    /// The bytes of a sealed value, which no later version may change.
    #[test]
    fn the_golden_bytes_of_a_sealed_value() {
        let keys = Keys::of(&std::array::from_fn(|index| u8::try_from(index).unwrap()));
        let sealed =
            Sealed::seal([0xab; 16], &keys, place("/new_values/email"), r#""jo@example.org""#);
        let mut mark = String::new();
        sealed.unwrap().push_mark(&mut mark);
        assert_eq!(mark, include_str!("../../tests/golden/sealed_value_1.json").trim());
    }

    #[test]
    fn a_value_opens_where_it_was_sealed_and_nowhere_else() {
        let (keys, others) = (Keys::of(&[1; 32]), Keys::of(&[2; 32]));
        let here = place("/new_values/email");
        let sealed = Sealed::seal([7; 16], &keys, here, "{\"a\":1}").unwrap();
        let (mut mark, mut text) = (String::new(), String::new());
        sealed.push_mark(&mut mark);
        sealed.push_text(&mut text);
        for written in [&mark, &text] {
            let read = Sealed::read(written).unwrap();
            assert_eq!(read, sealed);
            assert_eq!(read.open(&keys, here).as_deref(), Some("{\"a\":1}"));
        }
        assert_eq!(sealed.open(&others, here), None, "another key");
        assert_eq!(sealed.open(&keys, place("/old_values/email")), None, "another field");
        assert_eq!(sealed.open(&keys, Place { tenant: "other", ..here }), None, "another tenant");
        let event = "019aaaf5-7d4e-7000-8000-000000000002".parse().unwrap();
        assert_eq!(sealed.open(&keys, Place { event, ..here }), None, "another event");
        let mut altered = Sealed::read(&mark).unwrap();
        altered.text[0] ^= 1;
        assert_eq!(altered.open(&keys, here), None, "altered");
        assert_eq!(Sealed::read(&mark.replace("sealed", "sealer")), None);
    }
}
