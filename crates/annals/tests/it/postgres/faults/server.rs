//! The server itself has a bad day.

use std::time::Duration;

use annals_testbed::disk::may_mount_for_a_server;
use annals_testbed::postgres::Postgres;
use annals_testbed::required;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::scene::{On, Scene};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_down() {
    let Some(server) = required(Postgres::start(&[])) else { return };
    let scene = Scene::begin(&server, On::Both).await;
    scene.worker.log.clear();
    server.stop();
    scene.waits("Connection refused", 3).await;
    server.resume().unwrap();
    scene.goes_on().await;
    scene.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takes_no_more_connections() {
    let settings = &["max_connections = 20", "superuser_reserved_connections = 0"];
    let Some(server) = required(Postgres::start(settings)) else { return };
    let scene = Scene::begin(&server, On::Both).await;
    scene.worker.log.clear();
    // Others take every connection, and those of the worker when they end.
    let mut others = vec![PgConnection::connect(&scene.database).await.unwrap()];
    loop {
        match PgConnection::connect(&scene.database).await {
            Ok(another) => others.push(another),
            Err(full) => {
                let code = full.as_database_error().and_then(|error| error.code());
                assert_eq!(code.as_deref(), Some("53300"), "{full}");
                let ended: i64 = sqlx::query_scalar(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                     WHERE application_name = 'annals' AND datname = current_database()",
                )
                .fetch_one(&mut others[0])
                .await
                .unwrap();
                if ended == 0 {
                    break;
                }
            }
        }
    }
    scene.waits("raise max_connections", 3).await;
    drop(others);
    scene.goes_on().await;
    scene.settle().await;
}

/// The disk of its tables is full, and the one of its log is not: then it goes on, and
/// refuses what needs room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn has_a_full_disk() {
    if !may_mount_for_a_server("postgres::faults::server::has_a_full_disk") {
        return;
    }
    let Some(server) = required(Postgres::start(&[])) else { return };
    // Not on the server that tests share, which nobody stops in here.
    let queue = server.database();
    let disk = server.on_a_small_disk(32 * 1024, 100 * 1024);
    let store = server.database();
    let scene = Scene::between(&store, &queue, &store).await;
    scene.worker.log.clear();
    // Somebody else's table takes what is left.
    let filler = "CREATE TABLE filler (text text); INSERT INTO filler \
        SELECT repeat(md5(n::text), 30) FROM generate_series(1, 100000) AS n";
    let database = scene.database.rsplit('/').next().unwrap();
    let filled = std::panic::catch_unwind(|| server.sql(database, filler)).unwrap_err();
    let filled = filled.downcast::<String>().unwrap();
    assert!(filled.contains("No space left on device"), "{filled}");
    scene.waits("free disk space on the server", 3).await;
    disk.free();
    scene.goes_on().await;
    scene.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_read_only() {
    let Some(server) = required(Postgres::start(&[])) else { return };
    for on in [On::Queue, On::Store, On::Both] {
        let scene = Scene::begin(&server, on).await;
        scene.worker.log.clear();
        let set = |what: &str| {
            server.sql("postgres", &format!("ALTER SYSTEM {what}"));
            server.sql("postgres", "SELECT pg_reload_conf()");
        };
        set("SET default_transaction_read_only = on");
        scene.waits("the server is read-only", 3).await;
        set("RESET default_transaction_read_only");
        scene.goes_on().await;
        scene.settle().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancels_statements() {
    let Some(server) = required(Postgres::start(&[])) else { return };
    for on in [On::Queue, On::Store, On::Both] {
        let scene = Scene::begin(&server, on).await;
        let mut other = PgConnection::connect(&scene.database).await.unwrap();
        for _ in 0..3 {
            scene.worker.log.clear();
            while !scene.worker.log.text().contains("SQLSTATE 57014") {
                other
                    .execute(
                        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE state = 'active' \
                         AND application_name = 'annals' AND datname = current_database()",
                    )
                    .await
                    .unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            scene.goes_well().await;
        }
        scene.settle().await;
    }
}

/// Whether the worker waits for a lock, now or soon.
async fn waits_for_lock(eye: &mut PgConnection) -> bool {
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
        AND application_name = 'annals' AND datname = current_database()";
    for _ in 0..100 {
        if sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut *eye).await.unwrap() > 0 {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// Somebody locks rows that we lock too, in the other order, and does not give way.
async fn deadlock(on: On, first: &'static str, second: &'static str) {
    let Some(server) = required(Postgres::start(&["deadlock_timeout = 3s"])) else { return };
    let scene = Scene::begin(&server, on).await;
    scene.worker.log.clear();
    let mut other = PgConnection::connect(&scene.database).await.unwrap();
    let mut eye = PgConnection::connect(&scene.database).await.unwrap();
    other.execute("SET deadlock_timeout = '1h'").await.unwrap();
    while !scene.worker.log.text().contains("SQLSTATE 40P01") {
        other.execute("BEGIN").await.unwrap();
        let locked = format!("SELECT FROM {first} FOR UPDATE");
        let locked = other.execute(AssertSqlSafe(locked)).await.unwrap().rows_affected();
        // The worker waits for us, and then we for it.
        if locked > 0 && waits_for_lock(&mut eye).await {
            other.execute(AssertSqlSafe(format!("SELECT FROM {second} FOR UPDATE"))).await.unwrap();
        }
        // Unless it gave way, it goes on now.
        other.execute("ROLLBACK").await.unwrap();
    }
    scene.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_a_deadlock_at_the_cost_of_an_append() {
    deadlock(On::Store, "annals_partitions", "annals_log_head").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_a_deadlock_at_the_cost_of_an_acknowledgement() {
    deadlock(On::Queue, "annals_delivery", "annals_queue").await;
}
