//! Messenger's table in SQLite, where its times are texts.
//!
//! The file is the application's: its journal mode and the like stay as they are. A
//! write locks all of it, and a PHP worker that finds it locked at a bad moment ends, as
//! it does beside another PHP worker; so a transaction of ours is short.

use std::path::PathBuf;

use async_trait::async_trait;
use rusqlite::types::Value;
use rusqlite::{Transaction, TransactionBehavior, params_from_iter};

use super::settings::Settings;
use super::table::{Ask, Figures, Held, Judge, Judged, Listed, Rework, Seek, Table, groups};
use crate::error::Result;
use crate::foreign::symfony::Row;
use crate::sqlite::{Connection, Failure, Journal, Open};

/// Values of one statement, fewer than SQLite takes.
const MOST_VALUES: usize = 10_000;

#[derive(Debug)]
pub(super) struct SqliteTable {
    connection: Connection,
    table: String,
    needles: (Vec<String>, Vec<String>),
}

impl SqliteTable {
    pub(super) async fn open(path: &str, settings: &Settings) -> Result<Self> {
        let open = Open {
            path: PathBuf::from(path),
            what: "the transport",
            write: false,
            journal: Journal::TheirOwn,
        };
        let connection = Connection::open(open, |_| Ok(())).await?;
        Ok(Self { connection, table: settings.table.clone(), needles: settings.needles() })
    }

    /// The condition that a row looks like a message of ours, and its values.
    fn looks(&self) -> (String, Vec<Value>) {
        let (bodies, headers) = &self.needles;
        let of = |column: &str, needles: &[String]| {
            needles.iter().map(|_| format!("instr({column}, ?) > 0")).collect::<Vec<_>>()
        };
        let all = [of("headers", headers), of("body", bodies)].concat().join(" OR ");
        let values = headers.iter().chain(bodies).cloned().map(Value::Text).collect();
        (format!("({all})"), values)
    }

    /// Changes rows that are still held.
    async fn change(&self, doing: &'static str, change: &str, held: Vec<Held>) -> Result<usize> {
        let head = format!("{change} WHERE delivered_at IS ? AND id IN");
        let work = move |db: &mut rusqlite::Connection| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut changed = 0;
            for (at, ids) in groups(held) {
                for ids in ids.chunks(MOST_VALUES) {
                    let sql = format!("{head} ({})", places(ids.len()));
                    let values = std::iter::once(text(at.as_deref()));
                    let values = values.chain(ids.iter().copied().map(Value::Integer));
                    changed += transaction.execute(&sql, params_from_iter(values))?;
                }
            }
            transaction.commit()?;
            Ok(changed)
        };
        self.connection.call(doing, work).await
    }
}

const COLUMNS: &str = "id, body, headers, created_at, queue_name, available_at, delivered_at";

fn listed(row: &rusqlite::Row<'_>) -> rusqlite::Result<Listed> {
    Ok(Listed {
        row: Row {
            id: row.get(0)?,
            body: row.get(1)?,
            headers: row.get(2)?,
            created_at: row.get(3)?,
        },
        queue: row.get(4)?,
        available_at: row.get(5)?,
        delivered_at: row.get(6)?,
    })
}

fn places(count: usize) -> String {
    vec!["?"; count].join(",")
}

fn text(text: Option<&str>) -> Value {
    text.map_or(Value::Null, |text| Value::Text(text.to_owned()))
}

/// Rows that are still held.
fn held_rows(
    transaction: &Transaction<'_>,
    table: &str,
    held: Vec<Held>,
) -> rusqlite::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (at, ids) in groups(held) {
        for id in ids {
            let sql = format!("SELECT {COLUMNS} FROM {table} WHERE id = ? AND delivered_at IS ?");
            let mut find = transaction.prepare_cached(&sql)?;
            let found = find.query_map((id, at.as_deref()), listed)?;
            for row in found {
                rows.push(row?.row);
            }
        }
    }
    Ok(rows)
}

