//! The library's tests, in one binary.

#[cfg(feature = "derive")]
mod derive;
mod log;
mod store;
