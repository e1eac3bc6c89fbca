//! Appending: events, leaves, tiles and head in one transaction.
//!
//! The events go straight into their partition as a binary COPY, in the order of
//! their ids, so that two workers with the same events wait for each other and not
//! in a circle. Their leaves are hashed while the server takes them in. Only then
//! is the log's head locked: an append is given its first position, and writes the
//! tiles that it touches.
//!
//! A batch is first taken to be new. When the server finds an id that is stored
//! already, the transaction is given up, and begun again with what is new of it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::super::{Along, Appended, Record};
use super::partitions::{Partition, Partitions};
use super::read::uuid;
use super::rows::Rows;
use super::tiles::{self, Written};
use crate::error::{Error, ErrorKind};
use crate::log::{self, Edge, Hash, SALT_BYTES};
use crate::postgres::{Connection, Failure, Pool, Time, number};

/// Numbers of appends that a handle draws at a time.
const BLOCK: i64 = 1_000;

/// Bytes of events from which on they are copied. A COPY ends with a small packet,
/// which may have to wait for the server's delayed acknowledgement of the one before
/// it (sqlx leaves Nagle's algorithm on), 40 ms; a statement is one write.
const COPIED: usize = 256 * 1024;

/// Leaves that are hashed before others on the thread get their turn.
const HASHED: usize = 32;

/// Appends in a row after which a handle takes itself to be the only one that appends.
const ALONE: u32 = 4;

/// How often a batch is begun again because somebody else was at the same events.
const TRIES: usize = 20;

/// What a handle remembers from one append to the next.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// The log's edge after the last append.
    edge: Option<Edge>,
    /// Appends in a row between which nobody else appended.
    alone: u32,
    partitions: Partitions,
    /// Numbers of appends that are drawn and not used.
    numbers: Range<i64>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that no other append has.
    async fn number(&self, pool: &Pool) -> sqlx::Result<i64> {
        if let Some(number) = self.lock().numbers.next() {
            return Ok(number);
        }
        let mut connection = pool.connect().await?;
        let draw = connection.scalar("SELECT nextval('annals_append_blocks')");
        let block: i64 = draw.fetch_one(&mut *connection).await?;
        connection.commit().await?;
        self.lock().numbers = block * BLOCK + 1..(block + 1) * BLOCK;
        Ok(block * BLOCK)
    }

    /// The partitions that this handle has met, to be looked at without the lock.
    fn partitions(&self) -> Partitions {
        self.lock().partitions.clone()
    }
}

/// Why an append was given up.
enum Stopped {
    /// Some of its events are known already: an error of the server, or found by us.
    Known(Option<sqlx::Error>),
    /// The partitions are not what they were.
    Moved(sqlx::Error),
    /// The log is not what it was.
    Grown,
    Failed(Failure),
}

impl From<sqlx::Error> for Stopped {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code());
        match code.as_deref() {
            // unique_violation
            Some("23505") => Self::Known(Some(error)),
            // check_violation: of a partition's bounds; undefined_table
            Some("23514" | "42P01") => Self::Moved(error),
            Some("AN002") => Self::Grown,
            _ => Self::Failed(error.into()),
        }
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Appends a batch, and does what a queue in the same database wants done along with
/// it; then `None` if nothing was new.
pub(super) async fn append(
    pool: Pool,
    batch: Arc<[Record]>,
    memory: Arc<Memory>,
    along: Option<Along>,
) -> Result<Option<Vec<Appended>>, Failure> {
    let mut append = Append::of(&pool, &batch, &memory)?;
    let acknowledges = along.is_some();
    append.along = along;
    let mut tries = 0;
    loop {
        tries += 1;
        match append.run().await {
            Ok(new) => return Ok((new || !acknowledges).then(|| append.answers())),
            Err(Stopped::Failed(failure)) => return Err(failure),
            Err(Stopped::Known(_)) if tries < TRIES => append.look_up().await?,
            Err(Stopped::Moved(_)) if tries < TRIES => {
                memory.lock().partitions = Partitions::default();
            }
            Err(Stopped::Grown) if tries < TRIES => memory.lock().alone = 0,
            // Not what was thought: it does not pass.
            Err(Stopped::Moved(error) | Stopped::Known(Some(error))) => return Err(error.into()),
            Err(Stopped::Known(None) | Stopped::Grown) => {
                let found = "others append or prune the same events all the time";
                return Err(Error::new(ErrorKind::Away, "append events", found).into());
            }
        }
    }
}

