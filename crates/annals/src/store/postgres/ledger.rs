//! The log, for who signs, proves and verifies it.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::read::uuid;
use super::tiles;
use crate::event::EventId;
use crate::log::{Place, Tiles};
use crate::postgres::{Connection, Failure, Pool, Time, number};
use crate::store::{Columns, Held, Kept, KeptRemoval, LedgerRow, Sign, Signing, Standing};

/// The columns that [`row`] reads, in its order: of annals_events as e and annals_appends
/// as a.
macro_rules! columns {
    () => {
        "a.first + e.rank, e.id, e.salt, convert_to(e.body, 'UTF8'), e.occurred_at, e.action, e.outcome, \
         e.entity_type, e.entity_id, e.actor_type, e.actor_id, e.tenant, e.request_id"
    };
}

pub(super) async fn standing(pool: Pool) -> Result<Standing, Failure> {
    let mut snapshot = super::read::snapshot(&pool).await?;
    let standing = standing_in(&mut snapshot).await?;
    snapshot.commit().await?;
    Ok(standing)
}

async fn standing_in(connection: &mut Connection) -> Result<Standing, Failure> {
    let ask = connection.query(
        "SELECT (SELECT value FROM annals_store_meta WHERE key = 'uuid'), annals_log_copy(), s.copy, h.size, \
             ARRAY(SELECT key FROM annals_log_keys ORDER BY key), c.size, c.signed_at, c.note \
         FROM annals_log_head h CROSS JOIN annals_log_signer s LEFT JOIN LATERAL \
             (SELECT * FROM annals_log_checkpoints ORDER BY size DESC LIMIT 1) c ON true",
    );
    let row = ask.fetch_one(&mut **connection).await?;
    let size = row.try_get::<i64, _>(3)?.unsigned_abs();
    let latest: Option<i64> = row.try_get(5)?;
    Ok(Standing {
        uuid: row.try_get(0)?,
        copy: row.try_get(1)?,
        signed_copy: row.try_get(2)?,
        size,
        root: tiles::root_at(connection, size).await?,
        keys: row.try_get(4)?,
        latest: latest.map(|_| kept(&row, 5)).transpose()?,
    })
}

pub(super) async fn tiles(pool: Pool, places: Vec<Place>) -> Result<Tiles, Failure> {
    let mut connection = pool.connect().await?;
    let tiles = tiles::read(&mut connection, &places).await?;
    connection.commit().await?;
    Ok(tiles)
}

pub(super) async fn rows(pool: Pool, from: u64, until: u64) -> Result<Vec<LedgerRow>, Failure> {
    // The appends that reach into the stretch begin with the one in which it begins. Each
    // is looked up on its own (OFFSET 0), whatever the planner makes of it: joined with
    // the whole table, a stretch of ten million events took a second. Their ids are not
    // asked for, since they may have been altered.
    const ROWS: &str = concat!(
        "SELECT * FROM (SELECT ",
        columns!(),
        " FROM (SELECT * FROM annals_appends WHERE first < $2 AND first >= coalesce( \
              (SELECT first FROM annals_appends WHERE first <= $1 ORDER BY first DESC LIMIT 1), 0)) a \
         CROSS JOIN LATERAL (SELECT * FROM annals_events e WHERE e.append = a.number OFFSET 0) e \
         WHERE a.first + e.rank >= $1 AND a.first + e.rank < $2 \
         UNION ALL SELECT position, id, NULL, commitment, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL \
         FROM annals_tombstones WHERE position >= $1 AND position < $2) r"
    );
    let mut connection = pool.connect().await?;
    let read = connection.query(ROWS).bind(number(from)).bind(number(until));
    let rows = read.fetch_all(&mut *connection).await?;
    connection.commit().await?;
    let mut rows: Vec<LedgerRow> = rows.iter().map(row).collect::<sqlx::Result<_>>()?;
    rows.sort_by_key(|row| row.position);
    Ok(rows)
}

pub(super) async fn strays(pool: Pool, limit: usize) -> Result<Vec<LedgerRow>, Failure> {
    // Whoever counts twice what has no place at all knows nothing of places.
    const STRAYS: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM annals_events e LEFT JOIN annals_appends a ON a.number = e.append \
         WHERE a.number IS NULL OR e.rank < 0 OR e.rank >= a.events \
             OR a.first + e.rank >= (SELECT size FROM annals_log_head) \
         UNION ALL SELECT position, id, NULL, commitment, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL \
         FROM annals_tombstones WHERE position < 0 OR position >= (SELECT size FROM annals_log_head) LIMIT $1"
    );
    let mut connection = pool.connect().await?;
    let read = connection.query(STRAYS).bind(number(limit as u64));
    let rows = read.fetch_all(&mut *connection).await?;
    connection.commit().await?;
    Ok(rows.iter().map(row).collect::<sqlx::Result<_>>()?)
}

