//! Messenger's table in MariaDB and MySQL, where its times are `datetime`.
//!
//! A row is found without a lock and then locked by its number: a search that locks
//! would hold all that it came across, and a worker of PHP's waits for locks.
//!
//! PHP's workers do not delete here at once: they put `delivered_at` to the end of the
//! year 9999, and delete such rows together. For us these are gone.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::settings::Settings;
use super::table::{Ask, Figures, Held, Judge, Judged, Listed, Rework, Seek, Table, groups};
use crate::error::Result;
use crate::foreign::symfony::Row;
use crate::mysql::{Connection, Pool, Server};

/// As the texts that the transport compares.
const TIME: &str = "'%Y-%m-%d %H:%i:%s'";

/// Not a row that PHP has done with.
const THERE: &str = "(delivered_at IS NULL OR delivered_at < '9999-12-31 23:59:59')";

/// Values of one statement, fewer than the protocol takes.
const MOST_VALUES: usize = 10_000;

#[derive(Debug)]
pub(super) struct MysqlTable {
    server: Server,
    sql: Arc<Sql>,
}

/// What the statements are made of.
#[derive(Debug)]
struct Sql {
    table: String,
    columns: String,
    /// The condition that a row looks like a message of ours.
    looks: String,
    needles: Vec<String>,
}

impl Sql {
    fn of(settings: &Settings) -> Self {
        let (bodies, headers) = settings.needles();
        // As bytes: a collation would compare other letters, and take its time.
        let of = |column: &str, needles: &[String]| {
            let one = format!("LOCATE(CAST(? AS BINARY), CAST({column} AS BINARY)) > 0");
            vec![one; needles.len()]
        };
        let looks = [of("headers", &headers), of("body", &bodies)].concat().join(" OR ");
        let time = |column: &str| format!("DATE_FORMAT({column}, {TIME}) AS {column}");
        Self {
            table: settings.table.clone(),
            columns: format!(
                "id, body, headers, queue_name, {}, {}, {}",
                time("created_at"),
                time("available_at"),
                time("delivered_at")
            ),
            looks: format!("({looks})"),
            needles: headers.into_iter().chain(bodies).collect(),
        }
    }
}

impl MysqlTable {
    pub(super) fn open(url: &str, settings: &Settings) -> Result<Self> {
        let server = Server::new(url, "the transport")?;
        Ok(Self { server, sql: Arc::new(Sql::of(settings)) })
    }

    /// Changes rows that are still held.
    async fn change(&self, doing: &'static str, change: &str, held: Vec<Held>) -> Result<usize> {
        let head = format!("{change} WHERE delivered_at <=> ? AND id IN");
        let work = move |pool: Pool| async move {
            let mut connection = pool.begin("BEGIN").await?;
            let mut changed = 0;
            for (at, ids) in groups(held) {
                for ids in ids.chunks(MOST_VALUES) {
                    let sql = format!("{head} ({})", places(ids.len()));
                    let mut change = connection.query(AssertSqlSafe(sql)).bind(&at);
                    for id in ids {
                        change = change.bind(id);
                    }
                    changed += change.execute(&mut *connection).await?.rows_affected();
                }
            }
            connection.commit().await?;
            Ok::<_, sqlx::Error>(count(changed))
        };
        self.server.brief(doing, work).await
    }
}

fn listed(row: &MySqlRow) -> sqlx::Result<Listed> {
    Ok(Listed {
        row: Row {
            id: row.try_get("id")?,
            body: row.try_get("body")?,
            headers: row.try_get("headers")?,
            created_at: row.try_get("created_at")?,
        },
        queue: row.try_get("queue_name")?,
        available_at: row.try_get("available_at")?,
        delivered_at: row.try_get("delivered_at")?,
    })
}

fn places(count: usize) -> String {
    vec!["?"; count].join(",")
}

/// Numbers as they stand in a statement; one of no row, if there are none.
fn numbers(ids: &[i64]) -> String {
    match ids {
        [] => "0".to_owned(),
        ids => ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    }
}

