//! Through PgBouncer in transaction mode: the same suites, with two connections for
//! all of them.

use std::sync::{Arc, OnceLock};

use annals::conformance::transport::CASES;
use annals::store::postgres::PostgresStore;
use annals::store::{Appender, Store};
use annals::transport::postgres::PostgresTransport;
use annals::transport::{Transport, Want};
use annals::worker::{Worker, WorkerOptions};
use annals_testbed::pgbouncer::PgBouncer;
use annals_testbed::postgres::Postgres;
use annals_testbed::{Trouble, required};
use sqlx::Row;
use sqlx::postgres::{PgConnectOptions, PgPool};

use super::{store, transport};
use crate::check::check;

/// Fewer than a worker, a sender and a reader would like to have at once.
const CONNECTIONS: u32 = 2;

/// A database on the shared server, and its URL through the pooler.
fn database() -> Result<(String, String), Trouble> {
    static POOLER: OnceLock<Result<PgBouncer, Trouble>> = OnceLock::new();
    let server = Postgres::shared()?;
    let pooler = POOLER.get_or_init(|| PgBouncer::start(server, CONNECTIONS)).as_ref();
    let direct = server.database();
    let through = pooler.map_err(Clone::clone)?.through(server, &direct);
    Ok((direct, format!("{through}?pgbouncer=true")))
}

macro_rules! place {
    () => {
        match annals_testbed::required(super::database()) {
            Some((_, url)) => super::store::Place { url },
            None => return,
        }
    };
}

mod appender_suite {
    annals::appender_conformance!(place!());
}

mod store_suite {
    annals::store_conformance!(place!());
}

mod registry_suite {
    annals::registry_conformance!(place!());
    annals::rollup_conformance!(place!());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_transport_conforms() {
    for case in CASES {
        let Some((_, url)) = required(database()) else { return };
        println!("through PgBouncer: {}", case.name);
        (case.run)(&transport::Place(url)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_ours_stays_on_a_connection_that_others_get_next() {
    let Some((direct, url)) = required(database()) else { return };
    let queue = Arc::new(PostgresTransport::open(&url).await.unwrap());
    let store = Arc::new(PostgresStore::open(&url).await.unwrap());
    let worker = Worker::new(Arc::clone(&store) as Arc<dyn Appender>, WorkerOptions::default())
        .transport(Arc::clone(&queue) as Arc<dyn Transport>);
    let stop = worker.stop_handle();
    let working = tokio::spawn(worker.run());
    for from in (0..500).step_by(50) {
        queue.send(transport::batch(from, 50)).await.unwrap();
    }
    while store.stats().await.unwrap().events < 500 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    stop.stop();
    working.await.unwrap().unwrap();
    assert!(queue.receive(Want::up_to(1)).await.unwrap().is_empty());
    let report = check(&url).await.unwrap();
    assert_eq!((report.size, report.events), (500, 500));

    // Who leaves the parameter out is told of it.
    let plain = url.replace("?pgbouncer=true", "");
    let told = PostgresTransport::open(&plain).await.unwrap().stats().await.unwrap_err();
    assert!(told.to_string().contains("add pgbouncer=true"), "{told}");

    // Another application's sessions, on the same connections of the server.
    let options: PgConnectOptions = plain.parse().unwrap();
    let here = PgPool::connect_with(options.extra_float_digits(None)).await.unwrap();
    for _ in 0..20 {
        let found = sqlx::raw_sql(
            "SELECT current_setting('enable_seqscan'), current_setting('statement_timeout'), \
             current_setting('synchronous_commit'), (SELECT count(*) FROM pg_prepared_statements)::text",
        );
        let row = found.fetch_one(&here).await.unwrap();
        let found: Vec<String> = (0..4).map(|at| row.get(at)).collect();
        assert_eq!(found, ["on", "0", "on", "0"]);
    }
    let backends =
        "SELECT count(DISTINCT pid) FROM pg_stat_activity WHERE datname = current_database()";
    let server = PgPool::connect(&direct).await.unwrap();
    let count: i64 = sqlx::query_scalar(backends).fetch_one(&server).await.unwrap();
    assert!(count <= i64::from(CONNECTIONS) + 1, "{count} connections for {CONNECTIONS}");
}
