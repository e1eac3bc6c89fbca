//! MariaDB on real servers, which are stopped and killed.

mod settings;
mod store;
mod transport;