/// The rows that could be taken now, as many as fit, not locked yet.
async fn waiting(sql: &Sql, seek: &Seek, connection: &mut Connection) -> sqlx::Result<Vec<i64>> {
    let find = format!(
        "SELECT id, LENGTH(body) FROM {} WHERE queue_name = ? AND available_at <= ? \
         AND (delivered_at IS NULL OR delivered_at < ?) AND {} AND id NOT IN ({}) \
         ORDER BY available_at, id LIMIT ?",
        sql.table,
        sql.looks,
        numbers(&seek.passed),
    );
    let mut find = connection.query(AssertSqlSafe(find));
    find = find.bind(&seek.queue).bind(&seek.now).bind(&seek.expired);
    for needle in &sql.needles {
        find = find.bind(needle);
    }
    let events = u32::try_from(seek.events).unwrap_or(u32::MAX);
    let mut ids = Vec::new();
    let mut bytes = 0;
    for row in find.bind(events).fetch_all(&mut **connection).await? {
        if bytes >= seek.bytes {
            break;
        }
        bytes += usize::try_from(row.try_get::<i64, _>(1)?).unwrap_or(0);
        ids.push(row.try_get(0)?);
    }
    Ok(ids)
}

#[async_trait]
impl Table for MysqlTable {
    async fn take(&self, seek: Seek, judge: Judge) -> Result<Vec<(i64, Option<Judged>)>> {
        let sql = Arc::clone(&self.sql);
        let work = move |pool: Pool| async move {
            let mut connection = pool.begin("BEGIN").await?;
            let ids = waiting(&sql, &seek, &mut connection).await?;
            let mut taken = Vec::with_capacity(ids.len());
            if !ids.is_empty() {
                let lock = format!(
                    "SELECT {} FROM {} m WHERE id IN ({}) \
                     AND (m.delivered_at IS NULL OR m.delivered_at < ?) \
                     ORDER BY m.available_at, m.id FOR UPDATE SKIP LOCKED",
                    sql.columns,
                    sql.table,
                    numbers(&ids),
                );
                let lock = connection.query(AssertSqlSafe(lock)).bind(&seek.expired);
                for row in lock.fetch_all(&mut *connection).await? {
                    let Listed { row, .. } = listed(&row)?;
                    taken.push((row.id, judge(&row)));
                }
            }
            let ours = taken.iter().filter(|(_, judged)| judged.is_some());
            let ours: Vec<i64> = ours.map(|(id, _)| *id).collect();
            if !ours.is_empty() {
                let (table, ids) = (&sql.table, numbers(&ours));
                let lease = format!("UPDATE {table} SET delivered_at = ? WHERE id IN ({ids})");
                let lease = connection.query(AssertSqlSafe(lease)).bind(&seek.until);
                lease.execute(&mut *connection).await?;
            }
            connection.commit().await?;
            Ok::<_, sqlx::Error>(taken)
        };
        self.server.brief("receive from", work).await
    }

    async fn delete(&self, held: Vec<Held>) -> Result<usize> {
        self.change("acknowledge to", &format!("DELETE FROM {}", self.sql.table), held).await
    }

    async fn release(&self, held: Vec<Held>) -> Result<usize> {
        let change = format!("UPDATE {} SET delivered_at = NULL", self.sql.table);
        self.change("release to", &change, held).await
    }

