//! The table in MariaDB and MySQL.

use std::fmt;

use async_trait::async_trait;
use sqlx::mysql::{MySqlArguments, MySqlDatabaseError};
use sqlx::{Arguments, AssertSqlSafe};
use tokio::sync::OnceCell;

use super::table::{Known, Older, Stopped, Table, Texts, missing, texts};
use crate::error::{Error, ErrorKind, Result};
use crate::foreign::laravel::{AuditRow, COLUMNS};
use crate::mysql::{Failure, Pool, Server};

/// Rows of one statement, at most: a statement has at most 65,535 values.
const ROWS: usize = 65_535 / COLUMNS.len();

/// Statements of so many rows, or of a multiple, are kept prepared; others come once.
const KEPT: usize = 100;

/// The table in a MariaDB or MySQL database.
pub(super) struct MysqlTable {
    server: Server,
    url: String,
    name: String,
    /// Which of [`COLUMNS`] MySQL keeps as parsed JSON, once it was reached.
    json: OnceCell<Vec<bool>>,
}

/// What became of rows on the server.
enum Answer {
    Loaded,
    Taken,
    Refused { row: Option<usize>, why: String },
}

impl MysqlTable {
    pub(super) async fn open(url: &str, name: String, shown: String) -> Result<Self> {
        let server = Server::new(url, "the table")?;
        let table = Self { server, url: shown, name, json: OnceCell::new() };
        match table.json().await {
            Err(error) if error.kind() != ErrorKind::Away => Err(error),
            _ => Ok(table),
        }
    }

    async fn json(&self) -> Result<&Vec<bool>> {
        self.json
            .get_or_try_init(|| {
                let (url, name) = (self.url.clone(), self.name.clone());
                self.server.brief("look at", move |pool| look(pool, url, name))
            })
            .await
    }

    /// Its name, quoted.
    fn table(&self) -> String {
        self.name.split('.').map(quoted).collect::<Vec<_>>().join(".")
    }
}

/// Finds the table and the types of its columns.
async fn look(pool: Pool, url: String, name: String) -> std::result::Result<Vec<bool>, Failure> {
    const TYPES: &str = "SELECT CAST(column_name AS CHAR), CAST(data_type AS CHAR) \
         FROM information_schema.columns \
         WHERE table_name = ? AND table_schema = coalesce(?, database())";
    let (schema, table) = match name.split_once('.') {
        Some((schema, table)) => (Some(schema.to_owned()), table.to_owned()),
        None => (None, name.clone()),
    };
    let mut connection = pool.connect().await?;
    let ask = connection.row(TYPES).bind(table).bind(schema);
    let columns: Vec<(String, String)> = ask.fetch_all(&mut *connection).await?;
    connection.commit().await?;
    let wrong = |what: String| Error::new(ErrorKind::Usage, format!("open {url}"), what);
    if columns.is_empty() {
        return Err(wrong(format!("there is no table {name}"))
            .hint("name it with &table=NAME; Laravel's migrations make it")
            .into());
    }
    let type_of = |column: &&str| {
        columns.iter().find(|(name, _)| name.eq_ignore_ascii_case(column)).map(|(_, of)| of)
    };
    if let Some(missing) = missing(|column| type_of(&column).is_some()) {
        return Err(wrong(format!("the table {name} has no column {missing}")).into());
    }
    let is_json = |of: &String| of.eq_ignore_ascii_case("json");
    Ok(COLUMNS.iter().filter_map(type_of).map(is_json).collect())
}

#[async_trait]
impl Table for MysqlTable {
    fn url(&self) -> &str {
        &self.url
    }

