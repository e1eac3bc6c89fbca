//! Counts of events.

use std::collections::BTreeSet;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::sqlite::Failure;
use crate::store::{Rolled, RollupHead, RollupPart, StaleDay, WhichParts};

pub(super) fn parts(
    connection: &Connection,
    which: &WhichParts,
    after: Option<(u32, u64)>,
    limit: usize,
) -> Result<(RollupHead, Vec<RollupPart>), Failure> {
    // One statement sees one moment.
    let mut read = connection.prepare_cached(
        "SELECT h.position, h.next_part, p.id, p.day, p.tenant, p.cells \
         FROM annals_rollup_head h LEFT JOIN ( \
             SELECT id, day, tenant, cells FROM annals_rollups INDEXED BY annals_rollups_day \
             WHERE (day, id) > (?1, ?2) AND day >= ?3 AND day < ?4 \
                 AND (?5 IS NULL OR tenant IN (SELECT value FROM json_each(?5))) \
             ORDER BY day, id LIMIT ?6) p ON true ORDER BY p.day, p.id",
    )?;
    let (day, id) = after.unwrap_or((which.days.start, 0));
    let tenants = which.tenants.as_ref().map(|tenants| serde_json::json!(tenants).to_string());
    let (mut head, mut parts) = (RollupHead::default(), Vec::new());
    let mut rows =
        read.query(params![day, id, which.days.start, which.days.end, tenants, limit])?;
    while let Some(row) = rows.next()? {
        head = RollupHead { position: row.get(0)?, next_part: row.get(1)? };
        let Some(id) = row.get(2)? else { break };
        let (day, tenant, cells) = (row.get(3)?, row.get(4)?, row.get(5)?);
        parts.push(RollupPart { id, day, tenant, cells, body: Vec::new() });
    }
    Ok((head, parts))
}

pub(super) fn bodies(connection: &Connection, ids: &[u64]) -> Result<Vec<(u64, Vec<u8>)>, Failure> {
    let mut read = connection.prepare_cached(
        "SELECT id, body FROM annals_rollups WHERE id IN (SELECT value FROM json_each(?1))",
    )?;
    let bodies =
        read.query_map([serde_json::json!(ids).to_string()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(bodies.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn stale(connection: &Connection, limit: usize) -> Result<Vec<StaleDay>, Failure> {
    let mut read = connection
        .prepare_cached("SELECT day, mark FROM annals_rollup_stale ORDER BY day LIMIT ?1")?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let days =
        read.query_map([limit], |row| Ok(StaleDay { day: row.get(0)?, mark: row.get(1)? }))?;
    Ok(days.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn write(connection: &mut Connection, rolled: &Rolled) -> Result<bool, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let after = rolled.after();
    let changed = transaction.execute(
        "UPDATE annals_rollup_head SET position = ?1, next_part = ?2 WHERE next_part = ?3",
        (after.position, after.next_part, rolled.before.next_part),
    )?;
    if changed == 0 {
        return Ok(false);
    }
    {
        let mut delete = transaction.prepare_cached("DELETE FROM annals_rollups WHERE id = ?1")?;
        for id in &rolled.gone {
            delete.execute([id])?;
        }
        let mut insert = transaction.prepare_cached(
            "INSERT INTO annals_rollups (id, day, tenant, cells, body) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for RollupPart { id, day, tenant, cells, body } in &rolled.parts {
            insert.execute(params![id, day, tenant, cells, body])?;
        }
    }
    if let Some(StaleDay { day, mark }) = rolled.recounted {
        transaction
            .execute("DELETE FROM annals_rollup_stale WHERE day = ?1 AND mark = ?2", (day, mark))?;
    }
    transaction.commit()?;
    Ok(true)
}

/// Marks days from which events are removed. A mark is another one each time, also if it was
/// taken away meanwhile: the head's next part has changed by then.
pub(super) fn mark(transaction: &Transaction<'_>, days: &BTreeSet<u32>) -> Result<(), Failure> {
    let mut mark = transaction.prepare_cached(
        "INSERT INTO annals_rollup_stale (day, mark) VALUES (?1, 1) \
         ON CONFLICT (day) DO UPDATE SET mark = mark + 1",
    )?;
    for day in days {
        mark.execute([day])?;
    }
    Ok(())
}
