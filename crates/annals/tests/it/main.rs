//! The library's tests, in one binary.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

mod accept;
#[cfg(all(feature = "access", feature = "sqlite"))]
mod access;
mod archive;
#[cfg(feature = "sqlite")]
mod attach;
mod capture;
mod check;
#[cfg(feature = "derive")]
mod derive;
mod event;
#[cfg(all(feature = "derive", feature = "sqlite"))]
mod examples;
#[cfg(feature = "file")]
mod file;
mod fuzz;
mod history;
mod laravel;
mod log;
mod mysql;
mod postgres;
#[cfg(feature = "sqlite")]
mod proof;
mod record_in;
mod recorder;
mod redact;
mod redis;
#[cfg(all(feature = "seal", feature = "sqlite"))]
mod seal;
mod state;
mod store;
mod symfony;
mod transport;
mod worker;
