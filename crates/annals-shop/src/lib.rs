//! A small shop over HTTP with its own SQLite database, and a driver that visits
//! it: what the demo shows and the benchmarks measure. Not published.
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
