//! The table in SQLite.

use std::path::PathBuf;

use async_trait::async_trait;
use rusqlite::ffi::{
    SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_ROWID, SQLITE_CONSTRAINT_UNIQUE,
};
use rusqlite::{ErrorCode, OptionalExtension, TransactionBehavior, params_from_iter};

use super::table::{Known, Older, Stopped, Table, Texts, missing, texts};
use crate::error::{Error, ErrorKind, Result};
use crate::foreign::laravel::{AuditRow, COLUMNS};
use crate::sqlite::{Connection, Failure, Journal, Open};

/// The table in an application's SQLite database.
#[derive(Debug)]
pub(super) struct SqliteTable {
    connection: Connection,
    name: String,
}

impl SqliteTable {
    pub(super) async fn open(path: &str, name: String) -> Result<Self> {
        let open = Open {
            path: PathBuf::from(path),
            what: "the table",
            write: false,
            journal: Journal::TheirOwn,
        };
        let wanted = name.clone();
        let connection =
            Connection::open(open, move |connection| look(connection, &wanted)).await?;
        Ok(Self { connection, name })
    }
}

/// Sees to it that the table is there, with its columns.
fn look(connection: &mut rusqlite::Connection, name: &str) -> Result<()> {
    let wrong = |what: String| Error::new(ErrorKind::Usage, format!("open the table {name}"), what);
    let explain = |error| crate::sqlite::explain(format!("open the table {name}"), error);
    let mut ask = connection.prepare("SELECT name FROM pragma_table_info(?1)").map_err(explain)?;
    let columns: Vec<String> =
        ask.query_map([name], |row| row.get(0)).and_then(Iterator::collect).map_err(explain)?;
    let has = |column: &str| columns.iter().any(|known| known.eq_ignore_ascii_case(column));
    match (columns.as_slice(), missing(has)) {
        ([], _) => Err(wrong("there is no such table".to_owned())
            .hint("name it with &table=NAME; Laravel's migrations make it")),
        (_, None) => Ok(()),
        (_, Some(missing)) => Err(wrong(format!("it has no column {missing}"))),
    }
}

#[async_trait]
impl Table for SqliteTable {
    fn url(&self) -> &str {
        self.connection.url()
    }

    async fn load(&self, rows: &[&AuditRow<'_>]) -> Result<(), Stopped> {
        let (insert, rows) = (insert(&self.name), texts(rows));
        let work =
            move |connection: &mut rusqlite::Connection| insert_all(connection, &insert, &rows);
        match self.connection.call("insert into", work).await? {
            None => Ok(()),
            Some(stopped) => Err(stopped),
        }
    }

    async fn compare(&self, rows: &[&AuditRow<'_>]) -> Result<Vec<Known>> {
        let (compare, rows) = (compare(&self.name), texts(rows));
        let work = move |connection: &mut rusqlite::Connection| {
            let mut ask = connection.prepare_cached(&compare)?;
            let mut known = Vec::with_capacity(rows.len());
            for row in &rows {
                let same = ask.query_row(params_from_iter(row), |row| row.get::<_, bool>(0));
                known.push(match same.optional()? {
                    None => Known::New,
                    Some(true) => Known::Same,
                    Some(false) => Known::Other,
                });
            }
            Ok(known)
        };
        self.connection.call("look for rows in", work).await
    }

    async fn older_than(&self, time: String) -> Result<Older> {
        let ask = format!(
            "SELECT count(*), min(\"created_at\"), max(\"created_at\") FROM {} WHERE \"created_at\" < ?1",
            quoted(&self.name)
        );
        let work = move |connection: &mut rusqlite::Connection| {
            Ok(connection.query_row(&ask, [time], |row| {
                let (first, last): (Option<String>, Option<String>) = (row.get(1)?, row.get(2)?);
                Ok(Older { rows: row.get(0)?, span: first.zip(last) })
            })?)
        };
        self.connection.call("look for old rows in", work).await
    }

    async fn remove(&self, time: String, limit: usize) -> Result<u64> {
        let table = quoted(&self.name);
        let delete = format!(
            "DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE \"created_at\" < ?1 \
             ORDER BY \"created_at\" LIMIT ?2)"
        );
        let work = move |connection: &mut rusqlite::Connection| {
            Ok(connection.execute(&delete, (time, limit))? as u64)
        };
        self.connection.call("remove old rows from", work).await
    }
}

/// Inserts all rows, or none and says why.
fn insert_all(
    connection: &mut rusqlite::Connection,
    insert: &str,
    rows: &[Texts],
) -> Result<Option<Stopped>, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut statement = transaction.prepare_cached(insert)?;
        for (index, row) in rows.iter().enumerate() {
            if let Err(error) = statement.execute(params_from_iter(row)) {
                return match blame(&error, index) {
                    Some(stopped) => Ok(Some(stopped)),
                    None => Err(error.into()),
                };
            }
        }
    }
    transaction.commit()?;
    Ok(None)
}

/// What an error says of the row; `None` if it is not the row's.
fn blame(error: &rusqlite::Error, row: usize) -> Option<Stopped> {
    let rusqlite::Error::SqliteFailure(found, why) = error else { return None };
    const TAKEN: [i32; 3] =
        [SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE, SQLITE_CONSTRAINT_ROWID];
    let why = why.clone().unwrap_or_else(|| error.to_string());
    match found.code {
        _ if TAKEN.contains(&found.extended_code) => Some(Stopped::Taken),
        ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch => {
            Some(Stopped::Refused { row: Some(row), why })
        }
        _ => None,
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn insert(table: &str) -> String {
    let places = vec!["?"; COLUMNS.len()].join(", ");
    let columns = COLUMNS.map(quoted).join(", ");
    format!("INSERT INTO {} ({columns}) VALUES ({places})", quoted(table))
}

/// Answers whether the row with that id is the same.
fn compare(table: &str) -> String {
    let same: Vec<String> = COLUMNS
        .into_iter()
        .enumerate()
        .map(|(index, name)| format!("{} IS ?{}", quoted(name), index + 1))
        .collect();
    format!("SELECT {} FROM {} WHERE \"id\" = ?1", same.join(" AND "), quoted(table))
}
