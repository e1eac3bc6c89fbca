//! MariaDB on real servers, which are stopped and killed.

mod attach;
mod lost;
mod prune;
mod roles;
mod settings;
mod store;
mod tls;
mod transport;