    async fn replace(&self, held: Vec<Held>, rework: Rework) -> Result<usize> {
        let sql = Arc::clone(&self.sql);
        let work = move |pool: Pool| async move {
            let mut connection = pool.begin("BEGIN").await?;
            let mut gone = Vec::new();
            for (at, ids) in groups(held) {
                let lock = format!(
                    "SELECT {} FROM {} m WHERE m.delivered_at <=> ? AND id IN ({}) \
                     ORDER BY m.id FOR UPDATE",
                    sql.columns,
                    sql.table,
                    numbers(&ids),
                );
                let lock = connection.query(AssertSqlSafe(lock)).bind(at);
                for row in lock.fetch_all(&mut *connection).await? {
                    let Listed { row, .. } = listed(&row)?;
                    let Some(new) = rework(&row) else { continue };
                    gone.push(row.id);
                    let insert = format!(
                        "INSERT INTO {} (body, headers, queue_name, created_at, available_at) \
                         VALUES (?, ?, ?, ?, ?)",
                        sql.table
                    );
                    let insert = connection.query(AssertSqlSafe(insert));
                    let insert = insert.bind(new.body).bind(new.headers).bind(new.queue);
                    let insert = insert.bind(new.created_at).bind(new.available_at);
                    insert.execute(&mut *connection).await?;
                }
            }
            let delete = format!("DELETE FROM {} WHERE id IN ({})", sql.table, numbers(&gone));
            connection.query(AssertSqlSafe(delete)).execute(&mut *connection).await?;
            connection.commit().await?;
            Ok::<_, sqlx::Error>(gone.len())
        };
        self.server.brief("move messages in", work).await
    }

    async fn list(&self, queues: Vec<String>, after: i64, limit: usize) -> Result<Vec<Listed>> {
        let sql = Arc::clone(&self.sql);
        let work = move |pool: Pool| async move {
            let mut connection = pool.connect().await?;
            let list = format!(
                "SELECT {} FROM {} m WHERE queue_name IN ({}) AND id > ? AND {} AND {THERE} \
                 ORDER BY id LIMIT ?",
                sql.columns,
                sql.table,
                places(queues.len()),
                sql.looks,
            );
            let mut list = connection.query(AssertSqlSafe(list));
            for queue in queues {
                list = list.bind(queue);
            }
            list = list.bind(after);
            for needle in &sql.needles {
                list = list.bind(needle);
            }
            let limit = u32::try_from(limit).unwrap_or(u32::MAX);
            let rows = list.bind(limit).fetch_all(&mut *connection).await?;
            connection.commit().await?;
            rows.iter().map(listed).collect::<sqlx::Result<Vec<_>>>()
        };
        self.server.brief("list the failed of", work).await
    }

    async fn figures(&self, ask: Ask) -> Result<Figures> {
        let sql = Arc::clone(&self.sql);
        let work = move |pool: Pool| async move {
            let mut connection = pool.connect().await?;
            let figures = format!(
                "SELECT CAST(COALESCE(SUM(ours AND ready), 0) AS SIGNED), \
                     CAST(COALESCE(SUM(ours AND NOT ready), 0) AS SIGNED), \
                     CAST(COALESCE(SUM(NOT ours), 0) AS SIGNED), \
                     DATE_FORMAT(MIN(CASE WHEN ours THEN created_at END), {TIME}) \
                 FROM (SELECT queue_name = ? AS ours, created_at, available_at <= ? \
                     AND (delivered_at IS NULL OR delivered_at < ?) AS ready \
                 FROM {} WHERE queue_name IN (?, {}) AND {} AND {THERE} AND id NOT IN ({})) f",
                sql.table,
                places(ask.failure_queues.len()),
                sql.looks,
                numbers(&ask.passed),
            );
            let mut figures = connection.query(AssertSqlSafe(figures));
            figures = figures.bind(&ask.queue).bind(&ask.now).bind(&ask.expired).bind(&ask.queue);
            for text in ask.failure_queues.iter().chain(&sql.needles) {
                figures = figures.bind(text);
            }
            let row = figures.fetch_one(&mut *connection).await?;
            connection.commit().await?;
            let figure = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
            Ok::<_, sqlx::Error>(Figures {
                ready: figure(0)?,
                leased: figure(1)?,
                failed: figure(2)?,
                oldest: row.try_get(3)?,
                bytes: None,
            })
        };
        self.server.brief("read the figures of", work).await
    }
}

fn count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}
