//! What a URL says beside where the server is, and what errors say.

use std::sync::Arc;
use std::time::Duration;

use annals::transport::mysql::MysqlTransport;
use annals::transport::{Transport, Want};
use annals::{ErrorKind, Result};
use annals_testbed::mariadb::Mariadb;
use annals_testbed::required;
use sqlx::mysql::MySqlPool;

use super::transport::batch;

async fn used(url: &str) -> Result<()> {
    MysqlTransport::open(url).await?.stats().await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_connections_are_taken_than_allowed() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let url = server.database();
    let queue = MysqlTransport::open(&format!("{url}?max_connections=2")).await.unwrap();
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
    let database = url.rsplit('/').next().unwrap();
    let open = server.sql(
        "",
        &format!("SELECT count(*) FROM information_schema.processlist WHERE db = '{database}'"),
    );
    assert!(["1", "2"].contains(&open.as_str()), "{open} connections");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_longer_than_allowed() {
    let Some(server) = required(Mariadb::shared()) else { return };
    let url = server.database();
    let queue = MysqlTransport::open(&url).await.unwrap();
    queue.send(batch(0, 1)).await.unwrap();
    let got = queue.receive(Want::up_to(1)).await.unwrap();
    let receipts = [got[0].receipt];
    let another = MySqlPool::connect(&url).await.unwrap();
    let mut holding = another.begin().await.unwrap();
    sqlx::query("SELECT * FROM annals_queue FOR UPDATE").execute(&mut *holding).await.unwrap();
    for (settings, number) in [("lock_timeout=500ms", "1205"), ("statement_timeout=500ms", "1969")]
    {
        let queue = MysqlTransport::open(&format!("{url}?{settings}")).await.unwrap();
        let waited = queue.ack(&receipts).await.unwrap_err();
        assert_eq!(waited.kind(), ErrorKind::Away);
        assert!(waited.to_string().contains(number), "{waited}");
    }
    // Nor for a connection that another call has.
    let settings = "connect_timeout=300ms&max_connections=1";
    let queue = Arc::new(MysqlTransport::open(&format!("{url}?{settings}")).await.unwrap());
    let acknowledging = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.ack(&receipts).await }
    });
    let waiting =
        "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'";
    while server.sql("", waiting) == "0" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let reading = queue.stats().await.unwrap_err();
    assert!(reading.to_string().contains("in use"), "{reading}");
    holding.rollback().await.unwrap();
    assert_eq!(acknowledging.await.unwrap().unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_comes_from_a_file() {
    let Some(server) = required(Mariadb::shared()) else { return };
    server.sql("", "CREATE USER guarded IDENTIFIED BY 'open sesame'; GRANT ALL ON *.* TO guarded");
    let url = server.database().replace("root@", "guarded@");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    let with = format!("{url}?password_file={}", file.display());

    let missing = MysqlTransport::open(&with).await.unwrap_err();
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
        ("sslmode=sometimes", "sslmode=verify-full"),
    ] {
        let url = format!("mysql://annals@127.0.0.1/annals?{parameters}");
        let refused = MysqlTransport::open(&url).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Usage);
        assert!(refused.to_string().contains(named), "{refused}");
    }
}

