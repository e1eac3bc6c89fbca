//! MariaDB on real servers, which are stopped and killed.

mod attach;
mod settings;
mod store;
mod transport;
