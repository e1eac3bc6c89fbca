//! Triggers on SQLite tables, row by row. They write whole events, with SQL that
//! every SQLite since 3.38 understands, whichever the application brings along.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{AttachOptions, Attached, Mode, Operation};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{PERSONAL_AFTER, PERSONAL_BEFORE, REDACTED};
use crate::sqlite::{self, Failure, Journal, Open};
use crate::transport::sqlite::prepare_queue;

/// The tables, and what came to them.
const SCHEMA: &str = include_str!("../../migrations/sqlite/capture_1.sql");
const SCHEMA_2: &str = include_str!("../../migrations/sqlite/capture_2.sql");

/// Bytes of a value that an event holds; longer ones are cut and marked.
const LONGEST: usize = 65_536;

/// One column of a table.
struct Column {
    name: String,
    /// Its place in the primary key, from 1; 0 if it is not in it.
    key: i64,
}

/// A table and how it is to be attached.
struct Table<'a> {
    name: String,
    entity_type: String,
    columns: Vec<Column>,
    options: &'a AttachOptions,
}

pub(super) async fn attach(
    path: &str,
    tables: &[String],
    options: &AttachOptions,
    mode: Mode,
) -> Result<Vec<String>> {
    let connection = open(path).await?;
    let (tables, options) = (tables.to_vec(), options.clone());
    let work = move |connection: &mut Connection| {
        change(connection, mode, |transaction, statements| {
            if !has_tables(transaction)? {
                transaction.execute_batch(SCHEMA)?;
            }
            if !has_personal(transaction)? {
                transaction.execute_batch(SCHEMA_2)?;
            }
            for name in &tables {
                let table = Table::find(transaction, name, &options)?;
                drop_triggers(transaction, &table.name, statements)?;
                for statement in table.triggers() {
                    transaction.execute_batch(&statement)?;
                    statements.push(statement);
                }
                table.remember(transaction)?;
            }
            Ok(())
        })
    };
    connection.call("attach tables of", work).await
}

pub(super) async fn detach(path: &str, tables: &[String], mode: Mode) -> Result<Vec<String>> {
    let connection = open(path).await?;
    let tables = tables.to_vec();
    let work = move |connection: &mut Connection| {
        change(connection, mode, |transaction, statements| {
            for name in &tables {
                let known = has_tables(transaction)?
                    && transaction.execute(
                        "DELETE FROM annals_attached WHERE name = ?1 COLLATE NOCASE",
                        [name],
                    )? > 0;
                if !known {
                    let doing = format!("detach {name}");
                    return Err(Error::new(ErrorKind::Usage, doing, "it is not attached")
                        .hint("`annals attach --list` shows which tables are")
                        .into());
                }
                drop_triggers(transaction, name, statements)?;
            }
            Ok(())
        })
    };
    connection.call("detach tables of", work).await
}

pub(super) async fn attached(path: &str) -> Result<Vec<Attached>> {
    let connection = open(path).await?;
    connection.call("list the attached tables of", |connection| list(connection)).await
}

fn list(connection: &Connection) -> Result<Vec<Attached>, Failure> {
    if !has_tables(connection)? {
        return Ok(Vec::new());
    }
    let personal = if has_personal(connection)? { "personal" } else { "'[]'" };
    let mut select = connection.prepare(&format!(
        "SELECT name, entity_type, excluded, redacted, operations, columns, {personal} \
         FROM annals_attached ORDER BY name",
    ))?;
    let mut rows = select.query([])?;
    let mut attached = Vec::new();
    let names = |text: String| serde_json::from_str(&text).unwrap_or_default();
    while let Some(row) = rows.next()? {
        let table: String = row.get(0)?;
        let columns = columns(connection, &table)?;
        if columns.is_empty() {
            // It was dropped, and its triggers with it.
            continue;
        }
        attached.push(Attached {
            current: row.get::<_, String>(5)? == names_of(&columns),
            table,
            entity_type: row.get(1)?,
            excluded: names(row.get(2)?),
            redacted: names(row.get(3)?),
            operations: names(row.get(4)?),
            personal: names(row.get(6)?),
        });
    }
    Ok(attached)
}