/// One batch under way.
struct Append<'a> {
    pool: &'a Pool,
    batch: &'a [Record],
    memory: &'a Memory,
    salts: Vec<[u8; SALT_BYTES]>,
    /// What is known of each record.
    answers: Vec<Option<Appended>>,
    /// Records that are to be stored, in the order of their ids, and their ranks.
    rows: Vec<(usize, i32)>,
    /// Records whose id came before in the batch, and where.
    twins: Vec<(usize, usize)>,
    /// Bodies that are stored under ids of the batch, as far as they were looked up.
    stored: HashMap<Uuid, String>,
    /// What is to be done in the same transaction.
    along: Option<Along>,
}

impl<'a> Append<'a> {
    fn of(pool: &'a Pool, batch: &'a [Record], memory: &'a Memory) -> Result<Self, Error> {
        let mut salts = vec![[0; SALT_BYTES]; batch.len()];
        getrandom::fill(salts.as_flattened_mut()).map_err(|error| {
            let doing = format!("append {} events", batch.len());
            Error::new(ErrorKind::Away, doing, format!("no random numbers: {error}"))
        })?;
        let mut order: Vec<usize> = (0..batch.len()).collect();
        order.sort_by_key(|index| batch[*index].id);
        let mut twins = Vec::new();
        order.dedup_by(|later, first| {
            let twin = batch[*later].id == batch[*first].id;
            if twin {
                twins.push((*later, *first));
            }
            twin
        });
        let answers = vec![None; batch.len()];
        let rows = ranked(order);
        let (stored, along) = (HashMap::new(), None);
        Ok(Self { pool, batch, memory, salts, answers, rows, twins, stored, along })
    }

    /// Finds out which of the records are stored or pruned.
    async fn look_up(&mut self) -> Result<(), Failure> {
        let ids: Vec<Uuid> = self.rows.iter().map(|(index, _)| self.id(*index)).collect();
        let mut connection = self.pool.connect().await?;
        let look = connection.query("SELECT id, body FROM annals_events WHERE id = ANY ($1)");
        for row in look.bind(&ids).fetch_all(&mut *connection).await? {
            self.stored.insert(row.try_get(0)?, row.try_get(1)?);
        }
        let look = connection.scalar("SELECT id FROM annals_tombstones WHERE id = ANY ($1)");
        let pruned: Vec<Uuid> = look.bind(&ids).fetch_all(&mut *connection).await?;
        connection.commit().await?;
        self.answer(|append, index| match append.stored.get(&append.id(index)) {
            Some(body) => Some(known(&append.batch[index], body.as_bytes())),
            None if pruned.contains(&append.id(index)) => {
                Some(was_pruned("an event with this id was stored, and removed by retention"))
            }
            None => None,
        });
        Ok(())
    }

    /// Takes out the rows for which there is an answer.
    fn answer(&mut self, answer: impl Fn(&Self, usize) -> Option<Appended>) {
        let rows = std::mem::take(&mut self.rows);
        let left = rows.into_iter().map(|(index, _)| index).filter(|index| {
            self.answers[*index] = answer(self, *index);
            self.answers[*index].is_none()
        });
        self.rows = ranked(left.collect());
    }

    fn id(&self, index: usize) -> Uuid {
        uuid(self.batch[index].id)
    }

    /// Stores what is to be stored, in one transaction; answers whether there was
    /// anything.
    async fn run(&mut self) -> Result<bool, Stopped> {
        let parts = self.parts().await?;
        if self.rows.is_empty() {
            return Ok(false);
        }
        let append = self.memory.number(self.pool).await?;
        let (first, edge) = match (&parts[..], self.next()) {
            ([part], Some(edge)) if part.bytes < COPIED => self.at_once(part, append, edge).await?,
            _ => self.in_steps(&parts, append).await?,
        };
        self.memory.lock().edge = Some(edge);
        for (index, rank) in &self.rows {
            let position = first + u64::from(rank.unsigned_abs());
            self.answers[*index] = Some(Appended::Inserted(position));
        }
        Ok(true)
    }

    /// The log's edge, if this handle is likely to be the one that appends next.
    fn next(&self) -> Option<Edge> {
        let mut remembered = self.memory.lock();
        if remembered.alone >= ALONE { remembered.edge.take() } else { None }
    }

