//! The queue's SQL.
//!
//! Everybody finds rows by their numbers, lower ones before higher ones, and who
//! receives passes over what is locked: so nobody waits in a circle. Lists of numbers
//! come as JSON, which the server reads like a table, in its order, and each names one
//! row by the primary key: nothing else would do, since a server that chooses to look
//! at all rows instead waits for the application that is just about to commit some.
//! Nothing is sorted, for which it would write the bodies into a file.

use std::fmt::Write;
use std::sync::Arc;

use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, Executor, Row};

use super::super::{
    Buried, Delivery, Message, Receipt, TransportStats, Want, Which, id_beside, random_lease, raw,
};
use crate::event::{EventId, Timestamp};
use crate::mysql::rows::{self, Rows};
use crate::mysql::schema::Schema;
use crate::mysql::{Pool, micros, number};
use crate::store::Along;

/// The tables of the queue.
pub(crate) static QUEUE: Schema = Schema {
    marker: "annals_queue_head",
    version: "SELECT version FROM annals_queue_head",
    migrations: &[include_str!("../../../migrations/mysql/queue_1.sql")],
};

/// The server's time, in microseconds since 1970.
macro_rules! now {
    () => {
        "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"
    };
}

/// The events of receipts, a value of the statement, that are still held under them.
macro_rules! held {
    () => {
        "JSON_TABLE(?, '$[*]' COLUMNS (seq BIGINT PATH '$[0]', lease BIGINT PATH '$[1]')) r \
         STRAIGHT_JOIN annals_queue q FORCE INDEX (PRIMARY) ON q.seq = r.seq AND q.lease = r.lease"
    };
}

/// The same with the reasons for which they are buried, in the order of the list.
macro_rules! held_with_reasons {
    () => {
        "JSON_TABLE(?, '$[*]' COLUMNS (seq BIGINT PATH '$[0]', lease BIGINT PATH '$[1]', \
             reason LONGTEXT PATH '$[2]')) r \
         STRAIGHT_JOIN annals_queue q FORCE INDEX (PRIMARY) ON q.seq = r.seq AND q.lease = r.lease"
    };
}

/// Values of a row that is sent.
const SENT: Rows = Rows {
    insert: "INSERT INTO annals_queue (id, sent_at, body) VALUES ",
    row: concat!("(?, ", now!(), ", ?)"),
    values: 2,
};

pub(super) async fn send(pool: Pool, batch: Arc<[Message]>) -> sqlx::Result<()> {
    let mut connection = pool.connect().await?;
    let bodies = batch.iter().map(|message| message.body.len());
    let chunks = SENT.chunks(bodies, rows::bytes(&pool));
    // One statement is a transaction by itself.
    let several = chunks.len() > 1;
    if several {
        connection.execute("START TRANSACTION").await?;
    }
    for chunk in chunks {
        let mut insert = connection.query(AssertSqlSafe(SENT.statement(chunk.len())));
        for message in &batch[chunk] {
            insert = insert.bind(&message.id.as_bytes()[..]).bind(&message.body);
        }
        insert.execute(&mut *connection).await?;
    }
    connection.commit_with(if several { "COMMIT" } else { "" }).await
}

pub(super) async fn receive(pool: Pool, want: Want) -> sqlx::Result<Vec<Delivery>> {
    let lease = random_lease();
    let mut connection = pool.connect().await?;
    // Without the bodies, of which there may be more than are wanted.
    let look = format!(
        concat!(
            "START TRANSACTION; SELECT seq, OCTET_LENGTH(body) FROM annals_queue WHERE due <= ",
            now!(),
            " ORDER BY seq LIMIT {} FOR UPDATE SKIP LOCKED"
        ),
        want.events
    );
    let found = sqlx::raw_sql(AssertSqlSafe(look)).fetch_all(&mut *connection).await?;
    let (mut seqs, mut bytes) = (String::new(), 0);
    for row in &found {
        if bytes >= number(want.bytes as u64) {
            break;
        }
        let comma = if seqs.is_empty() { "" } else { "," };
        let _ = write!(seqs, "{comma}{}", row.try_get::<i64, _>(0)?);
        bytes += row.try_get::<i64, _>(1)?;
    }
    let take = match seqs.is_empty() {
        true => "COMMIT".to_owned(),
        // These are locked: nobody else can have them.
        false => format!(
            concat!(
                "UPDATE JSON_TABLE('[{seqs}]', '$[*]' COLUMNS (seq BIGINT PATH '$')) r \
                     STRAIGHT_JOIN annals_queue q FORCE INDEX (PRIMARY) ON q.seq = r.seq \
                     SET q.lease = {lease}, q.due = ",
                now!(),
                " + {length}, q.attempts = q.attempts + 1; \
                 SELECT q.seq, q.id, q.body, q.attempts, q.raw \
                     FROM JSON_TABLE('[{seqs}]', '$[*]' COLUMNS (seq BIGINT PATH '$')) r \
                     STRAIGHT_JOIN annals_queue q FORCE INDEX (PRIMARY) ON q.seq = r.seq; \
                 COMMIT"
            ),
            seqs = seqs,
            lease = number(lease),
            length = micros(want.lease),
        ),
    };
    let rows = sqlx::raw_sql(AssertSqlSafe(take)).fetch_all(&mut *connection).await?;
    connection.commit().await?;
    let delivery = |row: MySqlRow| {
        let body: Vec<u8> = row.try_get(2)?;
        let delivery = Delivery {
            id: id_beside(row.try_get(1)?, &body),
            body,
            attempts: row.try_get::<i32, _>(3)?.unsigned_abs(),
            receipt: Receipt { key: u128::from(row.try_get::<i64, _>(0)?.unsigned_abs()), lease },
            refused: None,
        };
        Ok(if row.try_get(4)? { raw::accept(delivery) } else { delivery })
    };
    rows.into_iter().map(delivery).collect()
}

