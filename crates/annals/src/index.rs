//! Audit indexes on an application's own tables: who created and who last changed
//! which rows, newest first, without reading the whole table.
//!
//! For tables that keep such columns themselves. The trail needs none of them.

#[cfg(feature = "postgres")]
mod postgres;

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::url::without_secrets;

/// The columns that tell of a table's rows who and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditColumns {
    /// Who made a row.
    pub created_by: String,
    /// When it was made.
    pub created_at: String,
    /// Who changed it last.
    pub updated_by: String,
    /// When it was changed last.
    pub updated_at: String,
}

impl Default for AuditColumns {
    fn default() -> Self {
        Self {
            created_by: "created_by_id".to_owned(),
            created_at: "created_at".to_owned(),
            updated_by: "updated_by_id".to_owned(),
            updated_at: "updated_at".to_owned(),
        }
    }
}

/// What is to be done, or was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The table's name.
    pub table: String,
    /// The index's name.
    pub index: String,
    /// What of it was there, or why there is none to be.
    pub state: State,
    /// The statements that make it; none if it is there.
    pub statements: Vec<String>,
}

/// What became of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It was not there.
    Missing,
    /// A build that was cut short left it behind, of no use.
    Broken,
    /// It is there.
    Present,
    /// The table lacks these columns.
    NoColumns(Vec<String>),
}

/// An audit index as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditIndex {
    /// The table's name.
    pub table: String,
    /// The index's name.
    pub index: String,
    /// Its columns, as SQL.
    pub columns: String,
    /// Whether queries can use it.
    pub valid: bool,
    /// Bytes that it occupies.
    pub bytes: u64,
    /// Scans since the server's statistics began.
    pub scans: u64,
}

/// What an index is good for: the same query with and without it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explained {
    /// The table's name.
    pub table: String,
    /// The index's name.
    pub index: String,
    /// The query: one person's newest 50 rows.
    pub query: String,
    /// Whether the planner uses the index for it.
    pub used: bool,
    /// Milliseconds as planned.
    pub with_ms: f64,
    /// Milliseconds without any index.
    pub without_ms: f64,
    /// The server's plan.
    pub plan: String,
}

/// Plans the indexes of these tables, one for each pair of columns, without
/// changing anything.
///
/// # Errors
/// [`ErrorKind::Usage`] for what is no table, or has none of the columns, or where
/// other columns are indexed under the same name; otherwise what the database says.
pub async fn plan(url: &str, tables: &[String], columns: &AuditColumns) -> Result<Vec<Step>> {
    match url.split_once(':') {
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => postgres::plan(url, tables, columns).await,
        _ => Err(no_server(url)),
    }
}

/// Does what was planned, without holding up those who write into the tables.
///
/// # Errors
/// What the database says; running it again goes on.
pub async fn build(url: &str, step: &Step) -> Result<()> {
    match url.split_once(':') {
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => postgres::build(url, step).await,
        _ => Err(no_server(url)),
    }
}

/// The audit indexes of the database, by table.
///
/// # Errors
/// What the database says.
pub async fn list(url: &str) -> Result<Vec<AuditIndex>> {
    match url.split_once(':') {
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => postgres::list(url).await,
        _ => Err(no_server(url)),
    }
}

/// Runs the query that an index is for, with and without it.
///
/// # Errors
/// What the database says.
pub async fn explain(url: &str, step: &Step) -> Result<Option<Explained>> {
    match url.split_once(':') {
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => postgres::explain(url, step).await,
        _ => Err(no_server(url)),
    }
}

fn no_server(url: &str) -> Error {
    let doing = format!("index tables of {}", without_secrets(url));
    Error::new(ErrorKind::Usage, doing, "it is no PostgreSQL database")
        .hint("name the application's database: --database postgres://…")
}
