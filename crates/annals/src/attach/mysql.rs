//! Triggers on tables of MariaDB and MySQL, row by row, which is the only kind that
//! these servers have.
//!
//! They commit at each statement that makes or drops a trigger. So everything is looked
//! at before the first is made: what is refused changes nothing, and what is cut short
//! is done again by attaching again.

mod trigger;

use sqlx::{AssertSqlSafe, Executor, Row};

use super::{AttachOptions, Attached, Mode};
use crate::error::{Error, ErrorKind, Result};
use crate::mysql::schema::Schema;
use crate::mysql::{Connection, Failure, Pool, Server};
use crate::transport::mysql::QUEUE;
use trigger::{Column, Table, quoted};

static SCHEMA: Schema = Schema {
    marker: "annals_capture_head",
    version: "SELECT version FROM annals_capture_head",
    migrations: &[
        include_str!("../../migrations/mysql/capture_1.sql"),
        include_str!("../../migrations/mysql/capture_2.sql"),
    ],
};

const WHAT: &str = "the tables of";

pub(super) async fn attach(
    url: &str,
    tables: &[String],
    options: &AttachOptions,
    mode: Mode,
) -> Result<Vec<String>> {
    let server = Server::new(url, WHAT)?;
    match mode {
        Mode::DryRun => server.check().await?,
        Mode::Apply => {
            for schema in [&QUEUE, &SCHEMA] {
                schema.prepare(&server).await?;
            }
        }
    }
    let (tables, options) = (tables.to_vec(), options.clone());
    let work = move |pool: Pool| async move {
        let mut connection = pool.connect().await?;
        let mut statements = Vec::new();
        let mut remembered = Vec::new();
        for name in &tables {
            let table = find(&mut connection, name, &options).await?;
            statements.extend(drops(&mut connection, &table.name).await?);
            statements.extend(table.triggers());
            remembered.push(table);
        }
        if mode == Mode::Apply {
            for statement in &statements {
                connection.execute(sqlx::raw_sql(AssertSqlSafe(statement.as_str()))).await?;
            }
            for table in &remembered {
                remember(&mut connection, table).await?;
            }
        }
        connection.commit().await?;
        Ok::<_, Failure>(statements)
    };
    server.call("attach the tables of", work).await
}

pub(super) async fn detach(url: &str, tables: &[String], mode: Mode) -> Result<Vec<String>> {
    let server = Server::new(url, WHAT)?;
    SCHEMA.expect(&server).await?;
    let tables = tables.to_vec();
    let work = move |pool: Pool| async move {
        let mut connection = pool.connect().await?;
        let mut statements = Vec::new();
        for name in &tables {
            let known = "SELECT EXISTS (SELECT 1 FROM annals_attached WHERE name = ?)";
            let known: bool =
                connection.scalar(known).bind(name).fetch_one(&mut *connection).await?;
            if !known {
                let doing = format!("detach {name}");
                return Err(Error::new(ErrorKind::Usage, doing, "it is not attached")
                    .hint("`annals attach --list` shows which tables are")
                    .into());
            }
            statements.extend(drops(&mut connection, name).await?);
        }
        if mode == Mode::Apply {
            for statement in &statements {
                connection.execute(sqlx::raw_sql(AssertSqlSafe(statement.as_str()))).await?;
            }
            for name in &tables {
                let forget = connection.query("DELETE FROM annals_attached WHERE name = ?");
                forget.bind(name).execute(&mut *connection).await?;
            }
        }
        connection.commit().await?;
        Ok::<_, Failure>(statements)
    };
    server.call("detach the tables of", work).await
}

pub(super) async fn attached(url: &str) -> Result<Vec<Attached>> {
    const LIST: &str = "SELECT name, entity_type, excluded, redacted, operations, columns, personal \
         FROM annals_attached ORDER BY name";
    // Tables of version 1 know of no personal columns.
    const LIST_1: &str = "SELECT name, entity_type, excluded, redacted, operations, columns, '[]' \
         FROM annals_attached ORDER BY name";
    let server = Server::new(url, WHAT)?;
    server.check().await?;
    let list = |pool: Pool| async move {
        let mut connection = pool.connect().await?;
        let mut attached = Vec::new();
        if let Some(version) = SCHEMA.found(&mut connection).await? {
            let list = if version == 1 { LIST_1 } else { LIST };
            for row in connection.query(list).fetch_all(&mut *connection).await? {
                let table: String = row.try_get(0)?;
                let columns = columns(&mut connection, &table).await?;
                if columns.is_empty() {
                    // It was dropped, and its triggers with it.
                    continue;
                }
                let names = |text: String| serde_json::from_str(&text).unwrap_or_default();
                attached.push(Attached {
                    table,
                    entity_type: row.try_get(1)?,
                    excluded: names(row.try_get(2)?),
                    redacted: names(row.try_get(3)?),
                    operations: names(row.try_get(4)?),
                    current: row.try_get::<String, _>(5)? == names_of(&columns),
                    personal: names(row.try_get(6)?),
                });
            }
        }
        connection.commit().await?;
        Ok::<_, Failure>(attached)
    };
    server.call("list the attached tables of", list).await
}

