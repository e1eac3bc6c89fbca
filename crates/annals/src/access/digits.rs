//! 32 bytes as the registry keeps them: 64 hexadecimal digits.

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::Serializer;

use crate::hex::hex;

pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&hex(bytes))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
    read(&String::deserialize(from)?).ok_or_else(|| D::Error::custom("it is no hash"))
}

/// `None` if they are not 64 digits.
pub(super) fn read(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    (text.len() == 64).then_some(bytes)
}