/// The application's database, which must be there, with the queue's tables.
async fn open(path: &str) -> Result<sqlite::Connection> {
    if path.is_empty() || !Path::new(path).exists() {
        let doing = format!("open sqlite:{path}");
        return Err(Error::new(ErrorKind::Usage, doing, "there is no such file")
            .hint("name the application's database: sqlite:PATH"));
    }
    let open =
        Open { path: PathBuf::from(path), what: "the tables", write: true, journal: Journal::Ours };
    sqlite::Connection::open(open, prepare_queue).await
}

/// Does something in a transaction, which is rolled back if it is only to be shown.
fn change(
    connection: &mut Connection,
    mode: Mode,
    work: impl FnOnce(&Transaction<'_>, &mut Vec<String>) -> Result<(), Failure>,
) -> Result<Vec<String>, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut statements = Vec::new();
    work(&transaction, &mut statements)?;
    match mode {
        Mode::Apply => transaction.commit()?,
        Mode::DryRun => transaction.rollback()?,
    }
    Ok(statements)
}

fn has_tables(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'annals_attached')",
        [],
        |row| row.get(0),
    )
}

/// Whether the tables are of version 2 or later.
fn has_personal(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM pragma_table_info('annals_attached') WHERE name = 'personal')",
        [],
        |row| row.get(0),
    )
}

fn drop_triggers(
    transaction: &Transaction<'_>,
    table: &str,
    statements: &mut Vec<String>,
) -> Result<(), Failure> {
    let mut select = transaction.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE \
         AND name LIKE 'annals\\_capture\\_%' ESCAPE '\\' ORDER BY name",
    )?;
    let names = select.query_map([table], |row| row.get::<_, String>(0))?;
    for name in names.collect::<rusqlite::Result<Vec<_>>>()? {
        let statement = format!("DROP TRIGGER {}", quoted(&name));
        transaction.execute_batch(&statement)?;
        statements.push(statement);
    }
    Ok(())
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Column>> {
    // Hidden ones belong to virtual tables; generated ones have values like others.
    let mut select = connection
        .prepare("SELECT name, pk FROM pragma_table_xinfo(?1) WHERE hidden <> 1 ORDER BY cid")?;
    let column = |row: &rusqlite::Row<'_>| Ok(Column { name: row.get(0)?, key: row.get(1)? });
    select.query_map([table], column)?.collect()
}

fn names_of(columns: &[Column]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    names.join(",")
}

