//! The references: what one would write without Annals.

use std::time::Instant;

use annals::store::Record;
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Executor};

use crate::Outcome;

/// PostgreSQL counts microseconds from 2000-01-01.
const EPOCH: i64 = 946_684_800_000_000;

/// The table that the store's events of today go to.
pub async fn partition(pool: &PgPool) -> Outcome<String> {
    let name = sqlx::query_scalar(
        "SELECT name FROM annals_partition_of(annals_uuid_from(clock_timestamp()))",
    );
    Ok(name.fetch_one(pool).await?)
}

/// The rows of a batch as a binary COPY, made before the clock runs.
pub fn rows(batch: &[Record], number: i64) -> Vec<u8> {
    let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for (rank, record) in (0_i32..).zip(batch) {
        bytes.extend_from_slice(&14_i16.to_be_bytes());
        let time = (record.occurred_at.as_micros() - EPOCH).to_be_bytes();
        let (number, rank) = (number.to_be_bytes(), rank.to_be_bytes());
        // Salts as random as an id is.
        let salt = [*record.id.as_bytes(), *record.id.as_bytes()].concat();
        let fields: [Option<&[u8]>; 14] = [
            Some(record.id.as_bytes()),
            Some(&time),
            Some(&number),
            Some(&rank),
            Some(&salt),
            Some(record.action().as_bytes()),
            Some(record.outcome().as_bytes()),
            Some(record.entity_type().as_bytes()),
            record.entity_id().map(str::as_bytes),
            record.actor_type().map(str::as_bytes),
            record.actor_id().map(str::as_bytes),
            record.tenant().map(str::as_bytes),
            record.request_id().map(str::as_bytes),
            Some(record.body()),
        ];
        for field in fields {
            let length = field.map_or(-1, |field| i32::try_from(field.len()).unwrap_or(i32::MAX));
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(field.unwrap_or_default());
        }
    }
    bytes.extend_from_slice(&(-1_i16).to_be_bytes());
    bytes
}

/// Copies batches into a table over a number of connections, which take turns as
/// workers do; the seconds that it took.
pub async fn copy(
    pool: &PgPool,
    table: &str,
    batches: Vec<Vec<u8>>,
    connections: usize,
) -> Outcome<f64> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push((pool.acquire().await?, Vec::new()));
    }
    for (number, batch) in batches.into_iter().enumerate() {
        open[number % connections].1.push(batch);
    }
    let statement = format!("COPY {table} FROM STDIN (FORMAT binary)");
    let began = Instant::now();
    let copying: Vec<_> = open
        .into_iter()
        .map(|(mut connection, batches)| {
            let statement = statement.clone();
            tokio::spawn(async move {
                for batch in batches {
                    let mut copy = connection.copy_in_raw(&statement).await?;
                    copy.send(batch).await?;
                    copy.finish().await?;
                }
                Outcome::Ok(())
            })
        })
        .collect();
    for one in copying {
        one.await??;
    }
    Ok(began.elapsed().as_secs_f64())
}

/// A queue that has the columns of the store's table ready.
const QUEUE: &str = "CREATE TABLE plain_queue (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
    LIKE annals_events)";

const COLUMNS: &str = "id, occurred_at, append, rank, salt, action, outcome, entity_type, entity_id, \
    actor_type, actor_id, tenant, request_id, body";

/// Fills a plain queue, and empties it into the store's table with one statement a
/// batch; without log. The seconds that the emptying took.
pub async fn move_all(pool: &PgPool, batches: Vec<Vec<u8>>, batch: usize) -> Outcome<f64> {
    let mut connection = pool.acquire().await?;
    connection.execute(QUEUE).await?;
    copy(pool, &format!("plain_queue ({COLUMNS})"), batches, 1).await?;
    let statement = format!(
        "WITH gone AS ( \
             DELETE FROM plain_queue WHERE seq IN (SELECT seq FROM plain_queue ORDER BY seq LIMIT {batch}) \
             RETURNING * \
         ) INSERT INTO annals_events ({COLUMNS}) SELECT {COLUMNS} FROM gone"
    );
    let began = Instant::now();
    while connection.execute(AssertSqlSafe(statement.clone())).await?.rows_affected() > 0 {}
    Ok(began.elapsed().as_secs_f64())
}
