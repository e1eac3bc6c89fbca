//! Messenger's table in PostgreSQL, where its times are `timestamp(0) without time zone`.

mod hold;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::settings::Settings;
use super::table::{Ask, Figures, Held, Judge, Judged, Listed, Rework, Seek, Table, groups};
use crate::error::Result;
use crate::foreign::symfony::Row;
use crate::postgres::{Pool, Server, number};
use hold::Holds;

/// Neither a lease nor an acknowledgement need wait for the disk, as in our other queues:
/// what a crash of the server takes back is delivered again, and known by its id.
const UNSYNCED: &str = "BEGIN; SET LOCAL synchronous_commit TO off";

/// As the texts that the transport compares.
const TIME: &str = "'YYYY-MM-DD HH24:MI:SS'";

pub(super) struct PostgresTable {
    server: Server,
    sql: Arc<Sql>,
    holds: Arc<Holds>,
    place: Arc<Place>,
    needles: Arc<(Vec<String>, Vec<String>)>,
}

/// Up to which number a backlog was looked at. Rows below that become free again are
/// found when the end was reached, or soon.
#[derive(Default)]
struct Place(Mutex<Option<(i64, Instant)>>);

impl Place {
    /// For how long nobody looks below it.
    const SOON: Duration = Duration::from_secs(1);

    fn lock(&self) -> MutexGuard<'_, Option<(i64, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number to begin behind.
    fn get(&self) -> i64 {
        let mut place = self.lock();
        place.take_if(|(_, since)| since.elapsed() > Self::SOON);
        place.map_or(0, |(id, _)| id)
    }

    /// Goes on behind that one, or from the beginning.
    fn set(&self, id: Option<i64>) {
        let mut place = self.lock();
        let since = place.map_or_else(Instant::now, |(_, since)| since);
        *place = id.map(|id| (id, since));
    }
}

/// The statements, with the table's name in them.
#[derive(Debug)]
struct Sql {
    take: String,
    lease: Arc<str>,
    delete: String,
    release: String,
    lock: String,
    /// What is locked already.
    remove: String,
    insert: String,
    list: String,
    figures: String,
}

impl Sql {
    fn of(table: &str) -> Self {
        // The condition that a row looks like a message of ours, of two arrays.
        let looks = |bodies: &str, headers: &str| {
            format!(
                "(EXISTS (SELECT FROM unnest({headers}::text[]) n WHERE strpos(m.headers, n) > 0) \
                 OR EXISTS (SELECT FROM unnest({bodies}::text[]) n WHERE strpos(m.body, n) > 0))"
            )
        };
        let columns = format!(
            "m.id, m.body, m.headers, to_char(m.created_at, {TIME}) AS created_at, m.queue_name, \
             to_char(m.available_at, {TIME}) AS available_at, to_char(m.delivered_at, {TIME}) AS delivered_at"
        );
        Self {
            // By number, behind what was looked at already: in the order of Messenger's
            // index on the time, each batch would pass all the dead entries of those
            // before it. Numbers are given in the order of dispatching.
            take: format!(
                "WITH ready AS ( \
                     SELECT {columns} FROM {table} m \
                     WHERE m.queue_name = $1 AND m.available_at <= $2::timestamp \
                         AND (m.delivered_at IS NULL OR m.delivered_at < $3::timestamp) \
                         AND {} AND m.id <> ALL ($6::int8[]) AND m.id > $9 \
                     ORDER BY m.id LIMIT $7 FOR UPDATE SKIP LOCKED \
                 ), fitting AS ( \
                     SELECT *, sum(octet_length(body)) OVER (ORDER BY id) \
                         - octet_length(body) AS before FROM ready \
                 ) \
                 SELECT *, (SELECT count(*) FROM ready) AS locked \
                 FROM fitting WHERE before < $8 ORDER BY id",
                looks("$4", "$5")
            ),
            lease: format!("UPDATE {table} SET delivered_at = $1::timestamp WHERE id = ANY ($2)")
                .into(),
            delete: format!(
                "DELETE FROM {table} WHERE id = ANY ($1) \
                 AND delivered_at IS NOT DISTINCT FROM $2::timestamp"
            ),
            release: format!(
                "UPDATE {table} SET delivered_at = NULL WHERE id = ANY ($1) \
                 AND delivered_at IS NOT DISTINCT FROM $2::timestamp"
            ),
            lock: format!(
                "SELECT {columns} FROM {table} m WHERE m.id = ANY ($1) \
                 AND m.delivered_at IS NOT DISTINCT FROM $2::timestamp ORDER BY m.id FOR UPDATE"
            ),
            remove: format!("DELETE FROM {table} WHERE id = ANY ($1)"),
            insert: format!(
                "INSERT INTO {table} (body, headers, queue_name, created_at, available_at) \
                 SELECT body, headers, queue, created::timestamp, available::timestamp \
                 FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) \
                 WITH ORDINALITY AS n (body, headers, queue, created, available, place) ORDER BY place"
            ),
            list: format!(
                "SELECT {columns} FROM {table} m WHERE m.queue_name = ANY ($1) AND m.id > $2 \
                 AND {} ORDER BY m.id LIMIT $5",
                looks("$3", "$4")
            ),
            figures: format!(
                "WITH free AS ( \
                     SELECT m.queue_name, m.created_at, m.available_at <= $3::timestamp \
                         AND (m.delivered_at IS NULL OR m.delivered_at < $4::timestamp) AS ready \
                     FROM {table} m WHERE (m.queue_name = $1 OR m.queue_name = ANY ($2)) \
                         AND {} AND m.id <> ALL ($7::int8[]) \
                 ) \
                 SELECT count(*) FILTER (WHERE queue_name = $1 AND ready), \
                     count(*) FILTER (WHERE queue_name = $1 AND NOT ready), \
                     count(*) FILTER (WHERE queue_name <> $1), \
                     to_char(min(created_at) FILTER (WHERE queue_name = $1), {TIME}), \
                     pg_total_relation_size('{table}') FROM free",
                looks("$5", "$6")
            ),
        }
    }
}