impl<'a> Table<'a> {
    fn find(
        transaction: &Transaction<'_>,
        name: &str,
        options: &'a AttachOptions,
    ) -> Result<Self, Failure> {
        let refuse = |found: String, hint: &str| {
            Err(Error::new(ErrorKind::Usage, format!("attach {name}"), found).hint(hint).into())
        };
        let known: Option<(String, String)> = transaction
            .query_row(
                "SELECT name, type FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE \
                 AND type IN ('table', 'view')",
                [name],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let name = match known {
            None => return refuse("there is no such table".to_owned(), "check its name"),
            Some((_, kind)) if kind == "view" => {
                return refuse("it is a view".to_owned(), "attach the tables behind it");
            }
            Some((name, _)) if name.starts_with("annals_") => {
                return refuse(
                    "it belongs to annals".to_owned(),
                    "attach the tables of your application",
                );
            }
            Some((name, _)) => name,
        };
        let columns = columns(transaction, &name)?;
        if columns.iter().all(|column| column.key == 0) {
            return refuse(
                "it has no primary key, so that its rows cannot be told apart".to_owned(),
                "make it anew with one, such as id INTEGER PRIMARY KEY",
            );
        }
        for named in options.named() {
            match columns.iter().find(|column| column.name == *named) {
                None => {
                    let hint = format!("its columns are {}", names_of(&columns));
                    return refuse(format!("it has no column {named}"), &hint);
                }
                Some(column) if column.key > 0 => {
                    let found = format!("column {named} is in the key, which names the entity");
                    return refuse(found, "leave key columns in");
                }
                Some(_) => {}
            }
        }
        let entity_type = options.entity_type.clone().unwrap_or_else(|| name.clone());
        if entity_type.is_empty() || entity_type.contains(':') || entity_type.len() > 255 {
            return refuse(
                format!("the entity type {entity_type:?} is not 1 to 255 bytes without ':'"),
                "choose another with --entity-type",
            );
        }
        Ok(Self { name, entity_type, columns, options })
    }

    fn remember(&self, transaction: &Transaction<'_>) -> Result<(), Failure> {
        let list = |names: &[String]| serde_json::to_string(names).unwrap_or_default();
        let operations: Vec<String> =
            self.options.operations.iter().map(|operation| operation.as_str().to_owned()).collect();
        transaction.execute(
            "INSERT INTO annals_attached (name, entity_type, excluded, redacted, operations, columns, personal) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (name) DO UPDATE SET \
             (entity_type, excluded, redacted, operations, columns, personal) = (excluded.entity_type, \
             excluded.excluded, excluded.redacted, excluded.operations, excluded.columns, excluded.personal)",
            params![
                self.name,
                self.entity_type,
                list(&self.options.exclude),
                list(&self.options.redact),
                list(&operations),
                names_of(&self.columns),
                list(&self.options.personal)
            ],
        )?;
        Ok(())
    }

    /// The statements that make the triggers.
    fn triggers(&self) -> Vec<String> {
        self.options.operations.iter().map(|operation| self.trigger(*operation)).collect()
    }

    fn trigger(&self, operation: Operation) -> String {
        let name = format!("annals_capture_{}_{}", self.name, operation.as_str());
        let body = match operation {
            Operation::Insert => self.event("created", "NEW", None, Some(&self.all("NEW")), "1"),
            Operation::Delete => self.event("deleted", "OLD", Some(&self.all("OLD")), None, "1"),
            Operation::Update => {
                let moved =
                    self.keys().map(|key| differs(&key.name)).collect::<Vec<_>>().join(" OR ");
                let changed = self.shown().map(|column| differs(&column.name)).collect::<Vec<_>>();
                let changed = format!("NOT ({moved}) AND ({})", changed.join(" OR "));
                [
                    self.event("deleted", "OLD", Some(&self.all("OLD")), None, &moved),
                    self.event("created", "NEW", None, Some(&self.all("NEW")), &moved),
                    self.event(
                        "updated",
                        "NEW",
                        Some(&self.changed("OLD")),
                        Some(&self.changed("NEW")),
                        &changed,
                    ),
                ]
                .concat()
            }
        };
        format!(
            "CREATE TRIGGER {} AFTER {} ON {} BEGIN\n{body}END",
            quoted(&name),
            operation.as_str().to_uppercase(),
            quoted(&self.name)
        )
    }

    /// The columns that events show.
    fn shown(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !self.options.exclude.contains(&column.name))
    }

    /// The columns of the key, in its order.
    fn keys(&self) -> impl Iterator<Item = &Column> {
        let mut keys: Vec<&Column> = self.columns.iter().filter(|column| column.key > 0).collect();
        keys.sort_by_key(|column| column.key);
        keys.into_iter()
    }

    /// The fields of all values of a side, as SQL for a text.
    fn all(&self, side: &str) -> String {
        let field = |column: &Column| {
            format!("{} || {}", text(&format!("{}:", json(&column.name))), self.value(side, column))
        };
        self.shown().map(field).collect::<Vec<_>>().join(" || ',' || ")
    }

    /// The fields of the values of a side that changed, as SQL for a text.
    fn changed(&self, side: &str) -> String {
        let field = |column: &Column| {
            format!(
                "CASE WHEN {} THEN {} || {} ELSE '' END",
                differs(&column.name),
                text(&format!(",{}:", json(&column.name))),
                self.value(side, column)
            )
        };
        let fields: Vec<String> = self.shown().map(field).collect();
        format!("substr({}, 2)", fields.join(" || "))
    }