    async fn load(&self, rows: &[&AuditRow<'_>]) -> Result<(), Stopped> {
        self.json().await?;
        let (table, rows) = (self.table(), texts(rows));
        let work = move |pool| insert_all(pool, table, rows);
        match self.server.call("insert into", work).await? {
            Answer::Loaded => Ok(()),
            Answer::Taken => Err(Stopped::Taken),
            Answer::Refused { row, why } => Err(Stopped::Refused { row, why }),
        }
    }

    async fn compare(&self, rows: &[&AuditRow<'_>]) -> Result<Vec<Known>> {
        let compare = compare(&self.table(), self.json().await?);
        let rows = texts(rows);
        self.server
            .call("look for rows in", move |pool| async move {
                let mut connection = pool.connect().await?;
                let mut known = Vec::with_capacity(rows.len());
                for row in rows {
                    let mut ask = connection.scalar(AssertSqlSafe(compare.clone()));
                    let id = row[0].clone();
                    for value in row {
                        ask = ask.bind(value);
                    }
                    let same: Option<i64> = ask.bind(id).fetch_optional(&mut *connection).await?;
                    known.push(match same {
                        None => Known::New,
                        Some(0) => Known::Other,
                        Some(_) => Known::Same,
                    });
                }
                connection.commit().await?;
                Ok::<_, sqlx::Error>(known)
            })
            .await
    }

    async fn older_than(&self, time: String) -> Result<Older> {
        let ask = format!(
            "SELECT count(*), CAST(min(created_at) AS CHAR), CAST(max(created_at) AS CHAR) \
             FROM {} WHERE created_at < ?",
            self.table()
        );
        self.server
            .call("look for old rows in", move |pool| async move {
                let mut connection = pool.connect().await?;
                let ask = connection.row(AssertSqlSafe(ask)).bind(time);
                let (rows, first, last): (i64, Option<String>, Option<String>) =
                    ask.fetch_one(&mut *connection).await?;
                connection.commit().await?;
                Ok::<_, sqlx::Error>(Older { rows: rows.unsigned_abs(), span: first.zip(last) })
            })
            .await
    }

    async fn remove(&self, time: String, limit: usize) -> Result<u64> {
        let delete = format!(
            "DELETE FROM {} WHERE created_at < ? ORDER BY created_at LIMIT ?",
            self.table()
        );
        self.server
            .brief("remove old rows from", move |pool| async move {
                let mut connection = pool.connect().await?;
                let delete = connection.query(AssertSqlSafe(delete)).bind(time).bind(limit as u64);
                let removed = delete.execute(&mut *connection).await?.rows_affected();
                connection.commit().await?;
                Ok::<_, sqlx::Error>(removed)
            })
            .await
    }
}

/// Inserts all rows, or none and says why.
async fn insert_all(
    pool: Pool,
    table: String,
    rows: Vec<Texts>,
) -> std::result::Result<Answer, Failure> {
    let parts = rows.chunks(ROWS);
    let one = parts.len() == 1;
    let mut connection = match one {
        true => pool.connect().await?,
        false => pool.begin("BEGIN").await?,
    };
    let mut before = 0;
    for part in parts {
        let mut values = MySqlArguments::default();
        for value in part.iter().flatten() {
            values.add(value.as_deref()).map_err(sqlx::Error::Encode)?;
        }
        let statement = sqlx::query_with(AssertSqlSafe(insert(&table, part.len())), values)
            .persistent(part.len().is_multiple_of(KEPT));
        if let Err(error) = statement.execute(&mut *connection).await {
            let answer = answer(error, before)?;
            match one {
                true => connection.commit().await?,
                false => connection.rollback().await?,
            }
            return Ok(answer);
        }
        before += part.len();
    }
    connection.commit().await?;
    Ok(Answer::Loaded)
}

/// What an error says of the rows, of which so many stood in statements before.
///
/// # Errors
/// The error, if no row is to blame.
fn answer(error: sqlx::Error, before: usize) -> sqlx::Result<Answer> {
    let Some(found) =
        error.as_database_error().and_then(|found| found.try_downcast_ref::<MySqlDatabaseError>())
    else {
        return Err(error);
    };
    match (found.number(), found.code().and_then(|state| state.get(..2)).unwrap_or_default()) {
        (1062, _) => Ok(Answer::Taken),
        // A null, a value that does not fit, a text too long, a check that fails.
        (1048 | 1264 | 1265 | 1292 | 1366 | 1406 | 3140 | 3819 | 4025, _) | (_, "22") => {
            let row = found.message().rsplit_once(" at row ").and_then(|(_, row)| row.parse().ok());
            let row = row.and_then(|row: usize| row.checked_sub(1)).map(|row| before + row);
            // Its number is another each time.
            let what =
                found.message().rsplit_once(" at row ").map_or(found.message(), |(what, _)| what);
            Ok(Answer::Refused { row, why: format!("{what} (error {})", found.number()) })
        }
        _ => Err(error),
    }
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn insert(table: &str, rows: usize) -> String {
    let columns = COLUMNS.map(quoted).join(", ");
    let row = format!("({})", vec!["?"; COLUMNS.len()].join(","));
    format!("INSERT INTO {table} ({columns}) VALUES {}", vec![row; rows].join(","))
}

/// Answers 1 if the row with that id is the same, byte for byte.
fn compare(table: &str, json: &[bool]) -> String {
    let same = |(name, json): (&str, &bool)| match json {
        true => format!("{} <=> CAST(? AS JSON)", quoted(name)),
        false => format!(
            "CAST({} AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin \
             <=> CAST(? AS CHAR CHARACTER SET utf8mb4)",
            quoted(name)
        ),
    };
    let same: Vec<String> = COLUMNS.into_iter().zip(json).map(same).collect();
    format!("SELECT CAST({} AS SIGNED) FROM {table} WHERE `id` = ?", same.join(" AND "))
}

impl fmt::Debug for MysqlTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlTable").field("url", &self.url).finish_non_exhaustive()
    }
}