/// Receipts in order of their numbers, as the statements take them.
pub(super) fn json(receipts: &[Receipt]) -> String {
    let mut pairs: Vec<(i64, i64)> = receipts.iter().map(pair).collect();
    pairs.sort_unstable();
    serde_json::Value::from_iter(pairs.into_iter().map(|(seq, lease)| vec![seq, lease])).to_string()
}

/// The same, and with reasons, in the order in which they were given.
pub(super) fn json_with_reasons(burials: &[(Receipt, String)]) -> (String, String) {
    let receipts: Vec<Receipt> = burials.iter().map(|(receipt, _)| *receipt).collect();
    let burial = |(receipt, reason): &(Receipt, String)| {
        let (seq, lease) = pair(receipt);
        // JSON has a NUL, but no text of the server's that was made of it.
        serde_json::json!([seq, lease, reason.replace('\0', "\\0")])
    };
    (json(&receipts), burials.iter().map(burial).collect::<serde_json::Value>().to_string())
}

fn pair(receipt: &Receipt) -> (i64, i64) {
    (i64::try_from(receipt.key).unwrap_or(i64::MAX), number(receipt.lease))
}

/// Runs one statement, whose first value is a list of receipts.
async fn settle(
    pool: Pool,
    sql: &'static str,
    receipts: String,
    at: Option<Timestamp>,
) -> sqlx::Result<usize> {
    let mut connection = pool.connect().await?;
    let mut settle = connection.query(sql).bind(receipts);
    if let Some(at) = at {
        settle = settle.bind(at.as_micros());
    }
    let settled = settle.execute(&mut *connection).await?;
    connection.commit().await?;
    Ok(count(settled.rows_affected()))
}

pub(super) async fn ack(pool: Pool, receipts: String) -> sqlx::Result<usize> {
    settle(pool, concat!("DELETE q FROM ", held!()), receipts, None).await
}

/// The same, to be done by a store in the same database.
pub(super) fn acknowledgement(database: &str, receipts: &[Receipt]) -> Along {
    let receipts = receipts.iter().map(pair).collect();
    Along { database: database.to_owned(), function: "annals_acknowledge", receipts }
}

pub(super) async fn retry(pool: Pool, receipts: String, at: Timestamp) -> sqlx::Result<usize> {
    const RETRY: &str = concat!("UPDATE ", held!(), " SET q.lease = 0, q.due = ?");
    settle(pool, RETRY, receipts, Some(at)).await
}

pub(super) async fn release(pool: Pool, receipts: String) -> sqlx::Result<usize> {
    const RELEASE: &str =
        concat!("UPDATE ", held!(), " SET q.lease = 0, q.due = 0, q.attempts = q.attempts - 1");
    settle(pool, RELEASE, receipts, None).await
}

pub(super) async fn bury(pool: Pool, (receipts, burials): (String, String)) -> sqlx::Result<usize> {
    const LOCK: &str = concat!("SELECT q.seq FROM ", held!(), " FOR UPDATE");
    const KEEP: &str = concat!(
        "INSERT INTO annals_failed (id, raw, body, reason, attempts, failed_at) \
         SELECT q.id, q.raw, q.body, r.reason, q.attempts, ",
        now!(),
        " FROM ",
        held_with_reasons!()
    );
    let mut connection = pool.begin("START TRANSACTION").await?;
    connection.query(LOCK).bind(&receipts).fetch_all(&mut *connection).await?;
    let buried = connection.query(KEEP).bind(&burials).execute(&mut *connection).await?;
    let end = connection.query(concat!("DELETE q FROM ", held!())).bind(&receipts);
    end.execute(&mut *connection).await?;
    connection.commit().await?;
    Ok(count(buried.rows_affected()))
}

pub(super) async fn buried(
    pool: Pool,
    after: Option<u64>,
    limit: usize,
) -> sqlx::Result<Vec<Buried>> {
    let mut connection = pool.connect().await?;
    let list = connection.query(
        "SELECT number, id, body, reason, attempts, failed_at \
         FROM annals_failed WHERE number > ? ORDER BY number LIMIT ?",
    );
    let list = list.bind(after.map_or(0, number)).bind(number(limit as u64));
    let rows = list.fetch_all(&mut *connection).await?;
    connection.commit().await?;
    let buried = |row: MySqlRow| {
        let body: Vec<u8> = row.try_get(2)?;
        Ok(Buried {
            number: row.try_get::<i64, _>(0)?.unsigned_abs(),
            id: id_beside(row.try_get(1)?, &body),
            body,
            reason: row.try_get(3)?,
            attempts: row.try_get::<i32, _>(4)?.unsigned_abs(),
            failed_at: Timestamp::from_micros(row.try_get(5)?).unwrap_or(Timestamp::MIN),
        })
    };
    rows.into_iter().map(buried).collect()
}

