//! Annals: an audit trail for applications.
//!
//! ```text
//! capture -> transport -> worker -> store -> read
//! ```
//!
//! The modules stand in the order of that flow.

#[cfg(feature = "access")]
pub mod access;
#[cfg(feature = "archive")]
pub mod archive;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub mod attach;
pub mod capture;
pub mod change;
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod context;
pub mod error;
pub mod event;
pub mod foreign;
#[cfg(feature = "postgres")]
pub mod index;
pub mod log;
#[cfg(feature = "proof")]
pub mod proof;
pub mod query;
#[cfg(feature = "redact")]
pub mod redact;
pub mod retention;
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub mod roles;
pub mod rollup;
#[cfg(feature = "seal")]
pub mod seal;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod transport;
pub mod unit;
pub mod url;
pub mod worker;

#[cfg(any(feature = "publish", feature = "seal"))]
mod command;
#[cfg(any(
    feature = "access",
    feature = "archive",
    feature = "mysql",
    feature = "proof",
    feature = "redact",
    feature = "seal"
))]
mod hex;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(
    feature = "access",
    feature = "file",
    feature = "proof",
    feature = "redact",
    feature = "seal",
    feature = "sqlite"
))]
mod private;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "redis"))]
mod runtime;
#[cfg(any(feature = "access", feature = "redact", feature = "seal"))]
mod secret;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "derive")]
pub use annals_derive::Auditable;
pub use capture::{Audit, AuditOptions, CaptureStats, Delivery, Receipt, WhenFull};
pub use change::Auditable;
pub use context::{InCurrentScope, Scope};
pub use error::{Error, ErrorKind, Result};
pub use event::{Actor, Context, Entity, Event, EventId, Object, Outcome, Timestamp};
pub use query::{Audited, Audits};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteCheck, check_sqlite, sqlite_version};
