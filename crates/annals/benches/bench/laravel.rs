//! A Laravel application's list into its table `audits`: ours beside a PHP worker that
//! does what the application's own does, and beside a bulk load of the same rows.

mod bulk;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use annals::store::{self, Appender};
use annals::transport::{self, Transport};
use annals::worker::{Worker, WorkerOptions};
use annals_testbed::mariadb::Mariadb;
use annals_testbed::php::Php;
use annals_testbed::postgres::Postgres;
use annals_testbed::redis::Redis;
use serde_json::{Value, json};

use crate::Outcome;
use crate::row::{Row, Target};

const ROUNDS: usize = 5;
const EVENTS: usize = 50_000;
/// PHP's worker has fewer, and its rate counts.
const FEWER: usize = 20_000;

const KEY: &str = "laravel_database_audit_pkg:buffer";

pub const COLUMNS: [&str; 11] = annals::foreign::laravel::COLUMNS;

/// A database server with the application's table.
enum Database {
    Postgres(Postgres),
    Mariadb(Mariadb),
}

pub fn run_postgres() -> Outcome {
    let calm = ["max_wal_size = 16GB", "checkpoint_timeout = 1h"];
    run(&Database::Postgres(Postgres::start(&calm)?), "PostgreSQL", "binary COPY", 5.0)
}

pub fn run_mariadb() -> Outcome {
    let roomy = ["innodb-buffer-pool-size=1G", "innodb-log-file-size=2G"];
    run(&Database::Mariadb(Mariadb::start(&roomy)?), "MariaDB", "multi-row INSERT", 3.0)
}

fn run(database: &Database, name: &str, bulk: &str, times: f64) -> Outcome {
    let redis = Redis::start(&["save \"\""])?;
    let php = Php::application(include_str!("laravel/worker.php"))?;
    let rows = rows()?;
    let (mut ours, mut theirs, mut loaded) = (Vec::new(), Vec::new(), Vec::new());
    let mut two_lanes = Vec::new();
    for round in 0..=ROUNDS {
        let one = ours_drains(database, &redis, &rows, 1)?;
        let two = ours_drains(database, &redis, &rows, 2)?;
        let other = php_drains(database, &redis, &php, &rows[..FEWER])?;
        let third = bulk_loads(database, &rows)?;
        // The first round warms up.
        if round > 0 {
            ours.push(one);
            two_lanes.push(two);
            theirs.push(other);
            loaded.push(third);
        }
    }
    let bench = if name == "MariaDB" { "drain-laravel-mariadb" } else { "drain-laravel" };
    let what = format!("drain, Redis list to `audits` on {name}, beside a PHP worker");
    let target = Some(Target::RatioAtLeast(times));
    let (unit, of_ours, reference) = ("events/s", ours.clone(), theirs.clone());
    Row { bench, what: &what, unit, ours: of_ours, reference, target }.print();
    let what = format!("{what}, two batches at a time");
    Row { bench, what: &what, unit, ours: two_lanes, reference: theirs, target }.print();
    let what = format!("drain, Redis list to `audits` on {name}, beside {bulk}");
    let target = Some(Target::RatioAtLeast(0.65));
    Row { bench, what: &what, unit, ours, reference: loaded, target }.print();
    Ok(())
}

/// Rows as a real application pushed them, each with an id of its own: those that the
/// table takes.
fn rows() -> Outcome<Vec<Value>> {
    let pushed = include_str!("../../tests/fixtures/laravel/redis_payloads.jsonl");
    let mut real: Vec<Value> =
        pushed.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    real.retain(|row| {
        let short = |column| text(row, column).is_none_or(|text| text.len() <= 255);
        text(row, "auditable_id").is_some_and(|id| id.parse::<i64>().is_ok())
            && short("url")
            && short("user_agent")
    });
    let row = |number: usize| {
        let mut row = real[number % real.len()].clone();
        // As random as the ids of version 4 that the application makes.
        let mixed = (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let hex = format!("{mixed:032x}");
        let id = [&hex[..8], &hex[8..12], "4000", "8000", &hex[20..]].join("-");
        row["id"] = id.into();
        row["auditable_id"] = number.to_string().into();
        row
    };
    Ok((0..EVENTS).map(row).collect())
}

/// A column as the text that a database is given.
pub fn text(row: &Value, column: &str) -> Option<String> {
    match &row[column] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Pushes the rows before the clock runs.
fn fill(redis: &Redis, rows: &[Value]) -> Outcome {
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port()))?;
    let mut answers = BufReader::new(stream.try_clone()?);
    for part in rows.chunks(500) {
        let mut command =
            format!("*{}\r\n$5\r\nRPUSH\r\n${}\r\n{KEY}\r\n", part.len() + 2, KEY.len());
        for row in part {
            let payload = row.to_string();
            command.push_str(&format!("${}\r\n{payload}\r\n", payload.len()));
        }
        stream.write_all(command.as_bytes())?;
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        if !answer.starts_with(':') {
            return Err(answer.into());
        }
    }
    Ok(())
}

