//! An event inside the application's own sqlx transaction: commit and it is
//! there, roll back and it is not. Prints the events that are in the queue.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;
use std::time::Duration;

use annals::transport::sqlite::SqliteTransport;
use annals::transport::{Transport, Want};
use annals::{Audit, AuditOptions, Auditable, Event};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

#[derive(Clone, Auditable)]
struct Product {
    #[auditable(id)]
    id: i64,
    price: i64,
}

/// Changes the price and records it, both or neither.
async fn set_price(
    pool: &SqlitePool,
    audit: &Audit,
    price: i64,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut tx = pool.begin().await?;
    let (id, old) = sqlx::query_as("SELECT id, price FROM product").fetch_one(&mut *tx).await?;
    let before = Product { id, price: old };
    let after = Product { price, ..before.clone() };
    sqlx::query("UPDATE product SET price = ?").bind(after.price).execute(&mut *tx).await?;
    if let Some(event) = Event::updated(&before, &after)? {
        audit.record_in(&mut *tx, event).await?;
    }
    if price < 0 {
        return Ok(tx.rollback().await?);
    }
    Ok(tx.commit().await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = SqliteConnectOptions::new().filename("shop.db").create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS product (id INTEGER PRIMARY KEY, price INTEGER)")
        .execute(&pool)
        .await?;
    sqlx::query("INSERT OR REPLACE INTO product VALUES (42, 1000)").execute(&pool).await?;

    // The queue lives in the application's database; a worker reads it with
    // `annals work --transport sqlite:shop.db`.
    let queue = Arc::new(SqliteTransport::open("shop.db").await?);
    let audit = Audit::start(Arc::clone(&queue) as Arc<dyn Transport>, AuditOptions::default())?;

    set_price(&pool, &audit, 1200).await?;
    set_price(&pool, &audit, -1).await?; // rolled back, so never recorded

    audit.shutdown(Duration::from_secs(5)).await?;
    for delivery in queue.receive(Want::up_to(10)).await? {
        println!("{}", String::from_utf8(delivery.body)?);
    }
    Ok(())
}
