//! How a batch is written: with one statement, or in steps.

use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::super::read::uuid;
use super::super::rows::Rows;
use super::super::tiles::{self, Written};
use super::{Append, Part, Stopped};
use crate::error::Error;
use crate::log::{self, Edge, Hash};
use crate::postgres::{Connection, Time, number};
use crate::store::Record;

/// Bytes of events from which on they are copied. A COPY ends with a small packet,
/// which may have to wait for the server's delayed acknowledgement of the one before
/// it (sqlx leaves Nagle's algorithm on), 40 ms; a statement is one write.
const COPIED: usize = 256 * 1024;

/// Bytes of tiles up to which they are written out as text, so that the commit follows
/// in the same round trip; of more, reading the text takes the server longer than that.
const WRITTEN_OUT: usize = 24 * 1024;

/// Leaves that are hashed before others on the thread get their turn.
const HASHED: usize = 32;

impl Append<'_> {
    /// Writes the rows, and their leaves into the log; answers the first position.
    pub(super) async fn write(&self, parts: &[Part], append: i64) -> Result<u64, Stopped> {
        let few = match parts {
            [part] if part.bytes < COPIED => Some(part),
            _ => None,
        };
        let expected = few.and_then(|part| Some((part, self.memory.take_edge_if_alone()?)));
        let (first, edge) = match expected {
            Some((part, edge)) => self.at_once(part, append, edge).await?,
            None => self.in_steps(parts, append).await?,
        };
        self.memory.keep_edge(edge);
        Ok(first)
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
        // Under the log's lock: what is few goes along with the commit.
        if tiles.bytes() < WRITTEN_OUT {
            connection.commit_with(&tiles.statement()).await?;
        } else {
            tiles.write(&mut connection).await?;
            connection.commit().await?;
        }
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
            self.write_part(connection, part, append, &mut leaves).await?;
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

    /// Writes the rows of one partition, and hashes their leaves while the server
    /// takes them in.
    async fn write_part(
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
        let edge = self.memory.take_edge();
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
                self.memory.was_alone(true);
                edge
            }
            // Another handle has appended since.
            _ => {
                self.memory.was_alone(false);
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
}

/// A count as PostgreSQL's int4 holds it.
fn int(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
