//! Counts of events.

use std::collections::BTreeSet;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, Row};

use crate::error::{Error, ErrorKind};
use crate::event::EventId;
use crate::mysql::{Connection, Failure, Pool, number};
use crate::store::{Rolled, RollupHead, RollupPart, StaleDay, WhichParts, day_of_millis};

pub(super) async fn parts(
    pool: Pool,
    which: WhichParts,
    after: Option<(u32, u64)>,
    limit: usize,
) -> Result<(RollupHead, Vec<RollupPart>), Failure> {
    let tenants = match &which.tenants {
        None => String::new(),
        Some(tenants) if tenants.is_empty() => "AND FALSE".to_owned(),
        Some(tenants) => format!("AND tenant IN ({})", vec!["?"; tenants.len()].join(", ")),
    };
    // One statement sees one moment.
    let parts = format!(
        "SELECT h.position, h.next_part, p.id, p.day, p.tenant, p.cells \
         FROM annals_rollup_head h LEFT JOIN ( \
             SELECT id, day, tenant, cells FROM annals_rollups FORCE INDEX (annals_rollups_day) \
             WHERE day >= ? AND day < ? AND (day > ? OR day = ? AND id > ?) {tenants} \
             ORDER BY day, id LIMIT ?) p ON TRUE ORDER BY p.day, p.id"
    );
    let (day, id) = after.unwrap_or((which.days.start, 0));
    let mut connection = pool.connect().await?;
    let mut read = connection.query(AssertSqlSafe(parts)).bind(day.max(which.days.start));
    read = read.bind(which.days.end).bind(day).bind(day).bind(number(id));
    for tenant in which.tenants.into_iter().flatten() {
        read = read.bind(tenant.into_bytes());
    }
    let rows = read.bind(number(limit as u64)).fetch_all(&mut *connection).await?;
    connection.commit().await?;
    let (mut head, mut parts) = (RollupHead::default(), Vec::with_capacity(rows.len()));
    for row in rows {
        let figure = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
        head = RollupHead { position: figure(0)?, next_part: figure(1)? };
        let Some(id) = row.try_get::<Option<i64>, _>(2)? else { break };
        let tenant: Option<Vec<u8>> = row.try_get(4)?;
        let tenant = tenant
            .map(String::from_utf8)
            .transpose()
            .map_err(|error| Error::new(ErrorKind::Damaged, "read the counts of events", error))?;
        let day = row.try_get::<i32, _>(3)?.unsigned_abs();
        let id = id.unsigned_abs();
        parts.push(RollupPart { id, day, tenant, cells: figure(5)?, body: Vec::new() });
    }
    Ok((head, parts))
}

pub(super) async fn bodies(pool: Pool, ids: Vec<u64>) -> Result<Vec<(u64, Vec<u8>)>, Failure> {
    const BODIES: &str = "SELECT p.id, p.body FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$')) r \
         STRAIGHT_JOIN annals_rollups p FORCE INDEX (PRIMARY) ON p.id = r.id";
    let mut connection = pool.connect().await?;
    let read = connection.row::<(i64, Vec<u8>)>(BODIES).bind(serde_json::json!(ids).to_string());
    let rows = read.fetch_all(&mut *connection).await?;
    connection.commit().await?;
    Ok(rows.into_iter().map(|(id, body)| (id.unsigned_abs(), body)).collect())
}

pub(super) async fn stale(pool: Pool, limit: usize) -> Result<Vec<StaleDay>, Failure> {
    const STALE: &str = "SELECT day, mark FROM annals_rollup_stale ORDER BY day LIMIT ?";
    let mut connection = pool.connect().await?;
    let read = connection.row::<(i32, i64)>(STALE).bind(number(limit as u64));
    let rows = read.fetch_all(&mut *connection).await?;
    connection.commit().await?;
    let stale =
        |(day, mark): (i32, i64)| StaleDay { day: day.unsigned_abs(), mark: mark.unsigned_abs() };
    Ok(rows.into_iter().map(stale).collect())
}

pub(super) async fn write(pool: Pool, rolled: Arc<Rolled>) -> Result<bool, Failure> {
    const HEAD: &str =
        "UPDATE annals_rollup_head SET position = ?, next_part = ? WHERE next_part = ?";
    const DELETE: &str = "DELETE p FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$')) r \
         STRAIGHT_JOIN annals_rollups p FORCE INDEX (PRIMARY) ON p.id = r.id";
    const INSERT: &str =
        "INSERT INTO annals_rollups (id, day, tenant, cells, body) VALUES (?, ?, ?, ?, ?)";
    const CLEAR: &str = "DELETE FROM annals_rollup_stale WHERE day = ? AND mark = ?";
    let after = rolled.after();
    let mut transaction = pool.begin("START TRANSACTION").await?;
    let head = transaction.query(HEAD).bind(number(after.position)).bind(number(after.next_part));
    let head = head.bind(number(rolled.before.next_part)).execute(&mut *transaction).await?;
    if head.rows_affected() == 0 {
        return Ok(false);
    }
    if !rolled.gone.is_empty() {
        let delete = transaction.query(DELETE).bind(serde_json::json!(rolled.gone).to_string());
        delete.execute(&mut *transaction).await?;
    }
    for part in &rolled.parts {
        let tenant = part.tenant.clone().map(String::into_bytes);
        let insert = transaction.query(INSERT).bind(number(part.id)).bind(part.day).bind(tenant);
        let insert = insert.bind(number(part.cells)).bind(part.body.clone());
        insert.execute(&mut *transaction).await?;
    }
    if let Some(StaleDay { day, mark }) = rolled.recounted {
        let clear = transaction.query(CLEAR).bind(day).bind(number(mark));
        clear.execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(true)
}

/// Marks the days from which events are removed.
pub(super) async fn mark(transaction: &mut Connection, ids: &[EventId]) -> sqlx::Result<()> {
    const MARK: &str = "INSERT INTO annals_rollup_stale (day, mark) \
         SELECT r.day, 1 FROM JSON_TABLE(?, '$[*]' COLUMNS (day INT PATH '$')) r \
         ON DUPLICATE KEY UPDATE mark = annals_rollup_stale.mark + 1";
    let days: BTreeSet<u32> = ids.iter().map(|id| day_of_millis(id.millis())).collect();
    let mark = transaction.query(MARK).bind(serde_json::json!(days).to_string());
    mark.execute(&mut **transaction).await.map(drop)
}
