//! Redaction: values that are dropped, masked or replaced by a keyed hash, and secrets that
//! are found by their looks.
//!
//! [`crate::change`] keeps out of an event what its type declares. This is for events whose
//! producers declared nothing: those that are posted, and those that triggers and other
//! applications' queues bring. A [`Redactor`] works on encoded events and is idempotent: the
//! same event gives the same bytes each time, and marks that are there stay.
//!
//! What is put in a value's place:
//!
//! ```text
//! {"$annals":{"kind":"redacted","mask":"…1234"}}                  a mask
//! {"$annals":{"kind":"hmac","key":"<8 hex>","hmac":"<64 hex>"}}   a keyed hash
//! ```
//!
//! With LP(x) the bytes of x behind their number as a big-endian u32, and K the key (RFC
//! 2104):
//!
//! ```text
//! hmac = HMAC-SHA-256(K, "annals/hash/v1\n" || LP(tenant) || LP(value))
//! key  = the first 4 bytes of HMAC-SHA-256(K, "annals/hash/key/v1\n")
//! ```
//!
//! The value is its JSON: a text as short as it can be escaped, all else as it stands. The
//! field is not part of it, so that one question finds a value wherever it is.
//!
//! What it is not: a guard against who may ask. Few values are many: who holds the key can
//! try all telephone numbers in a minute.

mod ask;
mod key;
mod mask;
mod patterns;
mod redactor;

pub use ask::{ASKED, ASKINGS, ask};
pub use key::HashKey;
pub use patterns::{Secret, find_secrets};
pub use redactor::{Fields, Redactor};
