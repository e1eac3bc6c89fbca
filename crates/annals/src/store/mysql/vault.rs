//! The keys of subjects.

use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, Row};

use crate::error::{Error, ErrorKind};
use crate::event::Timestamp;
use crate::mysql::{Failure, Pool};
use crate::store::{SubjectKey, Whose};

/// Keys of one statement, at most.
const MOST: usize = 256;

const READ: &str =
    "SELECT id, tenant, subject, wrapped, made_at, erased_at FROM annals_subject_keys WHERE ";

/// A statement for so many values, rounded up to a power of two: there are few texts to
/// be prepared and remembered.
fn listed(before: &str, one: &str, rows: usize) -> (String, usize) {
    let rows = rows.next_power_of_two();
    (format!("{READ}{before} IN ({})", vec![one; rows].join(", ")), rows)
}

pub(super) async fn live(pool: Pool, whose: Vec<Whose>) -> Result<Vec<SubjectKey>, Failure> {
    let mut connection = pool.connect().await?;
    let mut keys = Vec::with_capacity(whose.len());
    for part in whose.chunks(MOST) {
        let (sql, rows) = listed("(tenant, subject, live)", "(?, ?, 1)", part.len());
        let mut read = connection.query(AssertSqlSafe(sql));
        // The last one again, as often as there is room.
        for one in part.iter().chain(part.last().into_iter().cycle()).take(rows) {
            read = read.bind(one.tenant.clone().into_bytes());
            read = read.bind(one.subject.clone().into_bytes());
        }
        for row in read.fetch_all(&mut *connection).await? {
            keys.push(key(&row)?);
        }
    }
    connection.commit().await?;
    Ok(keys)
}

pub(super) async fn with_ids(pool: Pool, ids: Vec<[u8; 16]>) -> Result<Vec<SubjectKey>, Failure> {
    let mut connection = pool.connect().await?;
    let mut keys = Vec::with_capacity(ids.len());
    for part in ids.chunks(MOST) {
        let (sql, rows) = listed("id", "?", part.len());
        let mut read = connection.query(AssertSqlSafe(sql));
        for id in part.iter().chain(part.last().into_iter().cycle()).take(rows) {
            read = read.bind(id.to_vec());
        }
        for row in read.fetch_all(&mut *connection).await? {
            keys.push(key(&row)?);
        }
    }
    connection.commit().await?;
    Ok(keys)
}

pub(super) async fn keep(pool: Pool, mut keys: Vec<SubjectKey>) -> Result<(), Failure> {
    const KEEP: &str = "INSERT IGNORE INTO annals_subject_keys (id, tenant, subject, wrapped, live, made_at) \
         VALUES (?, ?, ?, ?, 1, ?)";
    // In one order everywhere, so that two workers do not wait for each other in a circle.
    keys.sort_by(|one, other| one.whose.cmp(&other.whose));
    let now = Timestamp::now().as_micros();
    let mut transaction = pool.begin("START TRANSACTION").await?;
    for key in keys {
        let keep = transaction.query(KEEP).bind(key.id.to_vec());
        let keep = keep.bind(key.whose.tenant.into_bytes()).bind(key.whose.subject.into_bytes());
        keep.bind(key.wrapped).bind(now).execute(&mut *transaction).await?;
    }
    Ok(transaction.commit().await?)
}

pub(super) async fn destroy(pool: Pool, whose: Whose) -> Result<u64, Failure> {
    // Of the same length, so that InnoDB writes it where the key stood in the page.
    const OVERWRITE: &str = "UPDATE annals_subject_keys SET wrapped = REPEAT(CHAR(0), LENGTH(wrapped)) \
         WHERE tenant = ? AND subject = ? AND live = 1";
    const DESTROY: &str = "UPDATE annals_subject_keys SET wrapped = NULL, live = NULL, erased_at = ? \
         WHERE tenant = ? AND subject = ? AND live = 1";
    let (tenant, subject) = (whose.tenant.into_bytes(), whose.subject.into_bytes());
    let mut transaction = pool.begin("START TRANSACTION").await?;
    let overwrite = transaction.query(OVERWRITE).bind(&tenant).bind(&subject);
    overwrite.execute(&mut *transaction).await?;
    let destroy = transaction.query(DESTROY).bind(Timestamp::now().as_micros());
    let destroy = destroy.bind(&tenant).bind(&subject);
    let destroyed = destroy.execute(&mut *transaction).await?.rows_affected();
    transaction.commit().await?;
    Ok(destroyed)
}

fn key(row: &MySqlRow) -> Result<SubjectKey, Failure> {
    let text = |column| -> Result<String, Failure> {
        let bytes: Vec<u8> = row.try_get(column)?;
        String::from_utf8(bytes).map_err(|error| {
            Error::new(ErrorKind::Damaged, "read the keys of subjects", error).into()
        })
    };
    let time = |micros: i64| Timestamp::from_micros(micros);
    Ok(SubjectKey {
        id: row.try_get::<&[u8], _>(0)?.try_into().unwrap_or_default(),
        whose: Whose { tenant: text(1)?, subject: text(2)? },
        wrapped: row.try_get(3)?,
        made_at: time(row.try_get(4)?).unwrap_or(Timestamp::MIN),
        erased_at: row.try_get::<Option<i64>, _>(5)?.and_then(time),
    })
}
