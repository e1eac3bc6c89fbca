//! Counts of events.

use std::sync::Arc;

use sqlx::Row;

use crate::postgres::{Failure, Pool, number};
use crate::store::{Rolled, RollupHead, RollupPart, StaleDay, WhichParts};

pub(super) async fn parts(
    pool: Pool,
    which: WhichParts,
    after: Option<(u32, u64)>,
    limit: usize,
) -> Result<(RollupHead, Vec<RollupPart>), Failure> {
    // One statement sees one moment.
    const PARTS: &str = "SELECT h.position, h.next_part, p.id, p.day, p.tenant, p.cells \
         FROM annals_rollup_head h LEFT JOIN LATERAL ( \
             SELECT id, day, tenant, cells FROM annals_rollups \
             WHERE (day, id) > ($1, $2) AND day >= $3 AND day < $4 AND ($5 IS NULL OR tenant = ANY ($5)) \
             ORDER BY day, id LIMIT $6) p ON true ORDER BY p.day, p.id";
    let (day, id) = after.unwrap_or((which.days.start, 0));
    let tenants: Option<Vec<String>> = which.tenants.map(|tenants| tenants.into_iter().collect());
    let mut connection = pool.connect().await?;
    let read = connection.query(PARTS).bind(of_day(day)).bind(number(id));
    let read = read.bind(of_day(which.days.start)).bind(of_day(which.days.end));
    let read = read.bind(tenants).bind(number(limit as u64));
    let rows = read.fetch_all(&mut *connection).await?;
    connection.commit().await?;
    let (mut head, mut parts) = (RollupHead::default(), Vec::with_capacity(rows.len()));
    for row in rows {
        let figure = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
        head = RollupHead { position: figure(0)?, next_part: figure(1)? };
        let Some(id) = row.try_get::<Option<i64>, _>(2)? else { break };
        parts.push(RollupPart {
            id: id.unsigned_abs(),
            day: row.try_get::<i32, _>(3)?.unsigned_abs(),
            tenant: row.try_get(4)?,
            cells: figure(5)?,
            body: Vec::new(),
        });
    }
    Ok((head, parts))
}

pub(super) async fn bodies(pool: Pool, ids: Vec<u64>) -> Result<Vec<(u64, Vec<u8>)>, Failure> {
    let ids: Vec<i64> = ids.into_iter().map(number).collect();
    let mut connection = pool.connect().await?;
    let read =
        connection.row::<(i64, Vec<u8>)>("SELECT id, body FROM annals_rollups WHERE id = ANY ($1)");
    let rows = read.bind(ids).fetch_all(&mut *connection).await?;
    connection.commit().await?;
    Ok(rows.into_iter().map(|(id, body)| (id.unsigned_abs(), body)).collect())
}

pub(super) async fn stale(pool: Pool, limit: usize) -> Result<Vec<StaleDay>, Failure> {
    const STALE: &str = "SELECT day, mark FROM annals_rollup_stale ORDER BY day LIMIT $1";
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
        "UPDATE annals_rollup_head SET position = $1, next_part = $2 WHERE next_part = $3";
    const INSERT: &str = "INSERT INTO annals_rollups (id, day, tenant, cells, body) \
         SELECT * FROM unnest($1::bigint[], $2::integer[], $3::text[], $4::bigint[], $5::bytea[])";
    const CLEAR: &str = "DELETE FROM annals_rollup_stale WHERE day = $1 AND mark = $2";
    let after = rolled.after();
    let mut transaction = pool.begin("BEGIN").await?;
    let head = transaction.query(HEAD).bind(number(after.position)).bind(number(after.next_part));
    let head = head.bind(number(rolled.before.next_part)).execute(&mut *transaction).await?;
    if head.rows_affected() == 0 {
        return Ok(false);
    }
    let gone: Vec<i64> = rolled.gone.iter().copied().map(number).collect();
    let delete = transaction.query("DELETE FROM annals_rollups WHERE id = ANY ($1)").bind(gone);
    delete.execute(&mut *transaction).await?;
    let (mut ids, mut days, mut tenants) = (vec![], vec![], vec![]);
    let (mut cells, mut bodies) = (vec![], vec![]);
    for part in &rolled.parts {
        ids.push(number(part.id));
        days.push(of_day(part.day));
        tenants.push(part.tenant.clone());
        cells.push(number(part.cells));
        bodies.push(part.body.clone());
    }
    let insert = transaction.query(INSERT).bind(ids).bind(days).bind(tenants);
    insert.bind(cells).bind(bodies).execute(&mut *transaction).await?;
    if let Some(StaleDay { day, mark }) = rolled.recounted {
        let clear = transaction.query(CLEAR).bind(of_day(day)).bind(number(mark));
        clear.execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(true)
}

/// A day as the database counts it.
fn of_day(day: u32) -> i32 {
    i32::try_from(day).unwrap_or(i32::MAX)
}
