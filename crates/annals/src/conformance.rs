//! The suites that every transport and every store must pass: ours, and those
//! written elsewhere.
//!
//! A case is a plain async function over a *place*, which opens the backend in
//! the same spot again and again, so that a case can also see what is left after
//! a crash. A macro lists the cases of a suite, once, and makes a test of each.
//! The cases assert, so they panic where a backend breaks a promise, and return
//! the errors that it gives.

pub mod store;
pub mod transport;

mod sample;

pub use sample::{Random, record, records};
