//! PostgreSQL on real servers, which are stopped and killed.

mod attach;
mod store;
mod transport;