    /// Appends with one statement, for an edge that is taken to be the log's: what is
    /// few goes in one round trip. Answers the first position, and the edge after it.
    async fn at_once(
        &self,
        part: &Part,
        append: i64,
        mut edge: Edge,
    ) -> Result<(u64, Edge), Stopped> {
        let first = edge.size();
        let mut leaves = vec![Hash::default(); self.rows.len()];
        self.hash(part, &mut leaves).await?;
        let mut written = Written::default();
        edge.append(&leaves, |tile| {
            written.push(tile);
            Ok::<_, Error>(())
        })?;
        let acknowledge = match &self.along {
            // Before the log's lock, as everywhere.
            Some(along) => format!("{}($22, $23), ", along.function),
            None => String::new(),
        };
        let sql = format!(
            "WITH written AS ({} RETURNING 1) \
             SELECT {acknowledge}annals_append_next($3, events::int4, $15, $16, '{}', $17, $18, $19, $20, $21) \
             FROM (SELECT count(*) AS events FROM written) AS w",
            part.partition.insert(),
            part.partition.name
        );
        let mut connection = self.pool.connect().await?;
        let mut statement = self
            .values(connection.query(AssertSqlSafe(sql)), part, append)
            .bind(self.id(self.rows[0].0))
            .bind(self.id(self.rows[self.rows.len() - 1].0))
            .bind(number(part.bytes as u64))
            .bind(number(first))
            .bind(written.levels)
            .bind(written.places)
            .bind(written.tiles);
        if let Some(along) = &self.along {
            let (keys, leases): (Vec<i64>, Vec<i64>) = self.receipts_of_stored(along).unzip();
            statement = statement.bind(keys).bind(leases);
        }
        if let Err(error) = statement.execute(&mut *connection).await {
            let stopped = Stopped::from(error);
            // What we expected to be refused leaves a connection that is good.
            if !matches!(stopped, Stopped::Failed(_)) {
                connection.rollback().await?;
            }
            return Err(stopped);
        }
        connection.commit().await?;
        Ok((first, edge))
    }

    /// Appends in a transaction of several steps.
    async fn in_steps(&self, parts: &[Part], append: i64) -> Result<(u64, Edge), Stopped> {
        let mut connection = self.pool.begin("BEGIN").await?;
        let (first, edge, tiles) = match self.transact(&mut connection, parts, append).await {
            Ok(placed) => placed,
            Err(stopped) => {
                // What cannot be rolled back goes with its connection.
                let _ = connection.rollback().await;
                return Err(stopped);
            }
        };
        // Under the log's lock, which a round trip of its own would make last longer.
        connection.commit_with(&tiles.statement()).await?;
        Ok((first, edge))
    }

    /// Does all but write the tiles: answers the first position, the log's edge after
    /// the append, and the tiles.
    async fn transact(
        &self,
        connection: &mut Connection,
        parts: &[Part],
        append: i64,
    ) -> Result<(u64, Edge, Written), Stopped> {
        let mut leaves = vec![Hash::default(); self.rows.len()];
        for part in parts {
            self.write(connection, part, append, &mut leaves).await?;
        }
        if let Some(along) = &self.along {
            let (keys, leases): (Vec<i64>, Vec<i64>) = self.receipts_of_stored(along).unzip();
            let acknowledge = format!("SELECT {}($1, $2)", along.function);
            let acknowledge = connection.query(AssertSqlSafe(acknowledge)).bind(keys).bind(leases);
            acknowledge.execute(&mut **connection).await?;
        }
        let (first, mut edge) = self.place(connection, parts, append).await?;
        let mut written = Written::default();
        edge.append(&leaves, |tile| {
            written.push(tile);
            Ok::<_, Error>(())
        })?;
        Ok((first, edge, written))
    }

    /// The receipts of what is stored already or will be with this transaction.
    fn receipts_of_stored(&self, along: &Along) -> impl Iterator<Item = (i64, i64)> {
        let new = self.rows.iter().map(|(index, _)| *index);
        let known =
            (0..self.batch.len()).filter(|index| self.answers[*index] == Some(Appended::Duplicate));
        let twins = self.twins.iter().filter(|(twin, first)| {
            let same = |body: &[u8]| self.batch[*twin].body() == body;
            match self.stored.get(&self.id(*twin)) {
                Some(body) => same(body.as_bytes()),
                None => self.answers[*first].is_none() && same(self.batch[*first].body()),
            }
        });
        let twins = twins.map(|(twin, _)| *twin);
        new.chain(known).chain(twins).map(|index| along.receipts[index])
    }

