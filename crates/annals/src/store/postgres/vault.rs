//! The keys of subjects.

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::postgres::{Failure, Pool, Time};
use crate::store::{SubjectKey, Whose};

pub(super) async fn live(pool: Pool, whose: Vec<Whose>) -> Result<Vec<SubjectKey>, Failure> {
    const LIVE: &str = "SELECT k.* FROM unnest($1::text[], $2::text[]) w (tenant, subject) CROSS JOIN LATERAL \
         (SELECT id, tenant, subject, wrapped, made_at, erased_at FROM annals_subject_keys s \
          WHERE s.tenant = w.tenant AND s.subject = w.subject AND s.erased_at IS NULL LIMIT 1) k";
    let (tenants, subjects): (Vec<String>, Vec<String>) =
        whose.into_iter().map(|one| (one.tenant, one.subject)).unzip();
    let mut connection = pool.connect().await?;
    let read = connection.query(LIVE).bind(tenants).bind(subjects);
    let rows = read.fetch_all(&mut *connection).await?;
    connection.commit().await?;
    Ok(rows.iter().map(key).collect::<sqlx::Result<_>>()?)
}

pub(super) async fn with_ids(pool: Pool, ids: Vec<[u8; 16]>) -> Result<Vec<SubjectKey>, Failure> {
    const WITH_IDS: &str = "SELECT k.* FROM unnest($1::uuid[]) w (id) CROSS JOIN LATERAL \
         (SELECT id, tenant, subject, wrapped, made_at, erased_at FROM annals_subject_keys s \
          WHERE s.id = w.id LIMIT 1) k";
    let ids: Vec<Uuid> = ids.into_iter().map(Uuid::from_bytes).collect();
    let mut connection = pool.connect().await?;
    let rows = connection.query(WITH_IDS).bind(ids).fetch_all(&mut *connection).await?;
    connection.commit().await?;
    Ok(rows.iter().map(key).collect::<sqlx::Result<_>>()?)
}

pub(super) async fn keep(pool: Pool, keys: Vec<SubjectKey>) -> Result<(), Failure> {
    let (mut ids, mut tenants, mut subjects, mut wrapped) = (vec![], vec![], vec![], vec![]);
    for key in keys {
        ids.push(Uuid::from_bytes(key.id));
        tenants.push(key.whose.tenant);
        subjects.push(key.whose.subject);
        wrapped.push(key.wrapped);
    }
    let mut connection = pool.connect().await?;
    let keep = connection.query("SELECT annals_keep_subject_keys($1, $2, $3, $4)");
    let keep = keep.bind(ids).bind(tenants).bind(subjects).bind(wrapped);
    keep.execute(&mut *connection).await?;
    Ok(connection.commit().await?)
}

pub(super) async fn destroy(pool: Pool, whose: Whose) -> Result<u64, Failure> {
    let mut connection = pool.connect().await?;
    let destroy = connection.scalar::<i64>("SELECT annals_destroy_subject_key($1, $2)");
    let destroy = destroy.bind(whose.tenant).bind(whose.subject);
    let destroyed = destroy.fetch_one(&mut *connection).await?;
    connection.commit().await?;
    Ok(destroyed.unsigned_abs())
}

fn key(row: &PgRow) -> sqlx::Result<SubjectKey> {
    Ok(SubjectKey {
        id: row.try_get::<Uuid, _>(0)?.into_bytes(),
        whose: Whose { tenant: row.try_get(1)?, subject: row.try_get(2)? },
        wrapped: row.try_get(3)?,
        made_at: row.try_get::<Time, _>(4)?.0,
        erased_at: row.try_get::<Option<Time>, _>(5)?.map(|time| time.0),
    })
}
