//! Who may use the server.

use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::postgres::{Failure, Pool, number};
use crate::store::Entry;

pub(super) async fn entries(pool: Pool, after: u64, limit: usize) -> Result<Vec<Entry>, Failure> {
    const READ: &str = "SELECT kind, id, revision, body, mac FROM annals_access WHERE revision > $1 \
         ORDER BY revision LIMIT $2";
    let mut connection = pool.connect().await?;
    let read = connection.query(READ).bind(number(after)).bind(number(limit as u64));
    let rows = read.fetch_all(&mut *connection).await?;
    connection.commit().await?;
    Ok(rows.iter().map(entry).collect::<sqlx::Result<_>>()?)
}

pub(super) async fn write(pool: Pool, entry: Entry) -> Result<Option<u64>, Failure> {
    const NEXT: &str = "UPDATE annals_access_head SET revision = revision + 1 RETURNING revision";
    const NEW: &str = "INSERT INTO annals_access (kind, id, revision, body, mac) \
         SELECT $1, $2, $3, $4, $5 WHERE $6 = 0 ON CONFLICT DO NOTHING";
    const CHANGE: &str = "UPDATE annals_access SET revision = $3, body = $4, mac = $5 \
         WHERE kind = $1 AND id = $2 AND revision = $6";
    let mut transaction = pool.begin("BEGIN").await?;
    let revision: i64 = transaction.scalar(NEXT).fetch_one(&mut *transaction).await?;
    let write = transaction.query(if entry.revision == 0 { NEW } else { CHANGE });
    let write = write.bind(entry.kind).bind(entry.id).bind(revision);
    let write = write.bind(entry.body).bind(entry.mac.to_vec()).bind(number(entry.revision));
    if write.execute(&mut *transaction).await?.rows_affected() == 0 {
        return Ok(None);
    }
    transaction.commit().await?;
    Ok(Some(revision.unsigned_abs()))
}

fn entry(row: &PgRow) -> sqlx::Result<Entry> {
    Ok(Entry {
        kind: row.try_get(0)?,
        id: row.try_get(1)?,
        revision: row.try_get::<i64, _>(2)?.unsigned_abs(),
        body: row.try_get(3)?,
        mac: row.try_get::<&[u8], _>(4)?.try_into().unwrap_or_default(),
    })
}
