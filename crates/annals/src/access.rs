//! Who may use the server: keys of applications, and people.
//!
//! An application shows a key of 256 random bits, which is printed once. The store's
//! [`Registry`](crate::store::Registry) keeps what the key may do, and of the key itself a
//! hash under the access key, which the servers have and the database does not; under the
//! same key each entry is signed. So who reads the database has no key, and who writes into
//! it can make none and widen none. What such a person can do is take keys away, or put an
//! older entry of one back.
//!
//! People have a [`Role`], and sign in with a password, of which argon2id under the access
//! key is kept, or by a provider of identities; a [`Session`] is an entry of its own.
//!
//! A [`Keyring`] makes and changes keys, [`People`] asks people in, and both tell of it in
//! the trail. A server asks [`Known`], which has all in memory: so keys and sessions go on
//! working while the store is away, and a revoked one ends with the next look.

mod access_key;
mod api_key;
mod digits;
mod entries;
mod keyring;
mod known;
mod password;
mod people;
mod person;
mod role;
mod session;
mod times;

pub use access_key::AccessKey;
pub use api_key::{ApiKey, Grant, Scope, Token};
pub use entries::Listed;
pub use keyring::{Keyring, MAX_KEYS};
pub use known::{Known, Refused, SignedIn};
pub use password::{MAX_PASSWORD, MIN_PASSWORD};
pub use people::{
    Change, From, LINK, MAX_PEOPLE, PASSWORD_SET, PERSON_CHANGED, PERSON_INVITED, People,
};
pub use person::{Person, Subject};
pub use role::Role;
pub use session::{Means, SESSION, Session};

pub use crate::query::Tenants;

/// A secret that somebody else gave us, from a file that its owner alone may read.
///
/// # Errors
/// [`ErrorKind::Usage`](crate::ErrorKind::Usage) if there is none, or others may read it.
pub fn read_secret(path: &std::path::Path) -> crate::Result<zeroize::Zeroizing<String>> {
    let doing = || format!("read the secret in {}", path.display());
    Ok(crate::private::read_secret(path, None, &doing)?.0)
}

/// 256 random bits, as 64 hexadecimal digits.
///
/// # Errors
/// If the operating system has no random numbers.
pub fn random_text() -> crate::Result<zeroize::Zeroizing<String>> {
    let bytes = crate::secret::random::<32>()?;
    Ok(zeroize::Zeroizing::new(crate::hex::hex(&*bytes)))
}

/// The action of the event that tells that a key was made.
pub const KEY_CREATED: &str = "annals.key.created";

/// The action of the event that tells that a key is being replaced by another.
pub const KEY_ROTATED: &str = "annals.key.rotated";

/// The action of the event that tells that a key was revoked.
pub const KEY_REVOKED: &str = "annals.key.revoked";

/// The tenant of events about who used the server: for auditors, and no application's.
pub const TENANT: &str = "annals";
