//! The queue's SQL. Every function is one statement, and so one round trip.
//!
//! Rows are locked in one order everywhere, so that nobody waits in a circle: an
//! event's row in annals_queue before its row in annals_delivery, and lower
//! numbers before higher ones. Who receives passes over what is locked.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::super::{
    Buried, Delivery, Message, Receipt, TransportStats, Want, Which, id_beside, random_lease, raw,
};
use crate::event::Timestamp;
use crate::postgres::schema::Schema;
use crate::postgres::{Pool, Time, micros, number};
use crate::store::Along;

/// The tables of the queue.
pub(crate) static QUEUE: Schema = Schema {
    marker: "annals_queue_head",
    version: "SELECT version FROM annals_queue_head",
    migrations: &[include_str!("../../../migrations/postgres/queue_1.sql")],
};

/// A condition that always holds; the commit of a statement with it does not wait
/// for the disk. So it need not be a transaction of four round trips.
macro_rules! unsynced {
    () => {
        "(SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL"
    };
}

pub(super) async fn send(pool: Pool, batch: Arc<[Message]>) -> sqlx::Result<()> {
    let (ids, bodies): (Vec<Uuid>, Vec<&[u8]>) = batch
        .iter()
        .map(|message| (Uuid::from_bytes(*message.id.as_bytes()), message.body.as_slice()))
        .unzip();
    let mut connection = pool.connect().await?;
    // Numbers are given after the sort.
    let send = connection.query(
        "WITH sent AS ( \
             INSERT INTO annals_queue (id, body) \
             SELECT id, body FROM unnest($1::uuid[], $2::bytea[]) WITH ORDINALITY AS m (id, body, place) \
             ORDER BY place \
         ) \
         SELECT pg_notify('annals_queue', '') \
         WHERE EXISTS (SELECT FROM annals_idle WHERE until > clock_timestamp())",
    );
    send.bind(ids).bind(bodies).execute(&mut *connection).await?;
    connection.commit().await
}

pub(super) async fn receive(pool: Pool, want: Want) -> sqlx::Result<Vec<Delivery>> {
    let lease = random_lease();
    let mut connection = pool.connect().await?;
    // Two receivers that look at the same moment may both find an event: the
    // second to get at its row finds the first one's lease, which began after the
    // second had looked, and leaves it alone.
    let receive = connection.query(concat!(
        "WITH moment AS (SELECT clock_timestamp() AS now WHERE ",
        unsynced!(),
        "), \
         ready AS ( \
             SELECT q.seq, q.id, q.body, q.raw, coalesce(d.attempts, 0) + 1 AS attempts \
             FROM annals_queue q LEFT JOIN annals_delivery d ON d.seq = q.seq \
             WHERE d.seq IS NULL OR d.due <= (SELECT now FROM moment) \
             ORDER BY q.seq LIMIT $1 FOR UPDATE OF q SKIP LOCKED \
         ), \
         fitting AS ( \
             SELECT seq, id, body, raw, attempts, \
                 sum(octet_length(body)) OVER (ORDER BY seq) - octet_length(body) AS before \
             FROM ready \
         ), \
         held AS ( \
             INSERT INTO annals_delivery AS d (seq, attempts, lease, due) \
             SELECT seq, attempts, $3, now + $4 * interval '1 microsecond' \
             FROM fitting, moment WHERE before < $2 ORDER BY seq \
             ON CONFLICT (seq) DO UPDATE \
             SET attempts = excluded.attempts, lease = excluded.lease, due = excluded.due \
             WHERE d.due <= (SELECT now FROM moment) \
             RETURNING d.seq \
         ) \
         SELECT seq, id, body, attempts, raw FROM fitting JOIN held USING (seq) ORDER BY seq",
    ));
    let rows = receive
        .bind(number(want.events as u64))
        .bind(number(want.bytes as u64))
        .bind(number(lease))
        .bind(micros(want.lease))
        .fetch_all(&mut *connection)
        .await?;
    connection.commit().await?;
    let delivery = |row: PgRow| {
        let body: Vec<u8> = row.try_get(2)?;
        let delivery = Delivery {
            id: id_beside(row.try_get::<Uuid, _>(1)?.as_bytes(), &body),
            body,
            attempts: row.try_get::<i32, _>(3)?.unsigned_abs(),
            receipt: Receipt { key: u128::from(row.try_get::<i64, _>(0)?.unsigned_abs()), lease },
            refused: None,
        };
        Ok(if row.try_get(4)? { raw::accept(delivery) } else { delivery })
    };
    rows.into_iter().map(delivery).collect()
}

