//! The server over real sockets.

// The helpers of tests stand outside test functions, where clippy.toml's
// permission does not reach.
#![allow(clippy::unwrap_used)]

mod encoding;
mod fuzz;
mod http;
mod ingest;
mod limits;
mod refusals;
mod served;
mod splitting;
mod stopping;
mod unavailable;
