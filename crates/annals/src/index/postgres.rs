//! Audit indexes in PostgreSQL, built CONCURRENTLY.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor, Row};

use super::{AuditColumns, AuditIndex, Explained, State, Step};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::{Connection, Failure, Pool, Server, find_table};

/// A build takes as long as the table needs, and waits for older transactions.
const SETTINGS: &[(&str, &str)] = &[("statement_timeout", "0"), ("lock_timeout", "0")];

fn server(url: &str) -> Result<Server> {
    Server::new(url, "the tables of", SETTINGS)
}

pub(super) async fn plan(
    url: &str,
    tables: &[String],
    columns: &AuditColumns,
) -> Result<Vec<Step>> {
    let (tables, columns) = (tables.to_vec(), columns.clone());
    let work = move |pool: Pool| async move {
        let mut connection = pool.connect().await?;
        let mut steps = Vec::new();
        for table in &tables {
            let relation = find_table(&mut connection, table).await?;
            let pairs = [
                ("created", &columns.created_by, &columns.created_at),
                ("updated", &columns.updated_by, &columns.updated_at),
            ];
            let mut of_table = Vec::new();
            for (what, by, at) in pairs {
                of_table.push(step(&mut connection, relation, what, by, at).await?);
            }
            if of_table.iter().all(|step| matches!(step.state, State::NoColumns(_))) {
                let lacking = of_table.iter().filter_map(|step| match &step.state {
                    State::NoColumns(columns) => Some(columns.join(", ")),
                    _ => None,
                });
                let found =
                    format!("it lacks the columns {}", lacking.collect::<Vec<_>>().join("; "));
                let doing = format!("index {table}");
                return Err(Error::new(ErrorKind::Usage, doing, found)
                    .hint("name others: --created-by, --created-at, --updated-by, --updated-at")
                    .into());
            }
            steps.extend(of_table);
        }
        connection.commit().await?;
        Ok::<_, Failure>(steps)
    };
    server(url)?.call("index the tables of", work).await
}

/// The step for one pair of columns of a table.
async fn step(
    connection: &mut Connection,
    relation: i64,
    what: &str,
    by: &str,
    at: &str,
) -> Result<Step, Failure> {
    let look = connection.query(
        "SELECT c.oid::regclass::text, n.nspname::text, c.relname::text, c.relkind = 'p', \
             c.relkind IN ('r', 'p', 'm'), \
             ARRAY(SELECT w FROM unnest(ARRAY[$2, $3]) w WHERE NOT EXISTS (SELECT FROM pg_attribute a \
                 WHERE a.attrelid = c.oid AND a.attname = w AND a.attnum > 0 AND NOT a.attisdropped)), \
             quote_ident($2) || ', ' || quote_ident($3) || ' DESC', \
             ARRAY(SELECT inhrelid::int8 FROM pg_inherits i WHERE i.inhparent = c.oid ORDER BY inhrelid) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid",
    );
    let row = look.bind(relation).bind(by).bind(at).fetch_one(&mut **connection).await?;
    let (table, schema, name): (String, String, String) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let (partitioned, is_table): (bool, bool) = (row.try_get(3)?, row.try_get(4)?);
    let lacking: Vec<String> = row.try_get(5)?;
    let columns: String = row.try_get(6)?;
    let partitions: Vec<i64> = row.try_get(7)?;
    if !is_table {
        let doing = format!("index {table}");
        return Err(Error::new(ErrorKind::Usage, doing, "it is not a table")
            .hint("index the tables behind it")
            .into());
    }
    let index = index_name(&name, what);
    let mut step = Step { table, index, state: State::Missing, statements: Vec::new() };
    if !lacking.is_empty() {
        step.state = State::NoColumns(lacking);
        return Ok(step);
    }
    let look = connection.row(
        "SELECT i.indisvalid, \
             regexp_replace(pg_get_indexdef(i.indexrelid), '^.* USING btree \\((.*)\\)$', '\\1') \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         WHERE i.indrelid = $1::oid AND c.relname = $2",
    );
    let known: Option<(bool, String)> =
        look.bind(relation).bind(&step.index).fetch_optional(&mut **connection).await?;
    let full = format!("{}.{}", quoted(&schema), quoted(&step.index));
    match known {
        Some((_, indexed)) if indexed != columns => {
            let found = format!("{} is there, on ({indexed})", step.index);
            let doing = format!("index {}", step.table);
            return Err(Error::new(ErrorKind::Usage, doing, found)
                .hint(format!("DROP INDEX {full}, or name the same columns"))
                .into());
        }
        Some((true, _)) => {
            step.state = State::Present;
            return Ok(step);
        }
        Some((false, _)) if !partitioned => {
            step.state = State::Broken;
            step.statements.push(format!("DROP INDEX CONCURRENTLY {full}"));
        }
        // That of a partitioned table becomes valid with its last partition's.
        Some((false, _)) | None => {}
    }
    if !partitioned {
        step.statements.push(format!(
            "CREATE INDEX CONCURRENTLY {} ON {} ({columns})",
            quoted(&step.index),
            step.table
        ));
        return Ok(step);
    }
    // A partitioned table's is only a frame, into which its partitions' are put.
    step.statements.push(format!(
        "CREATE INDEX IF NOT EXISTS {} ON ONLY {} ({columns})",
        quoted(&step.index),
        step.table
    ));
    for partition in partitions {
        let own = Box::pin(self::step(connection, partition, what, by, at)).await?;
        step.statements.extend(own.statements);
        let look = connection.scalar(
            "SELECT quote_ident(nspname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.oid = $1::oid",
        );
        let schema: String = look.bind(partition).fetch_one(&mut **connection).await?;
        step.statements
            .push(format!("ALTER INDEX {full} ATTACH PARTITION {schema}.{}", quoted(&own.index)));
    }
    Ok(step)
}