    /// A value as JSON, as SQL for a text.
    fn value(&self, side: &str, column: &Column) -> String {
        if self.options.redact.contains(&column.name) {
            return text(REDACTED);
        }
        let (before, after) = match self.options.personal.contains(&column.name) {
            true => (text(PERSONAL_BEFORE), text(PERSONAL_AFTER)),
            false => (text(""), text("")),
        };
        let value = format!("{side}.{}", quoted(&column.name));
        let cut = format!(
            "'{{\"$annals\":{{\"kind\":\"truncated\",\"length\":' || length(CAST({value} AS BLOB)) \
             || ',\"sha256\":\"\"}}}}'"
        );
        let half = LONGEST / 2;
        format!(
            "{before} || CASE WHEN typeof({value}) = 'blob' THEN CASE WHEN length({value}) > {half} THEN {cut} \
             ELSE json_quote('\\x' || lower(hex({value}))) END \
             WHEN typeof({value}) = 'text' AND length(CAST({value} AS BLOB)) > {LONGEST} THEN {cut} \
             WHEN {value} IN (9e999, -9e999) THEN CASE WHEN {value} > 0 THEN '\"Infinity\"' ELSE '\"-Infinity\"' END \
             ELSE json_quote({value}) END || {after}"
        )
    }

    /// The statement that enqueues one event, where `condition` holds.
    fn event(
        &self,
        action: &str,
        side: &str,
        old: Option<&str>,
        new: Option<&str>,
        condition: &str,
    ) -> String {
        let part = |column: &Column| {
            let value = format!("{side}.{}", quoted(&column.name));
            let part = format!(
                "CASE typeof({value}) WHEN 'blob' THEN '\\x' || lower(hex({value})) \
                 ELSE CAST({value} AS TEXT) END"
            );
            match self.keys().count() {
                1 => part,
                _ => format!("replace(replace({part}, '%', '%25'), ',', '%2C')"),
            }
        };
        let key = self.keys().map(part).collect::<Vec<_>>().join(" || ',' || ");
        let head = format!(
            "\",\"action\":\"{action}\",\"entity\":{{\"type\":{},\"id\":",
            json(&self.entity_type)
        );
        let values = |name: &str, fields: Option<&str>| match fields {
            Some(fields) => format!(" || ',\"{name}\":{{' || {fields} || '}}'"),
            None => String::new(),
        };
        let key = format!(
            "CASE WHEN length(CAST({key} AS BLOB)) > 255 \
             THEN substr({key}, 1, 50) || '~' || length({key}) ELSE {key} END"
        );
        // A statement's moment is one and the same wherever it asks for it.
        format!(
            "INSERT INTO annals_queue (seq, id, sent_at, body) SELECT \
             1 + max(coalesce((SELECT max(seq) FROM annals_queue), 0), (SELECT leased FROM annals_queue_head)), \
             x'', millis * 1000, CAST('{{\"id\":\"' || substr(hex, 1, 8) || '-' || substr(hex, 9, 4) || '-7' \
             || substr(dice, 1, 3) || '-' || substr('89ab', 1 + abs(random() % 4), 1) || substr(dice, 4, 3) \
             || '-' || substr(dice, 7, 12) || '\",\"occurred_at\":\"' || time || '000Z' || {} \
             || json_quote({key}) || '}}'{}{} \
             || coalesce((SELECT ',' || nullif(substr(told, 2, length(told) - 2), '') FROM annals_context \
                 WHERE until >= CAST(strftime('%s', 'now') AS INTEGER)), '') \
             || {} AS BLOB) \
             FROM (SELECT *, printf('%012x', millis) AS hex FROM (SELECT \
                 strftime('%Y-%m-%dT%H:%M:%f', 'now') AS time, \
                 CAST(strftime('%s', 'now') AS INTEGER) * 1000 + CAST(substr(strftime('%f', 'now'), 4, 3) AS INTEGER) AS millis, \
                 lower(hex(randomblob(9))) AS dice)) WHERE {condition};\n",
            text(&head),
            values("old_values", old),
            values("new_values", new),
            text(&format!(
                ",\"source\":\"sqlite\",\"metadata\":{{\"table\":{}}},\"version\":1}}",
                json(&self.name)
            )),
        )
    }
}

/// Whether a value is another than before: of another type, or of other bytes.
fn differs(column: &str) -> String {
    let column = quoted(column);
    format!(
        "(typeof(OLD.{column}) <> typeof(NEW.{column}) OR OLD.{column} IS NOT NEW.{column} COLLATE BINARY)"
    )
}

/// A name as SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL.
fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A text as JSON.
fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