    /// Finds the partition of each record; those of a dropped one are refused.
    async fn parts(&mut self) -> Result<Vec<Part>, Stopped> {
        let mut partitions = self.memory.partitions();
        let mut parts: Vec<Part> = Vec::new();
        let mut dropped = Vec::new();
        for at in 0..self.rows.len() {
            let (index, _) = self.rows[at];
            let id = self.id(index);
            if parts.last().is_none_or(|last| !last.partition.holds(id)) {
                let partition = partitions.find(self.pool, id).await?;
                parts.push(Part { partition, rows: at..at, bytes: 0 });
            }
            if let Some(part) = parts.last_mut() {
                part.rows.end = at + 1;
                part.bytes += self.batch[index].body().len();
                dropped.extend(part.partition.dropped.then_some(index));
            }
        }
        // So that the first append of a month finds its partition made.
        if let Some((index, _)) = self.rows.last()
            && let Some(part) = parts.last()
            && let Some(next) = part.partition.end_near(self.id(*index))
        {
            partitions.find(self.pool, next).await?;
        }
        self.memory.lock().partitions = partitions;
        if dropped.is_empty() {
            return Ok(parts);
        }
        let why = "the events of that month were removed by retention";
        self.answer(|_, index| dropped.contains(&index).then(|| was_pruned(why)));
        Box::pin(self.parts()).await
    }

    /// Writes the rows of one partition, and hashes their leaves while the server
    /// takes them in.
    async fn write(
        &self,
        connection: &mut Connection,
        part: &Part,
        append: i64,
        leaves: &mut [Hash],
    ) -> Result<(), Stopped> {
        if part.bytes < COPIED {
            self.insert(connection, part, append).await?;
            return self.hash(part, leaves).await;
        }
        let mut copy = connection.copy_in_raw(&part.partition.copy()).await?;
        let mut rows = Rows::begin();
        for (index, rank) in &self.rows[part.rows.clone()] {
            rows.push(&self.batch[*index], append, *rank, &self.salts[*index]);
            if rows.is_full() {
                copy.send(rows.bytes()).await?;
                rows.sent();
            }
        }
        rows.end();
        copy.send(rows.bytes()).await?;
        self.hash(part, leaves).await?;
        copy.finish().await?;
        Ok(())
    }

    /// Writes the rows of one partition with one statement.
    async fn insert(
        &self,
        connection: &mut Connection,
        part: &Part,
        append: i64,
    ) -> Result<(), Stopped> {
        let insert = connection.query(AssertSqlSafe(part.partition.insert()));
        self.values(insert, part, append).execute(&mut **connection).await?;
        Ok(())
    }