impl Database {
    /// A new database with the table as the package's migration makes it.
    fn fresh(&self) -> String {
        const POSTGRES: &str = include_str!("../../tests/fixtures/laravel/audits_ddl_pgsql.sql");
        const MARIADB: &str = include_str!("../../tests/fixtures/laravel/audits_ddl_mariadb.sql");
        let url = match self {
            Self::Postgres(server) => server.database(),
            Self::Mariadb(server) => server.database(),
        };
        match self {
            Self::Postgres(server) => server.sql(name(&url), POSTGRES),
            Self::Mariadb(server) => server.sql(name(&url), MARIADB),
        };
        url
    }

    /// Sees to it that all rows are there, and removes them.
    fn finish(&self, url: &str, rows: usize) -> Outcome {
        const COUNT: &str = "SELECT count(*) FROM audits";
        let (found, drop) = match self {
            Self::Postgres(server) => (
                server.sql(name(url), COUNT),
                server.sql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", name(url))),
            ),
            Self::Mariadb(server) => (
                server.sql(name(url), COUNT),
                server.sql("mysql", &format!("DROP DATABASE {}", name(url))),
            ),
        };
        let _ = drop;
        if found == rows.to_string() {
            Ok(())
        } else {
            Err(format!("{found} of {rows} rows").into())
        }
    }
}

fn ours_drains(database: &Database, redis: &Redis, rows: &[Value], lanes: usize) -> Outcome<f64> {
    let url = database.fresh();
    fill(redis, rows)?;
    let list = format!("{}?key={KEY}", redis.url().replace("redis://", "redis+list://"));
    let rate = crate::runtime()?.block_on(async {
        let list: Arc<dyn Transport> = transport::open(&list).await?;
        let table: Arc<dyn Appender> =
            store::open_appender(&format!("{url}?layout=laravel")).await?;
        let mut options = WorkerOptions::default();
        options.batch_size = bulk::BATCH;
        options.concurrency = lanes;
        options.drain = true;
        let worker = Worker::new(table, options).transport(list);
        let began = Instant::now();
        worker.run().await?;
        Outcome::Ok(rows.len() as f64 / began.elapsed().as_secs_f64())
    })?;
    database.finish(&url, rows.len())?;
    Ok(rate)
}

fn php_drains(database: &Database, redis: &Redis, php: &Php, rows: &[Value]) -> Outcome<f64> {
    let url = database.fresh();
    fill(redis, rows)?;
    let (user, rest) =
        url.split_once("://").and_then(|(_, rest)| rest.split_once('@')).ok_or("no user")?;
    let (port, _) =
        rest.split_once(':').and_then(|(_, rest)| rest.split_once('/')).ok_or("no port")?;
    let driver = if url.starts_with("mysql") { "mysql" } else { "pgsql" };
    let dsn = format!("{driver}:host=127.0.0.1;port={port};dbname={}", name(&url));
    let user = user.split(':').next().unwrap_or_default();
    let said =
        php.run("work", &json!({ "redis": redis.port(), "key": KEY, "dsn": dsn, "user": user }));
    let took: f64 = said.trim().parse().map_err(|_| said.clone())?;
    database.finish(&url, rows.len())?;
    Ok(rows.len() as f64 / took)
}

fn bulk_loads(database: &Database, rows: &[Value]) -> Outcome<f64> {
    let url = database.fresh();
    let took = crate::runtime()?.block_on(async {
        match database {
            Database::Postgres(_) => bulk::copy(&url, rows).await,
            Database::Mariadb(_) => bulk::insert(&url, rows).await,
        }
    })?;
    database.finish(&url, rows.len())?;
    Ok(rows.len() as f64 / took)
}

fn name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}
