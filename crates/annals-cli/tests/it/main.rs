//! Runs the real command in directories of its own.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says aloud what it skipped"
)]

mod care;
mod clock;
mod configuration;
mod crash;
mod damage;
mod demo;
mod erasing;
mod installation;
mod laravel;
mod metrics;
mod mysql;
mod postgres;
mod proof;
mod publishing;
mod reading;
mod recording;
mod redis;
mod running;
mod server;
mod serving;
mod symfony;
mod witness;
