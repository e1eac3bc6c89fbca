//! PostgreSQL on real servers, which are stopped and killed.

mod store;
mod transport;
