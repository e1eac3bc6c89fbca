//! Who may use the server.

use sqlx::Row;
use sqlx::mysql::MySqlRow;

use crate::error::{Error, ErrorKind};
use crate::mysql::{Failure, Pool, number};
use crate::store::Entry;

pub(super) async fn entries(pool: Pool, after: u64, limit: usize) -> Result<Vec<Entry>, Failure> {
    const READ: &str = "SELECT kind, id, revision, body, mac FROM annals_access WHERE revision > ? \
         ORDER BY revision LIMIT ?";
    let mut connection = pool.connect().await?;
    let read = connection.query(READ).bind(number(after)).bind(number(limit as u64));
    let rows = read.fetch_all(&mut *connection).await?;
    connection.commit().await?;
    rows.iter().map(entry).collect()
}

pub(super) async fn write(pool: Pool, entry: Entry) -> Result<Option<u64>, Failure> {
    const LOCK: &str = "SELECT revision FROM annals_access_head FOR UPDATE";
    const NEXT: &str = "UPDATE annals_access_head SET revision = ?";
    const NEW: &str =
        "INSERT IGNORE INTO annals_access (revision, body, mac, kind, id) VALUES (?, ?, ?, ?, ?)";
    const CHANGE: &str = "UPDATE annals_access SET revision = ?, body = ?, mac = ? \
         WHERE kind = ? AND id = ? AND revision = ?";
    let mut transaction = pool.begin("START TRANSACTION").await?;
    let last: i64 = transaction.scalar(LOCK).fetch_one(&mut *transaction).await?;
    let revision = last + 1;
    transaction.query(NEXT).bind(revision).execute(&mut *transaction).await?;
    let write = transaction.query(if entry.revision == 0 { NEW } else { CHANGE });
    let write = write.bind(revision).bind(entry.body.into_bytes()).bind(entry.mac.to_vec());
    let write = write.bind(entry.kind.into_bytes()).bind(entry.id.into_bytes());
    let write = match entry.revision {
        0 => write,
        before => write.bind(number(before)),
    };
    if write.execute(&mut *transaction).await?.rows_affected() == 0 {
        return Ok(None);
    }
    transaction.commit().await?;
    Ok(Some(revision.unsigned_abs()))
}

fn entry(row: &MySqlRow) -> Result<Entry, Failure> {
    let text = |column| -> Result<String, Failure> {
        let bytes: Vec<u8> = row.try_get(column)?;
        String::from_utf8(bytes).map_err(|error| {
            Error::new(ErrorKind::Damaged, "read who may use the server", error).into()
        })
    };
    Ok(Entry {
        kind: text(0)?,
        id: text(1)?,
        revision: row.try_get::<i64, _>(2)?.unsigned_abs(),
        body: text(3)?,
        mac: row.try_get::<&[u8], _>(4)?.try_into().unwrap_or_default(),
    })
}