/// The name of a table's index, within the 63 bytes that PostgreSQL keeps of one.
fn index_name(table: &str, what: &str) -> String {
    const LONGEST: usize = 63;
    let name = format!("idx_{table}_audit_{what}");
    if name.len() <= LONGEST {
        return name;
    }
    // Tables whose names begin alike stay apart.
    let hash = table.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let tail = format!("_{:08x}_audit_{what}", hash & 0xffff_ffff);
    let mut end = LONGEST - tail.len() - "idx_".len();
    while !table.is_char_boundary(end) {
        end -= 1;
    }
    format!("idx_{}{tail}", &table[..end])
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) async fn build(url: &str, step: &Step) -> Result<()> {
    let statements = step.statements.clone();
    let work = move |pool: Pool| async move {
        let mut connection = pool.outside().await?;
        for statement in statements {
            connection.execute(AssertSqlSafe(statement)).await?;
        }
        Ok::<_, sqlx::Error>(())
    };
    server(url)?.call("build an index in", work).await
}

pub(super) async fn list(url: &str) -> Result<Vec<AuditIndex>> {
    let work = |pool: Pool| async move {
        let mut connection = pool.connect().await?;
        let list = connection.query(
            "SELECT i.indrelid::regclass::text, c.relname::text, \
                 regexp_replace(pg_get_indexdef(i.indexrelid), '^.* USING btree \\((.*)\\)$', '\\1'), \
                 i.indisvalid, pg_relation_size(i.indexrelid), coalesce(s.idx_scan, 0) \
             FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
                 LEFT JOIN pg_stat_user_indexes s ON s.indexrelid = i.indexrelid \
             WHERE c.relname ~ '^idx_.*_audit_(created|updated)$' ORDER BY 1, 2",
        );
        let rows = list.fetch_all(&mut *connection).await?;
        connection.commit().await?;
        rows.into_iter()
            .map(|row| {
                Ok(AuditIndex {
                    table: row.try_get(0)?,
                    index: row.try_get(1)?,
                    columns: row.try_get(2)?,
                    valid: row.try_get(3)?,
                    bytes: row.try_get::<i64, _>(4)?.unsigned_abs(),
                    scans: row.try_get::<i64, _>(5)?.unsigned_abs(),
                })
            })
            .collect::<sqlx::Result<Vec<_>>>()
    };
    server(url)?.call("list the audit indexes of", work).await
}

/// The columns of an index, as its definition names them.
async fn columns_of(
    connection: &mut Connection,
    step: &Step,
) -> sqlx::Result<Option<(String, String)>> {
    let look = connection.row(
        "SELECT pg_get_indexdef(i.indexrelid, 1, true), pg_get_indexdef(i.indexrelid, 2, true) \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         WHERE i.indrelid = to_regclass($1) AND c.relname = $2",
    );
    look.bind(&step.table).bind(&step.index).fetch_optional(&mut **connection).await
}

pub(super) async fn explain(url: &str, step: &Step) -> Result<Option<Explained>> {
    let step = step.clone();
    let work = move |pool: Pool| async move {
        let mut transaction = pool.begin("BEGIN").await?;
        let Some((by, at)) = columns_of(&mut transaction, &step).await? else { return Ok(None) };
        // Someone who is there; of an empty table, nobody.
        let someone = transaction.scalar(AssertSqlSafe(format!(
            "SELECT quote_literal({by}) FROM {} WHERE {by} IS NOT NULL LIMIT 1",
            step.table
        )));
        let who: Option<String> = someone.fetch_optional(&mut *transaction).await?;
        let Some(who) = who else { return Ok(None) };
        let query =
            format!("SELECT * FROM {} WHERE {by} = {who} ORDER BY {at} DESC LIMIT 50", step.table);
        let (with_ms, plan) = run(&mut transaction, &query).await?;
        transaction
            .execute("SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = off")
            .await?;
        let (without_ms, _) = run(&mut transaction, &query).await?;
        transaction.rollback().await?;
        // Of a partitioned table it is its partitions' that are used.
        let kind = step.index.rsplit('_').next().unwrap_or_default();
        let used = plan.contains(&format!("_audit_{kind}\""));
        Ok::<_, Failure>(Some(Explained {
            table: step.table,
            index: step.index,
            query,
            used,
            with_ms,
            without_ms,
            plan,
        }))
    };
    server(url)?.call("explain a query of", work).await
}

/// The best time of a query out of three, and its plan.
async fn run(connection: &mut Connection, query: &str) -> Result<(f64, String), Failure> {
    let explain = format!("EXPLAIN (ANALYZE, FORMAT JSON) {query}");
    let (mut best, mut plan) = (f64::INFINITY, String::new());
    for _ in 0..3 {
        let text: String = connection
            .query(AssertSqlSafe(explain.clone()))
            .fetch_one(&mut **connection)
            .await?
            .try_get_raw(0)
            .and_then(|value| value.as_str().map(str::to_owned).map_err(sqlx::Error::Decode))?;
        let told: Value = serde_json::from_str(&text).unwrap_or_default();
        best = best.min(told[0]["Execution Time"].as_f64().unwrap_or(f64::INFINITY));
        plan = text;
    }
    Ok((best, plan))
}
