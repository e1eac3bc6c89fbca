//! The table in PostgreSQL.
//!
//! Rows are copied as text, so that the server reads each value as the type that its
//! column has, and names the line and the column of one that it cannot read.

use std::fmt;

use async_trait::async_trait;
use sqlx::postgres::{PgDatabaseError, PgRow};
use sqlx::{AssertSqlSafe, Row};
use tokio::sync::OnceCell;

use super::table::{Known, Older, Stopped, Table, missing};
use crate::error::{Error, ErrorKind, Result};
use crate::foreign::laravel::{AuditRow, COLUMNS};
use crate::postgres::{Failure, Pool, Server, number};

/// Bytes from which on rows are copied; see the same of [`crate::store::postgres`].
const COPIED: usize = 256 * 1024;

/// The place of that column among [`COLUMNS`].
const CREATED_AT: usize = COLUMNS.len() - 1;

/// The table in a PostgreSQL database.
pub(super) struct PostgresTable {
    server: Server,
    url: String,
    name: String,
    /// Its name and types as the server has them, once it was reached.
    found: OnceCell<Found>,
}

/// What the server says of the table.
#[derive(Clone, Debug)]
struct Found {
    /// Its name, quoted where that is needed.
    name: String,
    /// The types of [`COLUMNS`], without their lengths: a cast would cut a text that
    /// is too long, where an insert refuses it.
    types: Vec<String>,
}

/// What became of rows on the server.
enum Answer {
    Loaded,
    Taken,
    Refused { row: Option<usize>, why: String },
}

impl PostgresTable {
    pub(super) async fn open(url: &str, name: String, shown: String) -> Result<Self> {
        let server = Server::new(url, "the table", &[])?;
        let table = Self { server, url: shown, name, found: OnceCell::new() };
        match table.found().await {
            Err(error) if error.kind() != ErrorKind::Away => Err(error),
            _ => Ok(table),
        }
    }

    async fn found(&self) -> Result<&Found> {
        self.found
            .get_or_try_init(|| {
                let (url, name) = (self.url.clone(), self.name.clone());
                self.server.brief("look at", move |pool| look(pool, url, name))
            })
            .await
    }
}

/// Finds the table and the types of its columns.
async fn look(pool: Pool, url: String, name: String) -> std::result::Result<Found, Failure> {
    const TYPES: &str = "SELECT t.oid::regclass::text, a.attname::text, format_type(a.atttypid, NULL) \
         FROM (SELECT coalesce(to_regclass($1), to_regclass(quote_ident($1))) AS oid) AS t \
         JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped";
    let mut connection = pool.connect().await?;
    let ask = connection.row(TYPES).bind(name.clone());
    let columns: Vec<(String, String, String)> = ask.fetch_all(&mut *connection).await?;
    connection.commit().await?;
    let wrong = |what: String| Error::new(ErrorKind::Usage, format!("open {url}"), what);
    let Some((found, ..)) = columns.first() else {
        return Err(wrong(format!("there is no table {name} in the search path"))
            .hint("name it with &table=SCHEMA.TABLE; Laravel's migrations make it")
            .into());
    };
    let type_of = |column: &&str| columns.iter().find(|(_, name, _)| name == column);
    if let Some(missing) = missing(|column| type_of(&column).is_some()) {
        return Err(wrong(format!("the table {name} has no column {missing}")).into());
    }
    let types = COLUMNS.iter().filter_map(type_of).map(|(_, _, of)| of.clone()).collect();
    Ok(Found { name: found.clone(), types })
}

#[async_trait]
impl Table for PostgresTable {
    fn url(&self) -> &str {
        &self.url
    }

