//! Who may use the server: keys of applications.
//!
//! An application shows a key of 256 random bits, which is printed once. The store's
//! [`Registry`](crate::store::Registry) keeps what the key may do, and of the key itself a
//! hash under the access key, which the servers have and the database does not; under the
//! same key each entry is signed. So who reads the database has no key, and who writes into
//! it can make none and widen none. What such a person can do is take keys away, or put an
//! older entry of one back.
//!
//! A [`Keyring`] makes and changes keys, and tells of it in the trail. A server asks
//! [`Known`], which has them in memory: so keys go on working while the store is away, and
//! a revoked one ends with the next look.

mod access_key;
mod api_key;
mod keyring;
mod known;

pub use access_key::AccessKey;
pub use api_key::{ApiKey, Grant, Scope, Tenants, Token};
pub use keyring::{Keyring, Listed, MAX_KEYS};
pub use known::{Known, Refused};

/// The action of the event that tells that a key was made.
pub const KEY_CREATED: &str = "annals.key.created";

/// The action of the event that tells that a key is being replaced by another.
pub const KEY_ROTATED: &str = "annals.key.rotated";

/// The action of the event that tells that a key was revoked.
pub const KEY_REVOKED: &str = "annals.key.revoked";

/// The tenant of events about who used the server: for auditors, and no application's.
pub const TENANT: &str = "annals";
