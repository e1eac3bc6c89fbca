//! The log, for who signs, proves and verifies it.

use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::read::snapshot;
use super::tiles;
use crate::error::{Error, ErrorKind};
use crate::event::{EventId, Timestamp};
use crate::log::{Place, Tiles};
use crate::mysql::{Connection, Failure, Pool, number};
use crate::store::{Columns, Held, Kept, KeptRemoval, LedgerRow, Sign, Signing, Standing};

/// The columns that [`row`] reads, in its order: of annals_events as e and annals_appends
/// as a.
macro_rules! columns {
    () => {
        "a.first + e.place, e.id, e.salt, e.body, e.occurred_at, e.action, e.outcome, e.entity_type, \
         e.entity_id, e.actor_type, e.actor_id, e.tenant, e.request_id"
    };
}

/// The same of annals_tombstones.
macro_rules! tombstones {
    () => {
        "SELECT position, id, NULL, commitment, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL \
         FROM annals_tombstones"
    };
}

pub(super) async fn standing(pool: Pool) -> Result<Standing, Failure> {
    let mut snapshot = snapshot(&pool).await?;
    let standing = standing_in(&mut snapshot).await?;
    snapshot.commit().await?;
    Ok(standing)
}

async fn standing_in(connection: &mut Connection) -> Result<Standing, Failure> {
    // A copy of the files is as old as the copying; but so is a table that OPTIMIZE has
    // written anew. A server on another machine has another number; but so has one in a
    // container that was made anew. Who changes one of the two at a time is believed.
    const ASK: &str = "SELECT (SELECT value FROM annals_store_meta WHERE name = 'uuid'), \
             CONCAT('database ', DATABASE(), ' made at ', (SELECT CAST(UNIX_TIMESTAMP(create_time) AS SIGNED) \
                 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'annals_log_head')), \
             s.copy, h.size, DATABASE() FROM annals_log_head h CROSS JOIN annals_log_signer s";
    // MariaDB and MySQL each have one of the two.
    const SERVER: &str =
        "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uid', 'server_uuid')";
    let row = connection.query(ASK).fetch_one(&mut **connection).await?;
    let size = row.try_get::<i64, _>(3)?.unsigned_abs();
    let (uuid, copy): (Vec<u8>, Vec<u8>) = (row.try_get_unchecked(0)?, row.try_get_unchecked(1)?);
    let (mut copy, database) = (text(copy)?, text(row.try_get_unchecked(4)?)?);
    if let Some(server) = connection.query(SERVER).fetch_optional(&mut **connection).await? {
        let number = text(server.try_get_unchecked(1)?)?;
        copy.push_str(&format!("; database {database} of server {number}"));
    }
    let signed_copy: Option<Vec<u8>> = row.try_get(2)?;
    let keys = connection.scalar::<Vec<u8>>("SELECT name FROM annals_log_keys ORDER BY name");
    let keys = keys.fetch_all(&mut **connection).await?;
    let latest = connection.query(
        "SELECT size, signed_at, note FROM annals_log_checkpoints ORDER BY size DESC LIMIT 1",
    );
    let latest = latest.fetch_optional(&mut **connection).await?;
    Ok(Standing {
        uuid: text(uuid)?,
        copy,
        signed_copy: signed_copy.map(text).transpose()?,
        size,
        root: tiles::root_at(connection, size).await?,
        keys: keys.into_iter().map(text).collect::<Result<_, _>>()?,
        latest: latest.as_ref().map(kept).transpose()?,
    })
}

pub(super) async fn tiles(pool: Pool, places: Vec<Place>) -> Result<Tiles, Failure> {
    let mut connection = pool.connect().await?;
    let tiles = tiles::read(&mut connection, &places).await?;
    connection.commit().await?;
    Ok(tiles)
}

pub(super) async fn rows(pool: Pool, from: u64, until: u64) -> Result<Vec<LedgerRow>, Failure> {
    // The appends that reach into the stretch begin with the one in which it begins.
    const EVENTS: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM annals_appends a FORCE INDEX (annals_appends_first) \
         STRAIGHT_JOIN annals_events e FORCE INDEX (annals_events_append) ON e.append = a.number \
         WHERE a.first >= COALESCE((SELECT MAX(first) FROM annals_appends WHERE first <= ?), 0) \
             AND a.first < ? AND a.first + e.place >= ? AND a.first + e.place < ?"
    );
    const TOMBSTONES: &str = concat!(tombstones!(), " WHERE position >= ? AND position < ?");
    let (from, until) = (number(from), number(until));
    // In one moment: an event that is pruned meanwhile is there once.
    let mut snapshot = snapshot(&pool).await?;
    let read = snapshot.query(EVENTS).bind(from).bind(until).bind(from).bind(until);
    let mut rows = read.fetch_all(&mut *snapshot).await?;
    let read = snapshot.query(TOMBSTONES).bind(from).bind(until);
    rows.extend(read.fetch_all(&mut *snapshot).await?);
    snapshot.commit().await?;
    let mut rows: Vec<LedgerRow> = rows.iter().map(row).collect::<Result<_, _>>()?;
    rows.sort_by_key(|row| row.position);
    Ok(rows)
}