    async fn load(&self, rows: &[&AuditRow<'_>]) -> Result<(), Stopped> {
        let found = self.found().await?.clone();
        let bytes: usize = rows.iter().map(|row| row.bytes()).sum();
        let answer = match bytes < COPIED {
            true => {
                let columns = columns(rows);
                let insert = found.insert();
                self.server
                    .call("insert into", move |pool| insert_all(pool, insert, columns))
                    .await?
            }
            false => Answer::Refused { row: None, why: String::new() },
        };
        // Which row it was, the server says of a COPY only.
        let answer = match answer {
            Answer::Refused { .. } => {
                let (copy, lines) = (found.copy(), lines(rows));
                self.server.call("copy into", move |pool| copy_all(pool, copy, lines)).await?
            }
            answer => answer,
        };
        match answer {
            Answer::Loaded => Ok(()),
            Answer::Taken => Err(Stopped::Taken),
            Answer::Refused { row, why } => Err(Stopped::Refused { row, why }),
        }
    }

    async fn compare(&self, rows: &[&AuditRow<'_>]) -> Result<Vec<Known>> {
        let compare = self.found().await?.compare();
        let (columns, count) = (columns(rows), rows.len());
        self.server
            .call("look for rows in", move |pool| async move {
                let mut connection = pool.connect().await?;
                let mut ask = connection.query(AssertSqlSafe(compare));
                for column in columns {
                    ask = ask.bind(column);
                }
                let there: Vec<PgRow> = ask.fetch_all(&mut *connection).await?;
                connection.commit().await?;
                let mut known = vec![Known::New; count];
                for row in there {
                    let place = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0);
                    let same: bool = row.try_get(1)?;
                    if let Some(known) = place.checked_sub(1).and_then(|at| known.get_mut(at)) {
                        *known = if same { Known::Same } else { Known::Other };
                    }
                }
                Ok::<_, sqlx::Error>(known)
            })
            .await
    }

    async fn older_than(&self, time: String) -> Result<Older> {
        let found = self.found().await?;
        let ask = format!(
            "SELECT count(*), min(created_at)::text, max(created_at)::text FROM {} WHERE created_at < $1::text::{}",
            found.name, found.types[CREATED_AT],
        );
        self.server
            .call("look for old rows in", move |pool| async move {
                let mut connection = pool.connect().await?;
                let ask = connection.query(AssertSqlSafe(ask)).bind(time);
                let row = ask.fetch_one(&mut *connection).await?;
                connection.commit().await?;
                let (first, last): (Option<String>, Option<String>) =
                    (row.try_get(1)?, row.try_get(2)?);
                let rows = row.try_get::<i64, _>(0)?.unsigned_abs();
                Ok::<_, sqlx::Error>(Older { rows, span: first.zip(last) })
            })
            .await
    }

    async fn remove(&self, time: String, limit: usize) -> Result<u64> {
        let found = self.found().await?;
        let (name, of) = (&found.name, &found.types[CREATED_AT]);
        // Who also prunes has those rows: the next step finds others.
        let delete = format!(
            "DELETE FROM {name} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {name} \
             WHERE created_at < $1::text::{of} ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))"
        );
        self.server
            .brief("remove old rows from", move |pool| async move {
                let mut connection = pool.connect().await?;
                let delete =
                    connection.query(AssertSqlSafe(delete)).bind(time).bind(number(limit as u64));
                let removed = delete.execute(&mut *connection).await?.rows_affected();
                connection.commit().await?;
                Ok::<_, sqlx::Error>(removed)
            })
            .await
    }
}

impl Found {
    fn columns() -> String {
        COLUMNS.map(|name| format!("\"{name}\"")).join(", ")
    }

    /// The values `v` of `$1` to `$11`, arrays of texts.
    fn values() -> String {
        let arrays: Vec<String> =
            (1..=COLUMNS.len()).map(|number| format!("${number}::text[]")).collect();
        format!("unnest({}) WITH ORDINALITY AS v ({}, place)", arrays.join(", "), Self::columns())
    }

    fn insert(&self) -> String {
        let cast = |(name, of): (&str, &String)| format!("v.\"{name}\"::{of}");
        let cast: Vec<String> = COLUMNS.into_iter().zip(&self.types).map(cast).collect();
        let (name, columns, values) = (&self.name, Self::columns(), Self::values());
        format!(
            "INSERT INTO {name} ({columns}) SELECT {} FROM {values} ORDER BY place",
            cast.join(", ")
        )
    }

    fn copy(&self) -> String {
        format!("COPY {} ({}) FROM STDIN", self.name, Self::columns())
    }

