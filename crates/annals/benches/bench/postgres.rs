//! PostgreSQL, on a server that the bench starts.

pub mod drain;
pub mod outbox;
mod plain;
