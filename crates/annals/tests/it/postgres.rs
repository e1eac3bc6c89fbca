//! PostgreSQL on real servers, which are stopped and killed.

mod attach;
mod index;
mod store;
mod transport;
