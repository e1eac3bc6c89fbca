//! Which table of the partitioned one an event goes to.

use std::time::Duration;

use sqlx::Row;
use uuid::Uuid;

use crate::postgres::Pool;

/// Partitions that a handle remembers, at most.
const REMEMBERED: usize = 512;

/// How long before a month begins its partition is made.
const NEAR: Duration = Duration::from_secs(7 * 86_400);

/// The columns of the events, in the order of [`super::rows::Rows`].
const COLUMNS: &str = "id, occurred_at, append, rank, salt, action, outcome, entity_type, \
    entity_id, actor_type, actor_id, tenant, request_id, body";

/// A stretch of time and the table that holds it.
#[derive(Clone, Debug)]
pub(super) struct Partition {
    /// The table's name: lower-case letters, digits and underscores.
    pub(super) name: String,
    lower: Uuid,
    upper: Uuid,
    /// Events of that time were pruned with their table.
    pub(super) dropped: bool,
}

/// The partitions that this handle has met. They may be out of date: whoever finds
/// that forgets them, and asks again.
#[derive(Clone, Debug, Default)]
pub(super) struct Partitions(Vec<Partition>);

impl Partitions {
    /// The partition of an id, made if need be.
    pub(super) async fn find(&mut self, pool: &Pool, id: Uuid) -> sqlx::Result<Partition> {
        let known = self.0.iter().rev().find(|known| known.holds(id));
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let mut connection = pool.connect().await?;
        let find =
            connection.query("SELECT name, lower, upper, dropped FROM annals_partition_of($1)");
        let row = find.bind(id).fetch_one(&mut *connection).await?;
        connection.commit().await?;
        let partition = Partition {
            name: row.try_get(0)?,
            lower: row.try_get(1)?,
            upper: row.try_get(2)?,
            dropped: row.try_get(3)?,
        };
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        self.0.push(partition.clone());
        Ok(partition)
    }
}

impl Partition {
    /// Whether an event with that id goes into it.
    pub(super) fn holds(&self, id: Uuid) -> bool {
        self.lower <= id && id < self.upper
    }

    /// The first id after this partition, if that one is only days away.
    pub(super) fn end_near(&self, id: Uuid) -> Option<Uuid> {
        // The first 48 bits of a UUIDv7 are its milliseconds.
        let millis = |id: Uuid| id.as_u128() >> 80;
        (millis(self.upper) <= millis(id) + NEAR.as_millis()).then_some(self.upper)
    }

    /// The statement that copies into it.
    pub(super) fn copy(&self) -> String {
        format!("COPY {} ({COLUMNS}) FROM STDIN (FORMAT binary)", self.name)
    }

    /// The statement that inserts into it: arrays of the columns, save for the
    /// append's number.
    pub(super) fn insert(&self) -> String {
        format!(
            "INSERT INTO {} ({COLUMNS}) \
             SELECT r.id, r.time, $3, r.rank, salt, action, outcome, entity_type, entity_id, actor_type, \
                 actor_id, tenant, request_id, body \
             FROM unnest($1::uuid[], $2::timestamptz[], $4::int4[], $5::bytea[], $6::text[], $7::text[], \
                 $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[]) \
                 AS r (id, time, rank, salt, action, outcome, entity_type, entity_id, actor_type, \
                 actor_id, tenant, request_id, body)",
            self.name
        )
    }
}

/// Makes the partitions of this month and the next, so that no append has to.
pub(super) async fn make_ahead(pool: Pool) -> sqlx::Result<()> {
    const MAKE: &str = "SELECT name FROM generate_series(0, 1) AS n, \
        annals_partition_of(annals_uuid_from(date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' \
            + n * interval '1 month'))";
    let mut connection = pool.connect().await?;
    connection.query(MAKE).fetch_all(&mut *connection).await?;
    connection.commit().await
}
