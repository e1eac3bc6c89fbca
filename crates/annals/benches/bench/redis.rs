//! Redis, on a server that the bench starts.

pub mod away;
pub mod drain;
pub mod record;
