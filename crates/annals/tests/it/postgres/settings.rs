//! What a URL says beside where the server is.

use std::sync::Arc;
use std::time::Duration;

use annals::store::postgres::PostgresStore;
use annals::store::{Appender, Record, Store};
use annals::transport::Transport;
use annals::transport::postgres::PostgresTransport;
use annals::{Entity, ErrorKind, Event, Result};
use annals_testbed::postgres::Postgres;
use annals_testbed::required;

use super::transport::batch;

fn record() -> Arc<[Record]> {
    let event = Event::new("updated", Entity::new("product", "42"));
    [Record::decode(event.encode().unwrap()).unwrap()].into()
}

async fn used(url: &str) -> Result<()> {
    PostgresTransport::open(url).await?.stats().await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_connections_are_taken_than_allowed() {
    let Some(server) = required(Postgres::shared()) else { return };
    let url = server.database();
    let queue = PostgresTransport::open(&format!("{url}?max_connections=2")).await.unwrap();
    let queue = Arc::new(queue);
    let senders: Vec<_> = (0..20)
        .map(|number| {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move { queue.send(batch(number, 1)).await })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap().unwrap();
    }
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                AND application_name = 'annals'";
    let open = server.sql(url.rsplit('/').next().unwrap(), open);
    assert!(["1", "2"].contains(&open.as_str()), "{open} connections");
    let named = PostgresTransport::open(&format!("{url}?application_name=nightly")).await.unwrap();
    named.stats().await.unwrap();
    let name = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'nightly'";
    assert_eq!(server.sql("postgres", name), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_longer_than_allowed() {
    let Some(server) = required(Postgres::shared()) else { return };
    let url = server.database();
    let another = sqlx::PgPool::connect(&url).await.unwrap();
    PostgresStore::open(&url).await.unwrap();
    let mut holding = another.begin().await.unwrap();
    sqlx::query("LOCK annals_log_head").execute(&mut *holding).await.unwrap();
    let open =
        async |settings: &str| PostgresStore::open(&format!("{url}?{settings}")).await.unwrap();
    for (settings, code) in [("lock_timeout=500ms", "55P03"), ("statement_timeout=500ms", "57014")]
    {
        let waited = open(settings).await.append(record()).await.unwrap_err();
        assert_eq!(waited.kind(), ErrorKind::Away);
        assert!(waited.to_string().contains(code), "{waited}");
    }

    // Nor for a connection that another call has.
    let settings = "lock_timeout=0s&statement_timeout=0s&connect_timeout=300ms&max_connections=1";
    let store = Arc::new(open(settings).await);
    let appending = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.append(record()).await }
    });
    let waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
                   AND wait_event_type = 'Lock')";
    while !sqlx::query_scalar::<_, bool>(waiting).fetch_one(&another).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let reading = store.stats().await.unwrap_err();
    assert!(reading.to_string().contains("in use"), "{reading}");
    holding.rollback().await.unwrap();
    appending.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_is_told_as_such() {
    let Some(server) = required(Postgres::start(&[])) else { return };
    let url = server.database();
    let queue = PostgresTransport::open(&url).await.unwrap();
    queue.stats().await.unwrap();
    server.stop();
    // The first notices that its connection is gone.
    queue.stats().await.unwrap_err();
    let refused = queue.stats().await.unwrap_err();
    assert!(refused.to_string().contains("refused"), "{refused}");
    server.resume().unwrap();
    queue.stats().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_comes_from_a_file() {
    let Some(server) = required(Postgres::start(&[])) else { return };
    server.sql("postgres", "CREATE ROLE guarded LOGIN SUPERUSER PASSWORD 'open sesame'");
    server.authenticate("host all guarded 127.0.0.1/32 scram-sha-256").unwrap();
    let url = server.database().replace("postgres@", "guarded@");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    let with = format!("{url}?password_file={}", file.display());

    let missing = PostgresTransport::open(&with).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Usage);
    assert!(missing.to_string().contains("password file"), "{missing}");
    std::fs::write(&file, "shut sesame\n").unwrap();
    let wrong = used(&with).await.unwrap_err().to_string();
    assert!(wrong.contains("password_file=") && !wrong.contains("sesame"), "{wrong}");
    std::fs::write(&file, "open sesame\n").unwrap();
    used(&with).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_url_cannot_say_is_named() {
    for (parameters, named) in [
        ("statment_timeout=5s", "statment_timeout is not known"),
        ("statement_timeout=5", "expected a time with its unit"),
        ("max_connections=0", "a number from 1 on"),
        ("pgbouncer=maybe", "pgbouncer=true"),
        ("sslmode=sometimes", "sslmode=verify-full"),
    ] {
        let url = format!("postgres://annals@127.0.0.1/annals?{parameters}");
        let refused = PostgresTransport::open(&url).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Usage);
        assert!(refused.to_string().contains(named), "{refused}");
    }
}
