//! The server over real sockets.

// The helpers of tests stand outside test functions, where clippy.toml's
// permission does not reach.
#![allow(clippy::unwrap_used)]

mod answers;
mod counting;
mod encoding;
mod exporting;
mod fuzz;
mod http;
mod ingest;
mod limits;
mod matrix;
mod openapi;
mod people;
mod reading;
mod refusals;
mod served;
mod splitting;
mod stopping;
mod tailing;
mod throttling;
mod tls;
mod unavailable;
