//! PostgreSQL on real servers, which are stopped and killed.

mod attach;
mod index;
mod roles;
mod store;
mod transport;
