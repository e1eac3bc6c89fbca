//! Crashes, full disks, held locks and damaged files, put upon the real command:
//! real processes on one shared data directory.
//!
//! Each test issues events, notes which of them were acknowledged as durable,
//! lets something go wrong, and asks the [`oracle`] at the end.

#![allow(clippy::print_stdout, reason = "shown when a test fails")]

mod archiving;
mod damaged;
mod dice;
mod disk;
mod kills;
mod laravel;
mod load;
mod locked;
mod mysql;
mod opening;
mod oracle;
mod poster;
mod postgres;
mod process;
mod recorder;
mod recovering;
mod redis;
mod stopping;