pub(super) async fn strays(pool: Pool, limit: usize) -> Result<Vec<LedgerRow>, Failure> {
    const STRAYS: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM annals_events e LEFT JOIN annals_appends a ON a.number = e.append \
         WHERE a.number IS NULL OR e.place < 0 OR e.place >= a.events \
             OR a.first + e.place >= (SELECT size FROM annals_log_head) LIMIT ?"
    );
    const TOMBSTONES: &str = concat!(
        tombstones!(),
        " WHERE position < 0 OR position >= (SELECT size FROM annals_log_head) LIMIT ?"
    );
    let mut snapshot = snapshot(&pool).await?;
    let mut rows = Vec::new();
    for read in [STRAYS, TOMBSTONES] {
        let read = snapshot.query(read).bind(number(limit as u64));
        rows.extend(read.fetch_all(&mut *snapshot).await?);
    }
    snapshot.commit().await?;
    rows.iter().take(limit).map(row).collect()
}

fn row(row: &MySqlRow) -> Result<LedgerRow, Failure> {
    let position: Option<i64> = row.try_get(0)?;
    let id = row.try_get::<&[u8], _>(1)?.try_into().unwrap_or_default();
    let (salt, bytes): (Option<Vec<u8>>, Vec<u8>) = (row.try_get(2)?, row.try_get(3)?);
    let held = match salt {
        None => Held::Tombstone(bytes),
        Some(salt) => {
            let mut texts = <[Option<String>; 8]>::default();
            for (index, text) in texts.iter_mut().enumerate() {
                let bytes: Option<&[u8]> = row.try_get(5 + index)?;
                *text = bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            }
            Held::Event {
                salt,
                body: bytes,
                columns: Box::new(Columns { occurred_at: row.try_get(4)?, texts }),
            }
        }
    };
    // What has no place is told by one that no log has.
    let position = position.and_then(|place| u64::try_from(place).ok()).unwrap_or(u64::MAX);
    Ok(LedgerRow { position, id, held })
}