/// [`Which`], to be taken to another thread; `None` is all.
pub(super) struct Chosen(Option<Vec<EventId>>);

impl From<Which<'_>> for Chosen {
    fn from(which: Which<'_>) -> Self {
        match which {
            Which::Ids(ids) => Self(Some(ids.to_vec())),
            Which::All => Self(None),
        }
    }
}

/// The failed of a list of numbers.
macro_rules! chosen {
    () => {
        "JSON_TABLE(?, '$[*]' COLUMNS (number BIGINT PATH '$')) r \
         STRAIGHT_JOIN annals_failed f FORCE INDEX (PRIMARY) ON f.number = r.number"
    };
}

impl Chosen {
    /// The numbers of those that are there, in order, as JSON, and locked.
    async fn lock(&self, connection: &mut crate::mysql::Connection) -> sqlx::Result<String> {
        const ALL: &str = "SELECT number FROM annals_failed";
        const BY_ID: &str = "SELECT f.number \
             FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) r \
             STRAIGHT_JOIN annals_failed f FORCE INDEX (annals_failed_id) ON f.id = UNHEX(r.id)";
        // Found first and locked by their numbers then, in order, as everywhere.
        const LOCK: &str = concat!("SELECT f.number FROM ", chosen!(), " FOR UPDATE");
        let mut numbers: Vec<i64> = match &self.0 {
            None => connection.scalar(ALL).fetch_all(&mut **connection).await?,
            Some(ids) => {
                let hex = |id: &EventId| {
                    let bytes = id.as_bytes().iter();
                    bytes.map(|byte| format!("{byte:02x}")).collect::<String>()
                };
                let list = serde_json::Value::from_iter(ids.iter().map(hex)).to_string();
                connection.scalar(BY_ID).bind(list).fetch_all(&mut **connection).await?
            }
        };
        numbers.sort_unstable();
        numbers.dedup();
        let found = serde_json::Value::from(numbers).to_string();
        let lock = connection.scalar::<i64>(LOCK).bind(&found);
        lock.fetch_all(&mut **connection).await?;
        Ok(found)
    }
}

pub(super) async fn revive(pool: Pool, which: Chosen) -> sqlx::Result<usize> {
    const ENQUEUE: &str = concat!(
        "INSERT INTO annals_queue (id, sent_at, raw, body) SELECT f.id, ",
        now!(),
        ", f.raw, f.body FROM ",
        chosen!()
    );
    let mut connection = pool.begin("START TRANSACTION").await?;
    let numbers = which.lock(&mut connection).await?;
    connection.query(ENQUEUE).bind(&numbers).execute(&mut *connection).await?;
    let delete = connection.query(concat!("DELETE f FROM ", chosen!())).bind(&numbers);
    let revived = delete.execute(&mut *connection).await?;
    connection.commit().await?;
    Ok(count(revived.rows_affected()))
}

pub(super) async fn remove(pool: Pool, which: Chosen) -> sqlx::Result<usize> {
    let mut connection = pool.begin("START TRANSACTION").await?;
    let numbers = which.lock(&mut connection).await?;
    let delete = connection.query(concat!("DELETE f FROM ", chosen!())).bind(&numbers);
    let removed = delete.execute(&mut *connection).await?;
    connection.commit().await?;
    Ok(count(removed.rows_affected()))
}

pub(super) async fn stats(pool: Pool) -> sqlx::Result<TransportStats> {
    const FIGURES: &str = concat!(
        "SELECT (SELECT COUNT(*) FROM annals_queue), \
             (SELECT COUNT(*) FROM annals_queue WHERE due > ",
        now!(),
        "), (SELECT COUNT(*) FROM annals_failed), \
             (SELECT sent_at FROM annals_queue ORDER BY seq LIMIT 1), \
             (SELECT CAST(SUM(data_length + index_length) AS SIGNED) FROM information_schema.tables \
              WHERE table_schema = DATABASE() AND table_name IN ('annals_queue', 'annals_failed'))"
    );
    let mut connection = pool.connect().await?;
    let row = connection.query(FIGURES).fetch_one(&mut *connection).await?;
    connection.commit().await?;
    let figure = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    let (waiting, leased) = (figure(0)?, figure(1)?);
    Ok(TransportStats {
        ready: waiting.saturating_sub(leased),
        leased,
        failed: figure(2)?,
        oldest: row.try_get::<Option<i64>, _>(3)?.and_then(Timestamp::from_micros),
        bytes: row.try_get::<Option<i64>, _>(4)?.map(i64::unsigned_abs),
    })
}

fn count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}