/// Says for how long this worker waits.
pub(super) async fn idle(pool: Pool, worker: i64, wait: Duration) -> sqlx::Result<()> {
    let mut connection = pool.connect().await?;
    let tell = connection.query(concat!(
        "INSERT INTO annals_idle (worker, until) \
         SELECT $1, clock_timestamp() + $2 * interval '1 microsecond' WHERE ",
        unsynced!(),
        " ON CONFLICT (worker) DO UPDATE SET until = excluded.until",
    ));
    tell.bind(worker).bind(micros(wait)).execute(&mut *connection).await?;
    connection.commit().await
}

/// Says that this worker waits no more; those that ended without a word are
/// forgotten too.
pub(super) async fn busy(pool: Pool, worker: i64) -> sqlx::Result<()> {
    let mut connection = pool.connect().await?;
    let tell = connection.query(concat!(
        "DELETE FROM annals_idle \
         WHERE (worker = $1 OR until < clock_timestamp() - interval '1 minute') AND ",
        unsynced!(),
    ));
    tell.bind(worker).execute(&mut *connection).await?;
    connection.commit().await
}

/// Receipts as two arrays, in order of the numbers, in which rows are locked.
pub(super) struct Receipts {
    seqs: Vec<i64>,
    leases: Vec<i64>,
}

impl From<&[Receipt]> for Receipts {
    fn from(receipts: &[Receipt]) -> Self {
        let mut pairs: Vec<(i64, i64)> = receipts.iter().map(pair).collect();
        pairs.sort_unstable();
        let (seqs, leases) = pairs.into_iter().unzip();
        Self { seqs, leases }
    }
}

fn pair(receipt: &Receipt) -> (i64, i64) {
    (i64::try_from(receipt.key).unwrap_or(i64::MAX), number(receipt.lease))
}

/// Locks the events of receipts, and changes those deliveries whose lease is the
/// receipt's; `$1` are the numbers, `$2` the leases. Written as annals_acknowledge is.
macro_rules! held {
    ($change:literal) => {
        concat!(
            "WITH event AS ( \
                 SELECT q.seq FROM annals_queue q WHERE q.seq = ANY ($1) AND ",
            unsynced!(),
            " ORDER BY q.seq FOR UPDATE \
             ) UPDATE annals_delivery d SET ",
            $change,
            " FROM unnest($1::int8[], $2::int8[]) AS r (seq, lease) \
             WHERE (SELECT count(*) FROM event) > 0 AND d.seq = r.seq AND d.lease = r.lease"
        )
    };
}

pub(super) async fn ack(pool: Pool, receipts: Receipts) -> sqlx::Result<usize> {
    let mut connection = pool.connect().await?;
    let acknowledge = connection
        .scalar(concat!("SELECT annals_acknowledge($1, $2) WHERE ", unsynced!()))
        .bind(receipts.seqs)
        .bind(receipts.leases);
    let acknowledged: i64 = acknowledge.fetch_one(&mut *connection).await?;
    connection.commit().await?;
    Ok(count(acknowledged.unsigned_abs()))
}

/// The same, to be done by a store in the same database, whose commit is what waits.
pub(super) fn acknowledgement(database: &str, receipts: &[Receipt]) -> Along {
    let receipts = receipts.iter().map(pair).collect();
    Along { database: database.to_owned(), function: "annals_acknowledge", receipts }
}

pub(super) async fn retry(pool: Pool, receipts: Receipts, at: Timestamp) -> sqlx::Result<usize> {
    const UPDATE: &str = held!("lease = 0, due = $3");
    let mut connection = pool.connect().await?;
    let update = connection.query(UPDATE).bind(receipts.seqs).bind(receipts.leases);
    let updated = update.bind(Time(at)).execute(&mut *connection).await?;
    connection.commit().await?;
    Ok(count(updated.rows_affected()))
}

pub(super) async fn release(pool: Pool, receipts: Receipts) -> sqlx::Result<usize> {
    const UPDATE: &str = held!("lease = 0, due = '-infinity', attempts = d.attempts - 1");
    let mut connection = pool.connect().await?;
    let update = connection.query(UPDATE).bind(receipts.seqs).bind(receipts.leases);
    let updated = update.execute(&mut *connection).await?;
    connection.commit().await?;
    Ok(count(updated.rows_affected()))
}

