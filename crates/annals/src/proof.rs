//! Proof: that an event is in the log, and that nothing in the log was altered.
//!
//! A [`Signer`] signs the head of a store's log while it grows. [`prove`] writes one
//! event, its place in the log and a signed head into a file that anyone can check who
//! has the log's public key and neither this store nor this software. [`verify`] reads a
//! whole store and says what is not as it was appended. [`export`] writes the log's tiles
//! for others to serve and to check.
//!
//! A [`Witness`], on another machine, cosigns the heads of logs that only grow. With the
//! feature `publish` a `Cosigner` asks witnesses, and a `Publisher` puts heads elsewhere.
//!
//! What is proved: what was in the log when its head was signed, that it was appended in
//! this order, and that it still says the same. What is not: what an application never
//! told, or told wrongly; what came after the last signed head; and, where whoever holds
//! the database also holds the key, anything that no witness has seen.

#[cfg(feature = "publish")]
mod cosigner;
pub(crate) mod durable;
mod export;
#[cfg(feature = "publish")]
mod http;
mod prove;
#[cfg(feature = "publish")]
mod publisher;
mod removals;
mod signer;
mod verify;
mod witness;
pub(crate) mod witnessed;

#[cfg(feature = "publish")]
pub use cosigner::{Cosigner, WitnessAddress};
pub use export::{Exported, export};
pub use prove::prove;
#[cfg(feature = "publish")]
pub use publisher::{Publisher, Target};
pub use signer::{Keys, RESUMED, Resumed, Signer};
pub use verify::{Finding, FindingKind, Report, Step, VerifyOptions, Witnesses, verify};
pub use witness::{Refusal, Witness};
pub use witnessed::{Witnessed, witnessed};
