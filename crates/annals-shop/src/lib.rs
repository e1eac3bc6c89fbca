//! A small shop over HTTP with its own database, in SQLite or in PostgreSQL, and a
//! driver that visits it: what the demo shows, the benchmarks measure, and the tests
//! of attached tables write with. Not published.
//!
//! The shop adopts annals as an application would: its types derive
//! [`annals::Auditable`], a layer tells who asks from where, and each handler
//! says in one line what it did. Without an [`annals::Audit`] the same code runs
//! unaudited, so that the two can be compared.

mod customer;
mod database;
pub mod driver;
mod order;
pub mod people;
mod product;
mod refusal;
mod shop;

pub use shop::{Shop, serve};
