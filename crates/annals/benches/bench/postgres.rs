//! PostgreSQL, on a server that the bench starts.

pub mod attach;
pub mod drain;
pub mod history;
pub mod lag;
mod logless;
pub mod outbox;
mod plain;

/// No checkpoint comes in one round and not in the next.
pub const CALM: &[&str] = &["max_wal_size = 16GB", "checkpoint_timeout = 1h"];