#[async_trait]
impl Table for SqliteTable {
    async fn take(&self, seek: Seek, judge: Judge) -> Result<Vec<(i64, Option<Judged>)>> {
        let (looks, needles) = self.looks();
        let find = format!(
            "SELECT {COLUMNS} FROM {table} WHERE queue_name = ? AND available_at <= ? \
             AND (delivered_at IS NULL OR delivered_at < ?) AND {looks} \
             ORDER BY available_at, id LIMIT ?",
            table = self.table,
        );
        let lease = format!("UPDATE {} SET delivered_at = ? WHERE id = ?", self.table);
        let work = move |db: &mut rusqlite::Connection| {
            let mut values: Vec<Value> = [&seek.queue, &seek.now, &seek.expired]
                .map(|value| Value::Text(value.clone()))
                .into();
            values.extend(needles);
            let most = seek.events.saturating_add(seek.passed.len());
            values.push(Value::Integer(i64::try_from(most).unwrap_or(i64::MAX)));
            // A look that finds nothing locks nothing.
            let waiting = db.prepare_cached(&find)?.exists(params_from_iter(&values))?;
            if !waiting {
                return Ok(Vec::new());
            }
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut taken = Vec::new();
            {
                let mut find = transaction.prepare_cached(&find)?;
                let mut lease = transaction.prepare_cached(&lease)?;
                let mut rows = find.query(params_from_iter(&values))?;
                let mut found = Vec::new();
                let mut bytes = 0;
                while let Some(row) = rows.next()? {
                    if found.len() >= seek.events || bytes >= seek.bytes {
                        break;
                    }
                    let Listed { row, .. } = listed(row)?;
                    if !seek.passed.contains(&row.id) {
                        bytes += row.body.len();
                        found.push(row);
                    }
                }
                drop(rows);
                for row in found {
                    let judged = judge(&row);
                    if judged.is_some() {
                        lease.execute((&seek.until, row.id))?;
                    }
                    taken.push((row.id, judged));
                }
            }
            transaction.commit()?;
            Ok(taken)
        };
        self.connection.call("receive from", work).await
    }

    async fn delete(&self, held: Vec<Held>) -> Result<usize> {
        self.change("acknowledge to", &format!("DELETE FROM {}", self.table), held).await
    }

    async fn release(&self, held: Vec<Held>) -> Result<usize> {
        let change = format!("UPDATE {} SET delivered_at = NULL", self.table);
        self.change("release to", &change, held).await
    }

    async fn replace(&self, held: Vec<Held>, rework: Rework) -> Result<usize> {
        let table = self.table.clone();
        let work = move |db: &mut rusqlite::Connection| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut replaced = 0;
            for row in held_rows(&transaction, &table, held)? {
                let Some(new) = rework(&row) else { continue };
                let insert = format!(
                    "INSERT INTO {table} (body, headers, queue_name, created_at, available_at) \
                     VALUES (?, ?, ?, ?, ?)"
                );
                let values = (new.body, new.headers, new.queue, new.created_at, new.available_at);
                transaction.prepare_cached(&insert)?.execute(values)?;
                let delete = format!("DELETE FROM {table} WHERE id = ?");
                replaced += transaction.prepare_cached(&delete)?.execute([row.id])?;
            }
            transaction.commit()?;
            Ok::<_, Failure>(replaced)
        };
        self.connection.call("move messages in", work).await
    }

    async fn list(&self, queues: Vec<String>, after: i64, limit: usize) -> Result<Vec<Listed>> {
        let (looks, needles) = self.looks();
        let list = format!(
            "SELECT {COLUMNS} FROM {} WHERE queue_name IN ({}) AND id > ? AND {looks} \
             ORDER BY id LIMIT ?",
            self.table,
            places(queues.len()),
        );
        let work = move |db: &mut rusqlite::Connection| {
            let mut values: Vec<Value> = queues.into_iter().map(Value::Text).collect();
            values.push(Value::Integer(after));
            values.extend(needles);
            values.push(Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
            let mut list = db.prepare_cached(&list)?;
            let rows = list.query_map(params_from_iter(values), listed)?;
            Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
        };
        self.connection.call("list the failed of", work).await
    }

    async fn figures(&self, ask: Ask) -> Result<Figures> {
        let (looks, needles) = self.looks();
        let passed: Vec<String> = ask.passed.iter().map(ToString::to_string).collect();
        let looks = format!("{looks} AND id NOT IN ({})", passed.join(","));
        let count = |what: &str| format!("SELECT {what} FROM {} WHERE {looks} AND", self.table);
        let free = "available_at <= ? AND (delivered_at IS NULL OR delivered_at < ?)";
        let ready = format!("{} queue_name = ? AND {free}", count("count(*)"));
        let all = format!("{} queue_name = ?", count("count(*), min(created_at)"));
        let queues = places(ask.failure_queues.len());
        let failed = format!("{} queue_name IN ({queues})", count("count(*)"));
        let work = move |db: &mut rusqlite::Connection| {
            let with = |more: &[&str]| {
                let more = more.iter().map(|text| Value::Text((*text).to_owned()));
                params_from_iter(needles.iter().cloned().chain(more).collect::<Vec<_>>())
            };
            let transaction = db.transaction()?;
            let number = |sql: &str, values| transaction.query_row(sql, values, |row| row.get(0));
            let ready: u64 = number(&ready, with(&[&ask.queue, &ask.now, &ask.expired]))?;
            let (all, oldest): (u64, Option<String>) =
                transaction
                    .query_row(&all, with(&[&ask.queue]), |row| Ok((row.get(0)?, row.get(1)?)))?;
            let queues: Vec<&str> = ask.failure_queues.iter().map(String::as_str).collect();
            let failed: u64 = number(&failed, with(&queues))?;
            Ok(Figures { ready, leased: all.saturating_sub(ready), failed, oldest, bytes: None })
        };
        self.connection.call("read the figures of", work).await
    }
}