pub(super) async fn sign(pool: Pool, at: Vec<u64>, sign: Sign) -> Result<Option<Signing>, Failure> {
    const KEEP: &str =
        "INSERT INTO annals_log_checkpoints (size, signed_at, note) VALUES (?, ?, ?)";
    // Of what is over an hour old all but the last of each hour.
    const THIN: &str = "DELETE c FROM annals_log_checkpoints c WHERE c.size IN (SELECT size FROM (\
             SELECT size, signed_at, LEAD(signed_at) OVER (ORDER BY size) AS next FROM annals_log_checkpoints \
             WHERE signed_at > ?) t WHERE signed_at <= ? AND signed_at DIV ? = next DIV ?)";
    const HOUR: i64 = 3600 * 1_000_000;
    let mut transaction = pool.begin("START TRANSACTION").await?;
    let lock = transaction.query("SELECT one FROM annals_log_signer FOR UPDATE");
    lock.fetch_one(&mut *transaction).await?;
    let standing = standing_in(&mut transaction).await?;
    let mut roots = Vec::new();
    for size in standing.sizes(&at) {
        roots.push((size, tiles::root_at(&mut transaction, size).await?));
    }
    let Some(signing) = sign(&standing, &roots)? else {
        transaction.rollback().await?;
        return Ok(None);
    };
    if let Some(uuid) = &signing.uuid {
        let name = transaction.query("UPDATE annals_store_meta SET value = ? WHERE name = 'uuid'");
        name.bind(uuid.clone()).execute(&mut *transaction).await?;
        transaction.query("DELETE FROM annals_log_keys").execute(&mut *transaction).await?;
        transaction.query("DELETE FROM annals_log_checkpoints").execute(&mut *transaction).await?;
    }
    for key in &signing.keys {
        let keep = transaction.query("INSERT IGNORE INTO annals_log_keys (name) VALUES (?)");
        keep.bind(key.clone().into_bytes()).execute(&mut *transaction).await?;
    }
    let copied = transaction.query("UPDATE annals_log_signer SET copy = ?");
    copied.bind(signing.copy.clone().into_bytes()).execute(&mut *transaction).await?;
    if let Some(note) = &signing.note {
        let now = Timestamp::now().as_micros();
        let before = standing.latest.as_ref().map_or(0, |latest| latest.signed_at.as_micros());
        let keep = transaction.query(KEEP).bind(number(signing.size)).bind(now);
        keep.bind(note.clone().into_bytes()).execute(&mut *transaction).await?;
        let thin = transaction.query(THIN).bind(before - 2 * HOUR).bind(now - HOUR);
        thin.bind(HOUR).bind(HOUR).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(Some(signing))
}

pub(super) async fn cosign(pool: Pool, size: u64, note: String) -> Result<(), Failure> {
    let mut connection = pool.connect().await?;
    let cosign = connection.query("UPDATE annals_log_checkpoints SET note = ? WHERE size = ?");
    cosign.bind(note.into_bytes()).bind(number(size)).execute(&mut *connection).await?;
    connection.commit().await?;
    Ok(())
}

pub(super) async fn keep_removal(
    pool: Pool,
    event: EventId,
    removal: KeptRemoval,
) -> Result<(), Failure> {
    let mut transaction = pool.begin("START TRANSACTION").await?;
    for (part, positions) in (0_i64..).zip(removal.parts()) {
        let keep = transaction
            .query("INSERT INTO annals_removals (event, part, positions) VALUES (?, ?, ?)");
        let keep = keep.bind(&event.as_bytes()[..]).bind(part).bind(positions);
        keep.execute(&mut *transaction).await?;
    }
    if let Some(note) = &removal.note {
        let keep =
            transaction.query("INSERT INTO annals_removal_notes (event, note) VALUES (?, ?)");
        keep.bind(&event.as_bytes()[..]).bind(note.as_bytes()).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

pub(super) async fn removal(pool: Pool, event: EventId) -> Result<Option<KeptRemoval>, Failure> {
    const PARTS: &str = "SELECT r.positions, n.note FROM annals_removals r \
         LEFT JOIN annals_removal_notes n ON n.event = r.event WHERE r.event = ? ORDER BY r.part";
    let mut connection = pool.connect().await?;
    let read = connection.query(PARTS).bind(&event.as_bytes()[..]);
    let rows = read.fetch_all(&mut *connection).await?;
    connection.commit().await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let note = first.try_get::<Option<Vec<u8>>, _>(1)?.map(text).transpose()?;
    let mut positions = Vec::new();
    for row in &rows {
        positions.extend_from_slice(row.try_get(0)?);
    }
    Ok(Some(KeptRemoval { positions, note }))
}

pub(super) async fn sign_removal(pool: Pool, event: EventId, note: String) -> Result<(), Failure> {
    let mut connection = pool.connect().await?;
    let sign = connection.query(
        "INSERT INTO annals_removal_notes (event, note) VALUES (?, ?) \
         ON DUPLICATE KEY UPDATE note = VALUES(note)",
    );
    sign.bind(&event.as_bytes()[..]).bind(note.into_bytes()).execute(&mut *connection).await?;
    connection.commit().await?;
    Ok(())
}

pub(super) async fn checkpoints(pool: Pool, from: u64, limit: usize) -> Result<Vec<Kept>, Failure> {
    let mut connection = pool.connect().await?;
    let read = connection.query(
        "SELECT size, signed_at, note FROM annals_log_checkpoints WHERE size >= ? ORDER BY size LIMIT ?",
    );
    let read = read.bind(number(from)).bind(number(limit as u64));
    let rows = read.fetch_all(&mut *connection).await?;
    connection.commit().await?;
    rows.iter().map(kept).collect()
}

pub(super) async fn last_checkpoints(pool: Pool, limit: usize) -> Result<Vec<Kept>, Failure> {
    let mut connection = pool.connect().await?;
    let read = connection.query(
        "SELECT size, signed_at, note FROM annals_log_checkpoints ORDER BY size DESC LIMIT ?",
    );
    let rows = read.bind(number(limit as u64)).fetch_all(&mut *connection).await?;
    connection.commit().await?;
    rows.iter().map(kept).collect()
}

/// A checkpoint from the three columns of a row.
fn kept(row: &MySqlRow) -> Result<Kept, Failure> {
    let size = row.try_get::<i64, _>(0)?.unsigned_abs();
    let signed_at = Timestamp::from_micros(row.try_get(1)?).ok_or_else(|| {
        let doing = format!("read the checkpoint of size {size}");
        Error::new(ErrorKind::Damaged, doing, "its time is out of range")
    })?;
    Ok(Kept { size, signed_at, note: text(row.try_get(2)?)? })
}

fn text(bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| {
        let doing = "read the log's checkpoints and keys";
        Error::new(ErrorKind::Damaged, doing, error)
            .hint("the store was altered: `annals verify` says where")
            .into()
    })
}
