//! Capture in the database: triggers on an application's own tables, which enqueue
//! one event a changed row in the transaction that changes it.
//!
//! So every change is captured, however it came about: raw SQL, bulk statements,
//! an ORM in any language, someone at a prompt. The queue stands in the same
//! database, and a worker reads it like any other.
//!
//! What a trigger cannot know is who acts. [`crate::Scope::tell_triggers`] says it
//! for a transaction; other languages set `annals.context` (docs/attach.md). It is
//! not where changes are stored, and it never fails the application's statement.

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::url::without_secrets;

/// How tables are attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachOptions {
    /// The entity type of their events; without it, the table's name.
    pub entity_type: Option<String>,
    /// Columns that are left out. A change of nothing else makes no event.
    pub exclude: Vec<String>,
    /// Columns of which only that they changed is told.
    pub redact: Vec<String>,
    /// Columns that hold personal data, which a worker seals.
    pub personal: Vec<String>,
    /// What is captured.
    pub operations: Vec<Operation>,
}

impl AttachOptions {
    /// The columns that are named.
    #[cfg(any(feature = "mysql", feature = "sqlite"))]
    fn named(&self) -> impl Iterator<Item = &String> {
        self.exclude.iter().chain(&self.redact).chain(&self.personal)
    }
}

impl Default for AttachOptions {
    fn default() -> Self {
        Self {
            entity_type: None,
            exclude: Vec::new(),
            redact: Vec::new(),
            personal: Vec::new(),
            operations: vec![Operation::Insert, Operation::Update, Operation::Delete],
        }
    }
}

/// What is done to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is `created`.
    Insert,
    /// It is `updated`.
    Update,
    /// It is `deleted`, or the table `truncated`.
    Delete,
}

impl Operation {
    /// Such as `insert`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl std::str::FromStr for Operation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Insert, Self::Update, Self::Delete]
            .into_iter()
            .find(|operation| operation.as_str() == text)
            .ok_or_else(|| format!("expected insert, update or delete, found {text:?}"))
    }
}

/// An attached table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attached {
    /// The table's name.
    pub table: String,
    /// The entity type of its events.
    pub entity_type: String,
    /// Columns that are left out.
    pub excluded: Vec<String>,
    /// Columns of which only that they changed is told.
    pub redacted: Vec<String>,
    /// Columns that hold personal data.
    pub personal: Vec<String>,
    /// Of insert, update and delete.
    pub operations: Vec<String>,
    /// Whether the triggers were made for the columns that the table has now. If
    /// not, attach it again: what that costs until then is the database's affair.
    pub current: bool,
}

/// Whether it is done, or only shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Do it.
    Apply,
    /// Answer the statements that would do it.
    DryRun,
}

/// Attaches tables of the database that `url` names, all or none, and makes the
/// queue's tables there if need be; a table that is attached already gets the new
/// options. Answers the statements that did it.
///
/// # Errors
/// [`ErrorKind::Usage`] for what is no table, has no key, or lacks a column that is
/// named, and for a URL whose kind of database has no triggers; otherwise what the
/// database says.
pub async fn attach(
    url: &str,
    tables: &[String],
    options: &AttachOptions,
    mode: Mode,
) -> Result<Vec<String>> {
    match url.split_once(':') {
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => postgres::attach(url, tables, options, mode).await,
        #[cfg(feature = "mysql")]
        Some(("mysql" | "mariadb", _)) => mysql::attach(url, tables, options, mode).await,
        #[cfg(feature = "sqlite")]
        Some(("sqlite", path)) => sqlite::attach(path, tables, options, mode).await,
        _ => Err(no_triggers(url)),
    }
}

/// Detaches tables. Answers the statements that did it. What was captured stays.
///
/// # Errors
/// [`ErrorKind::Usage`] for a table that is not attached; otherwise as [`attach`].
pub async fn detach(url: &str, tables: &[String], mode: Mode) -> Result<Vec<String>> {
    match url.split_once(':') {
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => postgres::detach(url, tables, mode).await,
        #[cfg(feature = "mysql")]
        Some(("mysql" | "mariadb", _)) => mysql::detach(url, tables, mode).await,
        #[cfg(feature = "sqlite")]
        Some(("sqlite", path)) => sqlite::detach(path, tables, mode).await,
        _ => Err(no_triggers(url)),
    }
}

/// The attached tables, by name.
///
/// # Errors
/// As [`attach`].
pub async fn attached(url: &str) -> Result<Vec<Attached>> {
    match url.split_once(':') {
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => postgres::attached(url).await,
        #[cfg(feature = "mysql")]
        Some(("mysql" | "mariadb", _)) => mysql::attached(url).await,
        #[cfg(feature = "sqlite")]
        Some(("sqlite", path)) => sqlite::attached(path).await,
        _ => Err(no_triggers(url)),
    }
}

fn no_triggers(url: &str) -> Error {
    let doing = format!("attach tables of {}", without_secrets(url));
    Error::new(ErrorKind::Usage, doing, "there are no tables in it")
        .hint("name the application's database: postgres://…, mysql://… or sqlite:PATH")
}
