//! The library's tests, in one binary.

#[cfg(feature = "derive")]
mod derive;
mod log;
#[cfg(all(feature = "conformance", feature = "sqlite"))]
mod store;