/// Whatever the server's own settings are, ours hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_servers_settings_do_not_change_what_is_kept() {
    let settings = [
        "sql-mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT",
        "character-set-server=latin1",
        "default-time-zone=+05:00",
        "transaction-isolation=SERIALIZABLE",
        "max-allowed-packet=1M",
    ];
    let Some(server) = required(Mariadb::start(&settings)) else { return };
    let url = server.database();
    let queue = MysqlTransport::open(&url).await.unwrap();
    let before = annals::Timestamp::now();
    // Far more than a packet takes.
    let long: String = "é😀".repeat(20_000);
    let events: Vec<_> = (0..40)
        .map(|number| {
            let event =
                annals::Event::new(format!("{number} \"\\'é"), annals::Entity::of_type("x"))
                    .reason(long.clone());
            let body = event.encode().unwrap();
            annals::transport::Message { id: event.id, body }
        })
        .collect();
    queue.send(events.clone().into()).await.unwrap();
    let got = queue.receive(Want::up_to(100)).await.unwrap();
    assert_eq!(got.len(), 40);
    for (got, sent) in got.iter().zip(&events) {
        assert_eq!((got.id, &got.body), (sent.id, &sent.body));
    }
    let oldest = queue.stats().await.unwrap().oldest.unwrap();
    let apart = oldest.as_micros() - before.as_micros();
    assert!((0..60_000_000).contains(&apart), "times are UTC, and not {apart} µs off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_said_in_one_sentence_without_secrets() {
    let Some(server) = required(Mariadb::start(&["max-connections=10"])) else { return };
    let port = server.port();
    server.sql("", "CREATE USER worker IDENTIFIED BY 'hush'; GRANT SELECT ON *.* TO worker");
    let said = |url: String| async move {
        let error = match MysqlTransport::open(&url).await {
            Ok(away) => away.stats().await.unwrap_err(),
            Err(error) => error,
        };
        assert!(!error.to_string().contains("hush"), "{error}");
        error
    };
    for (url, what, hint, kind) in [
        ("mysql://root@127.0.0.1:PORT/nowhere", "'nowhere'", "correct its name", ErrorKind::Away),
        (
            "mysql://root@127.0.0.1:PORT",
            "no database",
            "mysql://USER@HOST:PORT/DATABASE",
            ErrorKind::Usage,
        ),
        ("mysql://nobody:hush@127.0.0.1:PORT/mysql", "'nobody'", "password_file=", ErrorKind::Away),
        (
            "mysql://root:hush@127.0.0.1:1/mysql",
            "refused",
            "check that the server runs",
            ErrorKind::Away,
        ),
        ("mysql://root@127.0.0.1:PORT/mysql?sslmode=require", "TLS", "sslmode", ErrorKind::Away),
        ("mysql://u:hush@h:no-port/d", "port", "mysql://USER@HOST", ErrorKind::Usage),
    ] {
        let error = said(url.replace("PORT", &port.to_string())).await;
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(what) && error.to_string().contains(hint), "{error}");
    }

    // Tables that somebody changed, a right that is missing, a read-only server.
    let url = server.database();
    let queue = MysqlTransport::open(&url).await.unwrap();
    server.sql(&url, "ALTER TABLE annals_queue RENAME COLUMN sent_at TO posted_at");
    let changed = queue.send(batch(0, 1)).await.unwrap_err();
    assert_eq!(changed.kind(), ErrorKind::Usage);
    assert!(changed.to_string().contains("annals migrate"), "{changed}");
    server.sql(&url, "ALTER TABLE annals_queue RENAME COLUMN posted_at TO sent_at");
    let worker = MysqlTransport::open(&url.replace("root@", "worker:hush@")).await.unwrap();
    let denied = worker.send(batch(0, 1)).await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Away);
    assert!(denied.to_string().contains("denied") && denied.to_string().contains("grant"));
    server.sql("", "GRANT INSERT ON *.* TO worker; SET GLOBAL read_only = 1");
    let worker = MysqlTransport::open(&url.replace("root@", "worker:hush@")).await.unwrap();
    let read_only = worker.send(batch(0, 1)).await.unwrap_err();
    assert_eq!(read_only.kind(), ErrorKind::Away);
    assert!(read_only.to_string().contains("connect to the primary"), "{read_only}");
    server.sql("", "SET GLOBAL read_only = 0");
    worker.send(batch(0, 1)).await.unwrap();

    // One is kept for an administrator.
    let mut others = Vec::new();
    for _ in 0..11 {
        use sqlx::Connection;
        others.extend(sqlx::MySqlConnection::connect(&url.replace("root@", "worker:hush@")).await);
    }
    let full = said(url.replace("root@", "worker:hush@")).await;
    assert_eq!(full.kind(), ErrorKind::Away);
    assert!(full.to_string().contains("raise max_connections"), "{full}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_is_told_as_such_and_found_again() {
    let Some(server) = required(Mariadb::start(&[])) else { return };
    let queue = MysqlTransport::open(&server.database()).await.unwrap();
    queue.stats().await.unwrap();
    server.stop();
    // The first notices that its connection is gone.
    queue.stats().await.unwrap_err();
    let refused = queue.stats().await.unwrap_err();
    assert!(refused.to_string().contains("refused"), "{refused}");
    server.resume().unwrap();
    queue.stats().await.unwrap();
}