/// The columns of a table, none if there is no such table; with their places in the key
/// that tells its rows apart.
async fn columns(connection: &mut Connection, table: &str) -> Result<Vec<Column>, Failure> {
    const COLUMNS: &str = "SELECT CONVERT(column_name USING utf8mb4), \
             CONVERT(LOWER(data_type) USING utf8mb4), CONVERT(LOWER(column_type) USING utf8mb4) \
         FROM information_schema.columns \
         WHERE table_schema = DATABASE() AND table_name = ? ORDER BY ordinal_position";
    // The primary key, else the first unique index that can hold no null.
    const KEY: &str = "SELECT CONVERT(s.column_name USING utf8mb4) FROM information_schema.statistics s \
         JOIN (SELECT index_name FROM information_schema.statistics \
             WHERE table_schema = DATABASE() AND table_name = ? AND non_unique = 0 \
             GROUP BY index_name HAVING MAX(nullable = 'YES') = 0 AND MAX(sub_part IS NOT NULL) = 0 \
             ORDER BY index_name <> 'PRIMARY', index_name LIMIT 1) k ON k.index_name = s.index_name \
         WHERE s.table_schema = DATABASE() AND s.table_name = ? ORDER BY s.seq_in_index";
    let mut columns = Vec::new();
    let look = connection.query(COLUMNS).bind(table);
    for row in look.fetch_all(&mut **connection).await? {
        let (name, kind, whole) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        columns.push(Column { name, kind, whole, key: None });
    }
    let look = connection.scalar(KEY).bind(table).bind(table);
    let key: Vec<String> = look.fetch_all(&mut **connection).await?;
    for column in &mut columns {
        column.key = key.iter().position(|name| *name == column.name);
    }
    Ok(columns)
}

fn names_of(columns: &[Column]) -> String {
    let names: Vec<String> =
        columns.iter().map(|column| format!("{} {}", column.name, column.whole)).collect();
    names.join(",")
}

/// A table that can be attached like this.
async fn find(
    connection: &mut Connection,
    name: &str,
    options: &AttachOptions,
) -> Result<Table, Failure> {
    const KIND: &str = "SELECT CONVERT(table_name USING utf8mb4), CONVERT(table_type USING utf8mb4), \
         CONVERT(COALESCE(engine, '') USING utf8mb4) FROM information_schema.tables \
         WHERE table_schema = DATABASE() AND table_name = ?";
    let refuse = |found: String, hint: &str| {
        Err(Error::new(ErrorKind::Usage, format!("attach {name}"), found).hint(hint).into())
    };
    let look = connection.row(KIND).bind(name);
    let known: Option<(String, String, String)> = look.fetch_optional(&mut **connection).await?;
    let Some((table, kind, engine)) = known else {
        return refuse(
            "there is no such table".to_owned(),
            "check its name and the URL's database",
        );
    };
    if kind.contains("VIEW") {
        return refuse("it is a view".to_owned(), "attach the tables behind it");
    }
    if table.starts_with("annals_") {
        return refuse("it belongs to annals".to_owned(), "attach the tables of your application");
    }
    if !engine.eq_ignore_ascii_case("innodb") {
        let found = format!("its engine is {engine}, which has no transactions");
        return refuse(found, "make it InnoDB: ALTER TABLE … ENGINE = InnoDB");
    }
    let columns = columns(connection, &table).await?;
    if columns.iter().all(|column| column.key.is_none()) {
        return refuse(
            "it has no primary key and no unique index on columns that are NOT NULL, so that its \
             rows cannot be told apart"
                .to_owned(),
            "add one, such as id BIGINT AUTO_INCREMENT PRIMARY KEY",
        );
    }
    for named in options.named() {
        match columns.iter().find(|column| column.name == *named) {
            None => {
                let names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
                let hint = format!("its columns are {}", names.join(", "));
                return refuse(format!("it has no column {named}"), &hint);
            }
            Some(column) if column.key.is_some() => {
                let found = format!("column {named} is in the key, which names the entity");
                return refuse(found, "leave key columns in");
            }
            Some(_) => {}
        }
    }
    let entity_type = options.entity_type.clone().unwrap_or_else(|| table.clone());
    if entity_type.is_empty() || entity_type.contains(':') || entity_type.len() > 255 {
        return refuse(
            format!("the entity type {entity_type:?} is not 1 to 255 bytes without ':'"),
            "choose another with --entity-type",
        );
    }
    Ok(Table { name: table, entity_type, columns, options: options.clone() })
}

/// The statements that take away the triggers of a table.
async fn drops(connection: &mut Connection, table: &str) -> Result<Vec<String>, Failure> {
    const TRIGGERS: &str = "SELECT CONVERT(trigger_name USING utf8mb4) FROM information_schema.triggers \
         WHERE event_object_schema = DATABASE() AND trigger_schema = DATABASE() \
             AND event_object_table = ? AND trigger_name LIKE 'annals\\_capture\\_%' ORDER BY trigger_name";
    let look = connection.scalar(TRIGGERS).bind(table);
    let names: Vec<String> = look.fetch_all(&mut **connection).await?;
    Ok(names.iter().map(|name| format!("DROP TRIGGER {}", quoted(name))).collect())
}

async fn remember(connection: &mut Connection, table: &Table) -> Result<(), Failure> {
    const REMEMBER: &str = "REPLACE INTO annals_attached \
         (name, entity_type, excluded, redacted, personal, operations, columns) VALUES (?, ?, ?, ?, ?, ?, ?)";
    let list = |names: &[String]| serde_json::Value::from(names).to_string();
    let operations: Vec<String> =
        table.options.operations.iter().map(|operation| operation.as_str().to_owned()).collect();
    let remember = connection
        .query(REMEMBER)
        .bind(&table.name)
        .bind(&table.entity_type)
        .bind(list(&table.options.exclude))
        .bind(list(&table.options.redact))
        .bind(list(&table.options.personal))
        .bind(list(&operations))
        .bind(names_of(&table.columns));
    remember.execute(&mut **connection).await?;
    Ok(())
}
