//! Personal values: sealed before they are stored, erased by destroying a key.
//!
//! A value is personal if it was marked at capture (`#[auditable(personal)]`,
//! [`crate::change::Fields::personal`]) or if the worker's [`Declared`] fields name it. The
//! worker's [`Sealer`] puts a sealed value in its place, before the event is appended and
//! hashed; an [`Opener`] gives it back to readers who have the master key. [`erase`]
//! destroys the key of a subject: the stored bytes stay as they are, and with them every
//! proof, and what they hold can be read by nobody any more.
//!
//! Constraints: the same event gives the same sealed bytes each time, so that a
//! redelivery is a duplicate; a sealed value that is moved to another event, tenant or
//! field is refused; nothing here knows which database it is.
//!
//! # Format
//!
//! In old and new values and metadata a sealed value is
//!
//! ```text
//! {"$annals":{"kind":"sealed","key":"<32 hex>","nonce":"<base64>","text":"<base64>"}}
//! ```
//!
//! and where the event has a text (`actor.name`, `context.ip`, `context.user_agent`) the
//! text `annals:sealed:<32 hex>:<base64>:<base64>` of the same three. With LP(x) the bytes
//! of x behind their number as a big-endian u32, and K the 32 bytes of the subject's key:
//!
//! ```text
//! place = LP(event id, 16 bytes) || LP(tenant) || LP(JSON pointer of the value, RFC 6901)
//! nonce = first 24 bytes of HMAC-SHA-256(Kn, place || LP(value))
//! text  = XChaCha20-Poly1305(Ke, nonce, value, associated data = "annals/seal/v1\n" || place)
//! Kn    = HMAC-SHA-256(K, "annals/seal/nonce/v1\n")
//! Ke    = HMAC-SHA-256(K, "annals/seal/text/v1\n")
//! ```
//!
//! The value is its JSON text, to the byte. (RFC 2104; draft-irtf-cfrg-xchacha-03.) Its
//! length shows, and nothing else of it. Base64 is the standard one with padding.
//!
//! What it is not: protection from who holds both the database and the master key, nor
//! from copies that were made before an erasure.

mod cipher;
mod declared;
mod erase;
mod keys;
mod master;
mod opener;
mod sealed;
mod sealer;

pub use declared::Declared;
pub use erase::{ERASED, Erased, erase};
pub use master::MasterKey;
pub use opener::{Opened, Opener};
pub use sealer::Sealer;
