//! What waiting does not mend: one sentence, with what to do.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use annals::store::Store;
use annals::store::postgres::PostgresStore;
use annals::transport::postgres::PostgresTransport;
use annals::transport::{Message, Transport};
use annals::{Entity, ErrorKind, Event};
use annals_testbed::postgres::Postgres;
use annals_testbed::required;

use super::scene::{On, Scene, Working, until};

fn batch(count: usize) -> Arc<[Message]> {
    let event = |number| Event::new("updated", Entity::new("product", number));
    let message = |event: Event| Message { id: event.id, body: event.encode().unwrap() };
    (0..count).map(event).map(message).collect()
}

/// One sentence on one line, that says what to do.
fn assert_clear(said: &str, what: &str, hint: &str) {
    assert!(said.contains(what) && said.contains(hint), "{what}, {hint}: {said}");
    assert!(!said.contains('\n') && said.len() < 400, "{said}");
}

/// Somebody changes the tables under a worker: it says so and ends, and what waits
/// goes on waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_somebody_changed() {
    let Some(server) = required(Postgres::shared()) else { return };
    let partition = "SELECT name FROM annals_partitions WHERE events > 0 LIMIT 1";
    for (change, found) in [
        ("ALTER TABLE annals_events DROP COLUMN tenant CASCADE", "column \"tenant\""),
        (
            "ALTER TABLE annals_log_tiles ALTER COLUMN hashes TYPE integer USING 0",
            "column \"hashes\"",
        ),
        (
            "ALTER TABLE annals_events ADD COLUMN more text DEFAULT ''; ALTER TABLE annals_events \
          ALTER COLUMN more SET NOT NULL, ALTER COLUMN more DROP DEFAULT",
            "column \"more\"",
        ),
        ("ALTER TABLE annals_appends RENAME TO annals_were", "\"annals_appends\" does not exist"),
        ("ALTER TABLE annals_delivery RENAME TO annals_were", "\"annals_delivery\" does not exist"),
        ("DROP TABLE {partition}", "\"{partition}\" does not exist"),
        ("DROP FUNCTION annals_append", "function annals_append("),
        ("DROP SEQUENCE annals_append_blocks", "\"annals_append_blocks\" does not exist"),
    ] {
        let url = server.database();
        let database = url.rsplit('/').next().unwrap();
        let queue = Arc::new(PostgresTransport::open(&url).await.unwrap());
        let open = async || Arc::new(PostgresStore::open(&url).await.unwrap());
        let store = open().await;
        queue.send(batch(40)).await.unwrap();
        let worker = Working::start(&queue, &store);
        until("all is stored", &worker.log, || worker.gauge.read().stored == 40).await;
        worker.end();

        queue.send(batch(30)).await.unwrap();
        let partition = server.sql(database, partition);
        let (change, found) =
            (change.replace("{partition}", &partition), found.replace("{partition}", &partition));
        // A handle draws numbers of appends in blocks; a new one draws its first.
        let store = if change.contains("SEQUENCE") { open().await } else { store };
        println!("{change}");
        server.sql(database, &change);
        let error = Working::start(&queue, &store).gives_up().await;
        assert_eq!(error.kind(), ErrorKind::Usage, "{change}: {error}");
        assert_clear(&error.to_string(), &found, "undo that");
        let left =
            "SELECT (SELECT count(*) FROM annals_queue), (SELECT count(*) FROM annals_failed)";
        assert_eq!(server.sql(database, left), "30|0", "{change}");
    }
}

/// A right that is missing is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_missing() {
    let Some(server) = required(Postgres::shared()) else { return };
    let url = server.database();
    let database = url.rsplit('/').next().unwrap();
    PostgresTransport::open(&url).await.unwrap();
    PostgresStore::open(&url).await.unwrap();
    let clerk = format!("clerk_of_{database}");
    server.sql(
        database,
        &format!(
            "CREATE ROLE {clerk} LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO {clerk};
             GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {clerk};
             GRANT ALL ON ALL FUNCTIONS IN SCHEMA public TO {clerk}"
        ),
    );
    let theirs = url.replace("postgres@", &format!("{clerk}@"));
    let scene = Scene::through(&url, On::Both, &theirs).await;
    scene.worker.log.clear();
    let rights = |what: &str| {
        server.sql(
            database,
            &what
                .replace(
                    "PARTITIONS",
                    &server.sql(database, "SELECT string_agg(name, ', ') FROM annals_partitions"),
                )
                .replace("CLERK", &clerk),
        );
    };
    rights("REVOKE INSERT ON PARTITIONS FROM CLERK");
    scene.waits("permission denied for table annals_events_", 3).await;
    assert_clear(
        &scene.worker.gauge.read().waiting_for.unwrap(),
        "permission denied",
        "grant this role",
    );
    rights("GRANT INSERT ON PARTITIONS TO CLERK");
    scene.goes_on().await;
    scene.settle().await;
    server.sql(database, &format!("DROP OWNED BY {clerk}; DROP ROLE {clerk}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_do_not_answer() {
    // Takes connections, as a system does for a program that hangs, and never speaks.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    for (host, found) in [
        (closed.to_string(), "Connection refused"),
        (silent.local_addr().unwrap().to_string(), "no answer in time"),
        ("annals.invalid:5432".to_owned(), "failed to lookup address"),
    ] {
        let url = format!("postgres://postgres:hush@{host}/postgres");
        let call = async {
            let away = PostgresStore::open(&url).await.unwrap();
            away.stats().await.unwrap_err()
        };
        let error = tokio::time::timeout(Duration::from_secs(120), call).await.expect(found);
        assert_eq!(error.kind(), ErrorKind::Away, "{error}");
        assert_clear(&error.to_string(), found, "check that the server runs");
        assert!(error.to_string().contains(&host), "{error}");
        assert!(!error.to_string().contains("hush"), "{error}");
    }
}
