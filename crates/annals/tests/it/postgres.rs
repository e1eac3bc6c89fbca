//! PostgreSQL on real servers, which are stopped and killed.

mod attach;
mod index;
mod pgbouncer;
mod roles;
mod settings;
mod store;
mod tls;
mod transport;