impl PostgresTable {
    pub(super) fn open(url: &str, settings: &Settings) -> Result<Self> {
        Ok(Self {
            server: Server::new(url, "the transport", &[])?,
            sql: Arc::new(Sql::of(&settings.table)),
            holds: Arc::default(),
            place: Arc::default(),
            needles: Arc::new(settings.needles()),
        })
    }
}

impl fmt::Debug for PostgresTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresTable").field("server", &self.server).finish_non_exhaustive()
    }
}

fn listed(row: &PgRow) -> sqlx::Result<Listed> {
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

#[async_trait]
impl Table for PostgresTable {
    async fn take(&self, seek: Seek, judge: Judge) -> Result<Vec<(i64, Option<Judged>)>> {
        let (sql, needles) = (Arc::clone(&self.sql), Arc::clone(&self.needles));
        let (holds, place) = (Arc::clone(&self.holds), Arc::clone(&self.place));
        let work = move |pool: Pool| async move {
            let hold = seek.hold && holds.has_room(&pool).await;
            let mut connection = pool.begin(if hold { hold::BEGIN } else { UNSYNCED }).await?;
            let take = connection
                .query(AssertSqlSafe(sql.take.clone()))
                .bind(seek.queue)
                .bind(seek.now)
                .bind(seek.expired)
                .bind(&needles.0)
                .bind(&needles.1)
                .bind(seek.passed)
                .bind(number(seek.events as u64))
                .bind(number(seek.bytes as u64))
                .bind(place.get());
            let rows = take.fetch_all(&mut *connection).await?;
            let locked: i64 = rows.first().map_or(Ok(0), |row| row.try_get("locked"))?;
            let mut taken = Vec::with_capacity(rows.len());
            for row in rows {
                let Listed { row, .. } = listed(&row)?;
                taken.push((row.id, judge(&row)));
            }
            let more = taken.len() >= seek.events || locked > number(taken.len() as u64);
            place.set(taken.last().filter(|_| more).map(|(id, _)| *id));
            let ours = taken.iter().filter(|(_, judged)| judged.is_some());
            let ours: Vec<i64> = ours.map(|(id, _)| *id).collect();
            // What is not ours, or not for this batch, is not kept from others.
            if hold && !ours.is_empty() && number(ours.len() as u64) == locked {
                holds.add(connection, ours, seek.until, Arc::clone(&sql.lease)).await;
                return Ok(taken);
            }
            if !ours.is_empty() {
                let lease = connection.query(AssertSqlSafe(sql.lease.to_string()));
                lease.bind(seek.until).bind(ours).execute(&mut *connection).await?;
            }
            connection.commit().await?;
            Ok::<_, sqlx::Error>(taken)
        };
        self.server.brief("receive from", work).await
    }

    async fn delete(&self, held: Vec<Held>) -> Result<usize> {
        let (sql, holds) = (Arc::clone(&self.sql), Arc::clone(&self.holds));
        let work = move |pool: Pool| async move {
            let mut deleted = 0;
            let (whole, held) = holds.sort(held, &sql.lease).await?;
            for locked in whole {
                deleted += locked.delete(&sql.remove).await?;
            }
            if held.is_empty() {
                return Ok(count(deleted));
            }
            let mut connection = pool.begin(UNSYNCED).await?;
            for (at, ids) in groups(held) {
                let delete = connection.query(AssertSqlSafe(sql.delete.clone()));
                deleted +=
                    delete.bind(ids).bind(at).execute(&mut *connection).await?.rows_affected();
            }
            connection.commit().await?;
            Ok::<_, sqlx::Error>(count(deleted))
        };
        self.server.brief("acknowledge to", work).await
    }

    async fn release(&self, held: Vec<Held>) -> Result<usize> {
        let (sql, holds) = (Arc::clone(&self.sql), Arc::clone(&self.holds));
        self.place.set(None);
        let work = move |pool: Pool| async move {
            let mut released = 0;
            let (whole, held) = holds.sort(held, &sql.lease).await?;
            for locked in whole {
                released += locked.release().await?;
            }
            if held.is_empty() {
                return Ok(count(released));
            }
            let mut connection = pool.begin(UNSYNCED).await?;
            for (at, ids) in groups(held) {
                let release = connection.query(AssertSqlSafe(sql.release.clone()));
                released +=
                    release.bind(ids).bind(at).execute(&mut *connection).await?.rows_affected();
            }
            connection.commit().await?;
            Ok::<_, sqlx::Error>(count(released))
        };
        self.server.brief("release to", work).await
    }

    async fn replace(&self, held: Vec<Held>, rework: Rework) -> Result<usize> {
        let (sql, holds) = (Arc::clone(&self.sql), Arc::clone(&self.holds));
        let work = move |pool: Pool| async move {
            holds.lease(&held, &sql.lease).await?;
            let mut connection = pool.begin("BEGIN").await?;
            let mut gone = Vec::new();
            let mut new: [Vec<String>; 5] = Default::default();
            for (at, ids) in groups(held) {
                let lock = connection.query(AssertSqlSafe(sql.lock.clone())).bind(ids).bind(at);
                for row in lock.fetch_all(&mut *connection).await? {
                    let Listed { row, .. } = listed(&row)?;
                    let Some(moved) = rework(&row) else { continue };
                    gone.push(row.id);
                    let columns = [
                        moved.body,
                        moved.headers,
                        moved.queue,
                        moved.created_at,
                        moved.available_at,
                    ];
                    new.iter_mut().zip(columns).for_each(|(column, value)| column.push(value));
                }
            }
            let [body, headers, queue, created, available] = new;
            let insert = connection.query(AssertSqlSafe(sql.insert.clone()));
            let insert = insert.bind(body).bind(headers).bind(queue).bind(created).bind(available);
            insert.execute(&mut *connection).await?;
            let moved = gone.len();
            let delete = connection.query(AssertSqlSafe(sql.remove.clone())).bind(gone);
            delete.execute(&mut *connection).await?;
            connection.commit().await?;
            Ok::<_, sqlx::Error>(moved)
        };
        self.server.brief("move messages in", work).await
    }

    async fn list(&self, queues: Vec<String>, after: i64, limit: usize) -> Result<Vec<Listed>> {
        let (sql, needles) = (Arc::clone(&self.sql), Arc::clone(&self.needles));
        let work = move |pool: Pool| async move {
            let mut connection = pool.connect().await?;
            let list = connection
                .query(AssertSqlSafe(sql.list.clone()))
                .bind(queues)
                .bind(after)
                .bind(&needles.0)
                .bind(&needles.1)
                .bind(number(limit as u64));
            let rows = list.fetch_all(&mut *connection).await?;
            connection.commit().await?;
            rows.iter().map(listed).collect::<sqlx::Result<Vec<_>>>()
        };
        self.server.brief("list the failed of", work).await
    }

    async fn figures(&self, ask: Ask) -> Result<Figures> {
        let (sql, needles) = (Arc::clone(&self.sql), Arc::clone(&self.needles));
        let holds = Arc::clone(&self.holds);
        let work = move |pool: Pool| async move {
            let held = holds.rows().await;
            let mut connection = pool.connect().await?;
            let figures = connection
                .query(AssertSqlSafe(sql.figures.clone()))
                .bind(ask.queue)
                .bind(ask.failure_queues)
                .bind(ask.now)
                .bind(ask.expired)
                .bind(&needles.0)
                .bind(&needles.1)
                .bind(ask.passed);
            let row = figures.fetch_one(&mut *connection).await?;
            connection.commit().await?;
            let figure = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
            Ok::<_, sqlx::Error>(Figures {
                // Those that we hold look free to whoever only reads.
                ready: figure(0)?.saturating_sub(held),
                leased: figure(1)? + held,
                failed: figure(2)?,
                oldest: row.try_get(3)?,
                bytes: Some(figure(4)?),
            })
        };
        self.server.brief("read the figures of", work).await
    }
}

fn count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}
