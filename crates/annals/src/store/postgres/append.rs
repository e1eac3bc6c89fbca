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

mod memory;
mod write;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use sqlx::Row;
use uuid::Uuid;

use super::super::{Along, Appended, Record};
use super::partitions::{Partition, Partitions};
use super::read::uuid;
use crate::error::{Error, ErrorKind};
use crate::log::SALT_BYTES;
use crate::postgres::{Failure, Pool};
pub(super) use memory::Memory;

/// How often a batch is begun again because somebody else was at the same events.
const TRIES: usize = 20;

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
                memory.keep_partitions(Partitions::default());
            }
            Err(Stopped::Grown) if tries < TRIES => memory.was_alone(false),
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
        let first = self.write(&parts, append).await?;
        for (index, rank) in &self.rows {
            let position = first + u64::from(rank.unsigned_abs());
            self.answers[*index] = Some(Appended::Inserted(position));
        }
        Ok(true)
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
        // So that the first append of a month finds its partition made. If that cannot be
        // now, it is no reason to store nothing: that append makes it.
        if let Some((index, _)) = self.rows.last()
            && let Some(part) = parts.last()
            && let Some(next) = part.partition.end_near(self.id(*index))
        {
            let _ = partitions.find(self.pool, next).await;
        }
        self.memory.keep_partitions(partitions);
        if dropped.is_empty() {
            return Ok(parts);
        }
        let why = "the events of that month were removed by retention";
        self.answer(|_, index| dropped.contains(&index).then(|| was_pruned(why)));
        Box::pin(self.parts()).await
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