pub(super) async fn bury(pool: Pool, burials: Vec<(Receipt, String)>) -> sqlx::Result<usize> {
    let (seqs, leases): (Vec<i64>, Vec<i64>) =
        burials.iter().map(|(receipt, _)| pair(receipt)).unzip();
    // A text of PostgreSQL holds no NUL.
    let reasons: Vec<String> =
        burials.into_iter().map(|(_, reason)| reason.replace('\0', "\\0")).collect();
    let mut connection = pool.connect().await?;
    let bury = connection.query(
        "WITH event AS ( \
             SELECT q.seq FROM annals_queue q WHERE q.seq = ANY ($1) ORDER BY q.seq FOR UPDATE \
         ), ended AS ( \
             DELETE FROM annals_delivery d USING unnest($1::int8[], $2::int8[], $3::text[]) \
                 WITH ORDINALITY AS r (seq, lease, reason, place) \
             WHERE (SELECT count(*) FROM event) > 0 AND d.seq = r.seq AND d.lease = r.lease \
             RETURNING d.seq, d.attempts, r.reason, r.place \
         ), gone AS ( \
             DELETE FROM annals_queue q USING ended e WHERE q.seq = e.seq \
             RETURNING q.id, q.raw, q.body, e.reason, e.attempts, e.place \
         ) \
         INSERT INTO annals_failed (id, raw, body, reason, attempts, failed_at) \
         SELECT id, raw, body, reason, attempts, clock_timestamp() FROM gone ORDER BY place",
    );
    let buried = bury.bind(seqs).bind(leases).bind(reasons).execute(&mut *connection).await?;
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
         FROM annals_failed WHERE number > $1 ORDER BY number LIMIT $2",
    );
    let list = list.bind(after.map_or(0, number)).bind(number(limit as u64));
    let rows = list.fetch_all(&mut *connection).await?;
    connection.commit().await?;
    let buried = |row: PgRow| {
        let body: Vec<u8> = row.try_get(2)?;
        Ok(Buried {
            number: row.try_get::<i64, _>(0)?.unsigned_abs(),
            id: id_beside(row.try_get::<Uuid, _>(1)?.as_bytes(), &body),
            body,
            reason: row.try_get(3)?,
            attempts: row.try_get::<i32, _>(4)?.unsigned_abs(),
            failed_at: row.try_get::<Time, _>(5)?.0,
        })
    };
    rows.into_iter().map(buried).collect()
}

/// [`Which`], to be taken to another thread; `None` is all.
pub(super) struct Chosen(Option<Vec<Uuid>>);

impl From<Which<'_>> for Chosen {
    fn from(which: Which<'_>) -> Self {
        let uuid = |id: &crate::event::EventId| Uuid::from_bytes(*id.as_bytes());
        match which {
            Which::Ids(ids) => Self(Some(ids.iter().map(uuid).collect())),
            Which::All => Self(None),
        }
    }
}

pub(super) async fn revive(pool: Pool, which: Chosen) -> sqlx::Result<usize> {
    let mut connection = pool.connect().await?;
    let revive = connection.query(
        "WITH gone AS ( \
             DELETE FROM annals_failed WHERE $1::uuid[] IS NULL OR id = ANY ($1) \
             RETURNING number, id, raw, body \
         ) \
         INSERT INTO annals_queue (id, raw, body) SELECT id, raw, body FROM gone ORDER BY number",
    );
    let revived = revive.bind(which.0).execute(&mut *connection).await?;
    connection.commit().await?;
    Ok(count(revived.rows_affected()))
}

pub(super) async fn remove(pool: Pool, which: Chosen) -> sqlx::Result<usize> {
    let mut connection = pool.connect().await?;
    let remove =
        connection.query("DELETE FROM annals_failed WHERE $1::uuid[] IS NULL OR id = ANY ($1)");
    let removed = remove.bind(which.0).execute(&mut *connection).await?;
    connection.commit().await?;
    Ok(count(removed.rows_affected()))
}

pub(super) async fn stats(pool: Pool) -> sqlx::Result<TransportStats> {
    let mut connection = pool.connect().await?;
    let figures = connection.query(
        "SELECT (SELECT count(*) FROM annals_queue), \
             (SELECT count(*) FROM annals_delivery WHERE due > clock_timestamp()), \
             (SELECT count(*) FROM annals_failed), \
             (SELECT sent_at FROM annals_queue ORDER BY seq LIMIT 1), \
             pg_total_relation_size('annals_queue') + pg_total_relation_size('annals_delivery') \
                 + pg_total_relation_size('annals_failed')",
    );
    let row = figures.fetch_one(&mut *connection).await?;
    connection.commit().await?;
    let figure = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    let (waiting, leased) = (figure(0)?, figure(1)?);
    Ok(TransportStats {
        ready: waiting.saturating_sub(leased),
        leased,
        failed: figure(2)?,
        oldest: row.try_get::<Option<Time>, _>(3)?.map(|time| time.0),
        bytes: Some(figure(4)?),
    })
}

fn count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}
