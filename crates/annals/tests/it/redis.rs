//! Redis on real servers, which are stopped, frozen and killed.

mod faults;
mod rights;
mod settings;
mod spool;
mod tls;
mod transport;
