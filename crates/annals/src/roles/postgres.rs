//! Roles in PostgreSQL.

use sqlx::Executor;

use crate::error::Result;
use crate::postgres::{Pool, Server};

const ROLES: &str = include_str!("../../migrations/postgres/roles.sql");

pub(super) async fn make(url: &str) -> Result<()> {
    let server = Server::new(url, "the database", &[])?;
    server.check().await?;
    let work = |pool: Pool| async move {
        let mut transaction = pool.begin("BEGIN").await?;
        transaction.execute(sqlx::raw_sql(ROLES)).await?;
        transaction.commit().await
    };
    server.call("make roles in", work).await
}
