//! What the databases allow: the same rows, loaded by whoever has them ready.

use std::net::IpAddr;
use std::time::Instant;

use serde_json::Value;
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgPoolCopyExt;
use sqlx::{AssertSqlSafe, Connection};

use super::{COLUMNS, text};
use crate::Outcome;

/// Rows at a time.
pub const BATCH: usize = 1_000;

/// Binary COPY of batches that were encoded before the clock runs; seconds.
pub async fn copy(url: &str, rows: &[Value]) -> Outcome<f64> {
    let batches: Vec<Vec<u8>> = rows.chunks(BATCH).map(encoded).collect::<Outcome<_>>()?;
    let pool = sqlx::PgPool::connect(url).await?;
    let statement = format!("COPY audits ({}) FROM STDIN (FORMAT binary)", COLUMNS.join(", "));
    // Connected before, too.
    drop(pool.acquire().await?);
    let began = Instant::now();
    for batch in batches {
        let mut copy = pool.copy_in_raw(&statement).await?;
        copy.send(batch).await?;
        copy.finish().await?;
    }
    Ok(began.elapsed().as_secs_f64())
}

/// Multi-row INSERTs with a statement that stays prepared; seconds.
pub async fn insert(url: &str, rows: &[Value]) -> Outcome<f64> {
    let mut connection = MySqlConnection::connect(url).await?;
    let row = format!("({})", vec!["?"; COLUMNS.len()].join(","));
    let statement = format!(
        "INSERT INTO audits ({}) VALUES {}",
        COLUMNS.join(", "),
        vec![row; BATCH].join(",")
    );
    let texts: Vec<Vec<Option<String>>> =
        rows.iter().map(|row| COLUMNS.map(|column| text(row, column)).to_vec()).collect();
    let began = Instant::now();
    for batch in texts.chunks(BATCH) {
        let mut insert = sqlx::query(AssertSqlSafe(statement.clone()));
        for value in batch.iter().flatten() {
            insert = insert.bind(value.as_deref());
        }
        insert.execute(&mut connection).await?;
    }
    let took = began.elapsed().as_secs_f64();
    connection.close().await?;
    Ok(took)
}

/// Rows in the binary format of COPY (PostgreSQL's documentation of that statement), and
/// of its types.
fn encoded(rows: &[Value]) -> Outcome<Vec<u8>> {
    let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for row in rows {
        bytes.extend_from_slice(&11_i16.to_be_bytes());
        for column in COLUMNS {
            let Some(text) = text(row, column) else {
                bytes.extend_from_slice(&(-1_i32).to_be_bytes());
                continue;
            };
            let value = match column {
                "id" => u128::from_str_radix(&text.replace('-', ""), 16)?.to_be_bytes().to_vec(),
                "auditable_id" | "user_id" => text.parse::<i64>()?.to_be_bytes().to_vec(),
                "ip_address" => address(text.parse()?),
                "created_at" => micros(&text)?.to_be_bytes().to_vec(),
                _ => text.into_bytes(),
            };
            bytes.extend_from_slice(&i32::try_from(value.len())?.to_be_bytes());
            bytes.extend_from_slice(&value);
        }
    }
    bytes.extend_from_slice(&(-1_i16).to_be_bytes());
    Ok(bytes)
}

/// The family (2 or 3), the bits of the mask, that it is no network, and the address.
fn address(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => [&[2, 32, 0, 4][..], &address.octets()].concat(),
        IpAddr::V6(address) => [&[3, 128, 0, 16][..], &address.octets()].concat(),
    }
}

/// Microseconds since 2000.
fn micros(text: &str) -> Outcome<i64> {
    const EPOCH: i64 = 946_684_800_000_000;
    let time: jiff::Timestamp = format!("{}Z", text.replace(' ', "T")).parse()?;
    Ok(time.as_microsecond() - EPOCH)
}