    /// The values of [`Partition::insert`], for a statement that begins with it.
    fn values<'q>(
        &'q self,
        statement: Query<'q, Postgres, PgArguments>,
        part: &Part,
        append: i64,
    ) -> Query<'q, Postgres, PgArguments> {
        let rows = &self.rows[part.rows.clone()];
        let records = || rows.iter().map(|(index, _)| &self.batch[*index]);
        let text = |column: fn(&Record) -> Option<&str>| records().map(column).collect::<Vec<_>>();
        statement
            .bind(records().map(|record| uuid(record.id)).collect::<Vec<_>>())
            .bind(records().map(|record| Time(record.occurred_at)).collect::<Vec<_>>())
            .bind(append)
            .bind(rows.iter().map(|(_, rank)| *rank).collect::<Vec<_>>())
            .bind(rows.iter().map(|(index, _)| &self.salts[*index][..]).collect::<Vec<_>>())
            .bind(text(|record| Some(record.action())))
            .bind(text(|record| Some(record.outcome())))
            .bind(text(|record| Some(record.entity_type())))
            .bind(text(Record::entity_id))
            .bind(text(Record::actor_type))
            .bind(text(Record::actor_id))
            .bind(text(Record::tenant))
            .bind(text(Record::request_id))
            // An event is checked to be UTF-8 when it is read.
            .bind(text(|record| std::str::from_utf8(record.body()).ok()))
    }

    /// Hashes the leaves of the rows of one partition.
    async fn hash(&self, part: &Part, leaves: &mut [Hash]) -> Result<(), Stopped> {
        for some in self.rows[part.rows.clone()].chunks(HASHED) {
            for (index, rank) in some {
                let (record, salt) = (&self.batch[*index], &self.salts[*index]);
                let entry = log::entry(record.id, &log::commitment(salt, record.body()));
                leaves[usize::try_from(*rank).unwrap_or(0)] = log::leaf_hash(&entry);
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Locks the log and gives the append its positions; answers the first, and the
    /// log's edge before it.
    async fn place(
        &self,
        connection: &mut Connection,
        parts: &[Part],
        append: i64,
    ) -> Result<(u64, Edge), Stopped> {
        let edge = self.memory.lock().edge.take();
        let id_at = |at: usize| self.id(self.rows[at].0);
        let names: Vec<&str> = parts.iter().map(|part| part.partition.name.as_str()).collect();
        let counts: Vec<i32> = parts.iter().map(|part| int(part.rows.len())).collect();
        let sizes: Vec<i64> = parts.iter().map(|part| number(part.bytes as u64)).collect();
        let row = connection
            .query("SELECT first, edge, pruned FROM annals_append($1, $2, $3, $4, $5, $6, $7, $8)")
            .bind(append)
            .bind(int(self.rows.len()))
            .bind(id_at(0))
            .bind(id_at(self.rows.len() - 1))
            .bind(names)
            .bind(counts)
            .bind(sizes)
            .bind(edge.as_ref().map_or(-1, |edge| number(edge.size())))
            .fetch_one(&mut **connection)
            .await?;
        let first = row.try_get::<i64, _>(0)?.unsigned_abs();
        let newest_pruned: Option<Uuid> = row.try_get(2)?;
        if newest_pruned.is_some_and(|newest| id_at(0) <= newest) {
            self.expect_none_pruned(connection).await?;
        }
        let edge = match edge {
            Some(edge) if edge.size() == first => {
                self.memory.lock().alone += 1;
                edge
            }
            // Another handle has appended since.
            _ => {
                self.memory.lock().alone = 0;
                tiles::edge(first, row.try_get::<Option<Vec<_>>, _>(1)?.unwrap_or_default())?
            }
        };
        Ok((first, edge))
    }

    async fn expect_none_pruned(&self, connection: &mut Connection) -> Result<(), Stopped> {
        let ids: Vec<Uuid> = self.rows.iter().map(|(index, _)| self.id(*index)).collect();
        let look =
            connection.scalar("SELECT EXISTS (SELECT FROM annals_tombstones WHERE id = ANY ($1))");
        let pruned: bool = look.bind(ids).fetch_one(&mut **connection).await?;
        if pruned { Err(Stopped::Known(None)) } else { Ok(()) }
    }

    /// What became of each record, once none is left to be stored.
    fn answers(mut self) -> Vec<Appended> {
        for (twin, first) in std::mem::take(&mut self.twins) {
            let record = &self.batch[twin];
            self.answers[twin] = match (&self.answers[first], self.stored.get(&self.id(twin))) {
                (_, Some(body)) => Some(known(record, body.as_bytes())),
                (Some(Appended::Inserted(_)), _) => Some(known(record, self.batch[first].body())),
                (as_first, _) => as_first.clone(),
            };
        }
        let untold = || Appended::Refused("the store gave no answer".to_owned());
        self.answers.into_iter().map(|answer| answer.unwrap_or_else(untold)).collect()
    }
}

/// Records with their ranks: their places in the batch, among each other.
fn ranked(order: Vec<usize>) -> Vec<(usize, i32)> {
    let mut by_place: Vec<usize> = (0..order.len()).collect();
    by_place.sort_unstable_by_key(|at| order[*at]);
    let mut rows: Vec<(usize, i32)> = order.into_iter().map(|index| (index, 0)).collect();
    for (rank, at) in (0..).zip(by_place) {
        rows[at].1 = rank;
    }
    rows
}

/// Rows that go into one partition.
struct Part {
    partition: Partition,
    rows: Range<usize>,
    bytes: usize,
}

/// What to answer for an id that is stored with these bytes.
fn known(record: &Record, stored: &[u8]) -> Appended {
    match record.body() == stored {
        true => Appended::Duplicate,
        false => {
            Appended::Refused("conflict: the same id is stored with different bytes".to_owned())
        }
    }
}

fn was_pruned(why: &str) -> Appended {
    Appended::Refused(format!("pruned: {why}"))
}

/// A count as PostgreSQL's int4 holds it.
fn int(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
