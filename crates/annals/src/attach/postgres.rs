//! Triggers on PostgreSQL tables. The work is done by functions in the database
//! (migrations/postgres/capture_1.sql), since the triggers need them as well.

use sqlx::Row;

use super::{AttachOptions, Attached, Mode};
use crate::error::Result;
use crate::postgres::schema::Schema;
use crate::postgres::{Connection, Failure, Pool, Server, find_table};
use crate::transport::postgres::QUEUE;

static SCHEMA: Schema = Schema {
    marker: "annals_capture_head",
    version: "SELECT version FROM annals_capture_head",
    migrations: &[
        include_str!("../../migrations/postgres/capture_1.sql"),
        include_str!("../../migrations/postgres/capture_2.sql"),
    ],
};

const WHAT: &str = "the tables of";

pub(super) async fn attach(
    url: &str,
    tables: &[String],
    options: &AttachOptions,
    mode: Mode,
) -> Result<Vec<String>> {
    let server = Server::new(url, WHAT, &[])?;
    server.check().await?;
    let (tables, options) = (tables.to_vec(), options.clone());
    let work = move |pool: Pool| async move {
        let mut transaction = pool.begin("BEGIN").await?;
        for schema in [&QUEUE, &SCHEMA] {
            schema.bring(&mut transaction).await?;
        }
        let operations: Vec<&str> =
            options.operations.iter().map(|operation| operation.as_str()).collect();
        let mut statements = Vec::new();
        for table in &tables {
            let relation = find_table(&mut transaction, table).await?;
            let did: Vec<String> = transaction
                .scalar("SELECT annals_attach($1::oid::regclass, $2, $3, $4, $5, $6)")
                .bind(relation)
                .bind(&options.entity_type)
                .bind(&options.exclude)
                .bind(&options.redact)
                .bind(&options.personal)
                .bind(&operations)
                .fetch_all(&mut *transaction)
                .await?;
            statements.extend(did);
        }
        end(transaction, mode).await?;
        Ok::<_, Failure>(statements)
    };
    server.call("attach the tables of", work).await
}

pub(super) async fn detach(url: &str, tables: &[String], mode: Mode) -> Result<Vec<String>> {
    let server = Server::new(url, WHAT, &[])?;
    SCHEMA.expect(&server).await?;
    let tables = tables.to_vec();
    let work = move |pool: Pool| async move {
        let mut transaction = pool.begin("BEGIN").await?;
        let mut statements = Vec::new();
        for table in &tables {
            let relation = find_table(&mut transaction, table).await?;
            let detach = transaction.scalar("SELECT annals_detach($1::oid::regclass)");
            let did: Vec<String> = detach.bind(relation).fetch_all(&mut *transaction).await?;
            statements.extend(did);
        }
        end(transaction, mode).await?;
        Ok::<_, Failure>(statements)
    };
    server.call("detach the tables of", work).await
}

pub(super) async fn attached(url: &str) -> Result<Vec<Attached>> {
    let server = Server::new(url, WHAT, &[])?;
    server.check().await?;
    let list = |pool: Pool| async move {
        let mut connection = pool.connect().await?;
        if SCHEMA.found(&mut connection).await?.is_none() {
            return Ok(Vec::new());
        }
        // A table that was dropped leaves its line; nobody need see it.
        let list = connection.query(
            "SELECT a.relation::text, a.entity_type, a.excluded::text[], a.redacted::text[], \
                 ARRAY(SELECT jsonb_array_elements_text(coalesce(to_jsonb(a) -> 'personal', '[]'))), a.operations, \
                 coalesce(strpos(p.prosrc, quote_literal(annals_columns_now(a.relation))) > 0, false) \
             FROM annals_attached a JOIN pg_class c ON c.oid = a.relation \
                 LEFT JOIN pg_trigger t ON t.tgrelid = a.relation AND t.tgname = 'annals_capture_' || a.operations[1] \
                 LEFT JOIN pg_proc p ON p.oid = t.tgfoid \
             ORDER BY 1",
        );
        let rows = list.fetch_all(&mut *connection).await?;
        connection.commit().await?;
        rows.into_iter()
            .map(|row| {
                Ok(Attached {
                    table: row.try_get(0)?,
                    entity_type: row.try_get(1)?,
                    excluded: row.try_get(2)?,
                    redacted: row.try_get(3)?,
                    // Tables of version 1 know none.
                    personal: row.try_get(4)?,
                    operations: row.try_get(5)?,
                    current: row.try_get(6)?,
                })
            })
            .collect::<sqlx::Result<Vec<Attached>>>()
    };
    server.call("list the attached tables of", list).await
}

async fn end(transaction: Connection, mode: Mode) -> sqlx::Result<()> {
    match mode {
        Mode::Apply => transaction.commit().await,
        Mode::DryRun => transaction.rollback().await,
    }
}