    /// As text, since not every type can be compared.
    fn compare(&self) -> String {
        let same = |(name, of): (&str, &String)| {
            format!("a.\"{name}\"::text IS NOT DISTINCT FROM v.\"{name}\"::{of}::text")
        };
        let same: Vec<String> = COLUMNS.into_iter().zip(&self.types).map(same).collect();
        let (id, name, values) = (&self.types[0], &self.name, Self::values());
        format!(
            "SELECT v.place, {} FROM {values} JOIN {name} a ON a.id = v.id::{id}",
            same.join(" AND ")
        )
    }
}

async fn insert_all(
    pool: Pool,
    insert: String,
    columns: Vec<Vec<Option<String>>>,
) -> sqlx::Result<Answer> {
    let mut connection = pool.connect().await?;
    let mut statement = connection.query(AssertSqlSafe(insert));
    for column in columns {
        statement = statement.bind(column);
    }
    if let Err(error) = statement.execute(&mut *connection).await {
        let answer = answer(error)?;
        connection.rollback().await?;
        return Ok(answer);
    }
    connection.commit().await?;
    Ok(Answer::Loaded)
}

async fn copy_all(pool: Pool, copy: String, lines: Vec<u8>) -> sqlx::Result<Answer> {
    let mut connection = pool.connect().await?;
    let copied = async {
        let mut copy = connection.copy_in_raw(&copy).await?;
        copy.send(lines).await?;
        copy.finish().await
    };
    if let Err(error) = copied.await {
        let answer = answer(error)?;
        connection.rollback().await?;
        return Ok(answer);
    }
    connection.commit().await?;
    Ok(Answer::Loaded)
}

/// What an error says of the rows.
///
/// # Errors
/// The error, if no row is to blame.
fn answer(error: sqlx::Error) -> sqlx::Result<Answer> {
    let Some(found) =
        error.as_database_error().and_then(|found| found.try_downcast_ref::<PgDatabaseError>())
    else {
        return Err(error);
    };
    match (found.code(), found.code().get(..2).unwrap_or_default()) {
        // unique_violation
        ("23505", _) => Ok(Answer::Taken),
        (_, "22" | "23" | "54") => {
            // "COPY audits, line 3, column url: …"
            let place = found.r#where().unwrap_or_default();
            let number = place.split(", line ").nth(1).and_then(|rest| {
                rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse::<usize>().ok()
            });
            let column = place.split(", column ").nth(1).and_then(|rest| rest.split(':').next());
            let column = column.map(|name| format!(", column {name}")).unwrap_or_default();
            let why = format!("{} (SQLSTATE {}{column})", found.message(), found.code());
            Ok(Answer::Refused { row: number.and_then(|line| line.checked_sub(1)), why })
        }
        _ => Err(error),
    }
}

/// The rows as arrays, one for each column.
fn columns(rows: &[&AuditRow<'_>]) -> Vec<Vec<Option<String>>> {
    let column =
        |index: usize| rows.iter().map(|row| row.0[index].as_deref().map(str::to_owned)).collect();
    (0..COLUMNS.len()).map(column).collect()
}

/// The rows in the text format of COPY (PostgreSQL's documentation of that statement).
fn lines(rows: &[&AuditRow<'_>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.iter().map(|row| row.bytes() + 64).sum());
    for row in rows {
        for (index, value) in row.0.iter().enumerate() {
            if index > 0 {
                out.push(b'\t');
            }
            match value {
                None => out.extend_from_slice(b"\\N"),
                Some(text) => escape(text.as_bytes(), &mut out),
            }
        }
        out.push(b'\n');
    }
    out
}

fn escape(text: &[u8], out: &mut Vec<u8>) {
    let mut plain = 0;
    for (at, byte) in text.iter().enumerate() {
        let escaped = match byte {
            b'\\' => b'\\',
            b'\t' => b't',
            b'\n' => b'n',
            b'\r' => b'r',
            _ => continue,
        };
        out.extend_from_slice(&text[plain..at]);
        out.extend_from_slice(&[b'\\', escaped]);
        plain = at + 1;
    }
    out.extend_from_slice(&text[plain..]);
}

impl fmt::Debug for PostgresTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresTable").field("url", &self.url).finish_non_exhaustive()
    }
}