fn row(row: &PgRow) -> sqlx::Result<LedgerRow> {
    let position: Option<i64> = row.try_get(0)?;
    let id: uuid::Uuid = row.try_get(1)?;
    let (salt, bytes): (Option<Vec<u8>>, Vec<u8>) = (row.try_get(2)?, row.try_get(3)?);
    let held = match salt {
        None => Held::Tombstone(bytes),
        Some(salt) => {
            let mut texts = <[Option<String>; 8]>::default();
            for (index, text) in texts.iter_mut().enumerate() {
                *text = row.try_get(5 + index)?;
            }
            let occurred_at = row.try_get::<Time, _>(4)?.0.as_micros();
            Held::Event { salt, body: bytes, columns: Box::new(Columns { occurred_at, texts }) }
        }
    };
    // What has no place is told by one that no log has.
    let position = position.and_then(|place| u64::try_from(place).ok()).unwrap_or(u64::MAX);
    Ok(LedgerRow { position, id: id.into_bytes(), held })
}

pub(super) async fn sign(pool: Pool, at: Vec<u64>, sign: Sign) -> Result<Option<Signing>, Failure> {
    let mut transaction = pool.begin("BEGIN").await?;
    transaction.query("SELECT annals_log_lock()").execute(&mut *transaction).await?;
    let standing = standing_in(&mut transaction).await?;
    let mut roots = Vec::new();
    for size in standing.sizes(&at) {
        roots.push((size, tiles::root_at(&mut transaction, size).await?));
    }
    let Some(signing) = sign(&standing, &roots)? else {
        transaction.rollback().await?;
        return Ok(None);
    };
    let keep = transaction.query("SELECT annals_log_sign($1, $2, $3, $4, $5)");
    let keep = keep.bind(number(signing.size)).bind(signing.note.clone());
    let keep = keep.bind(signing.keys.clone()).bind(signing.copy.clone());
    keep.bind(signing.uuid.clone()).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Some(signing))
}

pub(super) async fn cosign(pool: Pool, size: u64, note: String) -> Result<(), Failure> {
    let mut connection = pool.connect().await?;
    let cosign = connection.query("SELECT annals_log_cosign($1, $2)").bind(number(size)).bind(note);
    cosign.execute(&mut *connection).await?;
    connection.commit().await?;
    Ok(())
}

pub(super) async fn keep_removal(
    pool: Pool,
    event: EventId,
    removal: KeptRemoval,
) -> Result<(), Failure> {
    let mut connection = pool.connect().await?;
    let keep = connection.query("SELECT annals_removal_keep($1, $2, $3)").bind(uuid(event));
    let parts: Vec<Vec<u8>> = removal.parts().into_iter().map(<[u8]>::to_vec).collect();
    keep.bind(parts).bind(removal.note).execute(&mut *connection).await?;
    connection.commit().await?;
    Ok(())
}

pub(super) async fn removal(pool: Pool, event: EventId) -> Result<Option<KeptRemoval>, Failure> {
    const PARTS: &str = "SELECT r.positions, n.note FROM annals_removals r \
         LEFT JOIN annals_removal_notes n ON n.event = r.event WHERE r.event = $1 ORDER BY r.part";
    let mut connection = pool.connect().await?;
    let parts = connection.row::<(Vec<u8>, Option<String>)>(PARTS).bind(uuid(event));
    let parts = parts.fetch_all(&mut *connection).await?;
    connection.commit().await?;
    Ok(parts
        .into_iter()
        .reduce(|(mut all, note), (part, _)| {
            all.extend(part);
            (all, note)
        })
        .map(|(positions, note)| KeptRemoval { positions, note }))
}

pub(super) async fn sign_removal(pool: Pool, event: EventId, note: String) -> Result<(), Failure> {
    let mut connection = pool.connect().await?;
    let sign = connection.query("SELECT annals_removal_sign($1, $2)").bind(uuid(event)).bind(note);
    sign.execute(&mut *connection).await?;
    connection.commit().await?;
    Ok(())
}

pub(super) async fn checkpoints(pool: Pool, from: u64, limit: usize) -> Result<Vec<Kept>, Failure> {
    let mut connection = pool.connect().await?;
    let read = connection.query(
        "SELECT size, signed_at, note FROM annals_log_checkpoints WHERE size >= $1 ORDER BY size LIMIT $2",
    );
    let read = read.bind(number(from)).bind(number(limit as u64));
    let rows = read.fetch_all(&mut *connection).await?;
    connection.commit().await?;
    Ok(rows.iter().map(|row| kept(row, 0)).collect::<sqlx::Result<_>>()?)
}

pub(super) async fn last_checkpoints(pool: Pool, limit: usize) -> Result<Vec<Kept>, Failure> {
    let mut connection = pool.connect().await?;
    let read = connection.query(
        "SELECT size, signed_at, note FROM annals_log_checkpoints ORDER BY size DESC LIMIT $1",
    );
    let rows = read.bind(number(limit as u64)).fetch_all(&mut *connection).await?;
    connection.commit().await?;
    Ok(rows.iter().map(|row| kept(row, 0)).collect::<sqlx::Result<_>>()?)
}

/// A checkpoint from three columns of a row.
fn kept(row: &PgRow, first: usize) -> sqlx::Result<Kept> {
    Ok(Kept {
        size: row.try_get::<i64, _>(first)?.unsigned_abs(),
        signed_at: row.try_get::<Time, _>(first + 1)?.0,
        note: row.try_get(first + 2)?,
    })
}
