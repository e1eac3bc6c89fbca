//! The command with its queue in PostgreSQL.

use annals_testbed::postgres::Postgres;
use annals_testbed::required;
use serde_json::Value;

use crate::installation::{Ended, Installation, TRAIL};

const PASSWORD: &str = "hush-hush";

/// A server with a database of a user who has to give a password.
fn guarded() -> Option<(Postgres, String)> {
    let server = required(Postgres::start(&[]))?;
    server.sql("postgres", &format!("CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'"));
    server.sql("postgres", "CREATE DATABASE app OWNER app");
    server.authenticate("host all app 127.0.0.1/32 scram-sha-256").unwrap();
    let url = format!("postgres://app@127.0.0.1:{}/app", server.port());
    // Its configuration is read in its own time.
    while refused(&url).status == 0 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Some((server, url))
}

fn refused(url: &str) -> Ended {
    Installation::new().run(&["migrate", "--transport", url])
}

#[test]
fn the_queue_may_be_in_postgres_and_its_password_is_never_shown() {
    let Some((server, url)) = guarded() else { return };
    let without = refused(&url);
    assert_eq!(without.status, 1);
    assert!(without.stderr.contains("PGPASSWORD"), "{without:?}");
    let wrong = refused(&url.replace("app@", "app:let-me-in@"));
    assert!(wrong.stderr.contains("password authentication failed"), "{wrong:?}");
    assert!(!wrong.stderr.contains("let-me-in"), "{wrong:?}");

    let here = Installation::new();
    here.write(
        "annals.toml",
        &format!("transport = [\"{}\"]\n", url.replace("app@", &format!("app:{PASSWORD}@"))),
    );
    let ok = |arguments: &[&str]| {
        let said = here.ok(arguments);
        assert!(!said.contains(PASSWORD), "{said}");
        said
    };
    ok(&["migrate"]);
    let trail = TRAIL.map(|event| event.replace('\n', " ")).join("\n");
    let recorded = here.feed(&["record"], trail.as_bytes());
    assert_eq!(
        (recorded.status, recorded.stdout.lines().count()),
        (0, TRAIL.len()),
        "{recorded:?}"
    );
    let figures: Value = serde_json::from_str(&ok(&["stats", "--json"])).unwrap();
    assert_eq!(figures["transports"][0]["ready"], TRAIL.len(), "{figures}");
    assert_eq!(server.sql("app", "SELECT count(*) FROM annals_queue"), TRAIL.len().to_string());
    ok(&["work", "--drain"]);
    assert_eq!(ok(&["query"]).lines().count(), TRAIL.len());
    ok(&["config"]);
    let doctor = here.run(&["doctor"]);
    assert!(!(doctor.stdout + &doctor.stderr).contains(PASSWORD));

    // A server that is not there, and the password from the environment.
    server.stop();
    let away = here.run(&["work", "--drain"]);
    assert!(away.status == 1 && !away.stderr.contains(PASSWORD), "{away:?}");
    let rescued = here.run(&["record", "--action", "paid", "--entity", "order:9"]);
    assert_eq!(rescued.status, 0, "{rescued:?}");
    server.resume().unwrap();
    ok(&["work", "--drain"]);
    assert_eq!(ok(&["query", "--entity", "order:9"]).lines().count(), 1);
    let by_environment = here
        .command(&["stats", "--json", "--transport", &url])
        .env("PGPASSWORD", PASSWORD)
        .output()
        .unwrap();
    assert!(by_environment.status.success(), "{by_environment:?}");
}

#[test]
fn doctor_says_what_the_server_promises() {
    let Some(server) = required(Postgres::start(&[])) else { return };
    let url = server.database();
    let database = url.rsplit('/').next().unwrap();
    let here = Installation::new();
    here.ok(&["migrate", "--transport", &url, "--store", &url]);
    let doctor = || {
        let said = here.run(&["doctor", "--transport", &url, "--store", &url]);
        (said.stdout, said.status)
    };
    let (said, status) = doctor();
    let all = "synchronous_commit on, fsync on: a crash loses nothing";
    assert_eq!((said.matches(all).count(), status), (2, 0), "of the queue and the store: {said}");
    let ddl = std::fs::read_to_string(crate::laravel::fixture("audits_ddl_pgsql.sql")).unwrap();
    server.sql(database, &ddl);
    server.sql(
        database,
        "CREATE TABLE messenger_messages (id bigserial PRIMARY KEY, body text NOT NULL, headers text NOT NULL, \
         queue_name varchar(190) NOT NULL, created_at timestamp NOT NULL, available_at timestamp NOT NULL, \
         delivered_at timestamp)",
    );
    let (messages, table) =
        (format!("symfony+{url}?queue=async&message=App"), format!("{url}?layout=laravel"));
    let others = here.ok(&["doctor", "--transport", &messages, "--store", &table]);
    assert_eq!(others.matches(all).count(), 2, "of tables that are not ours: {others}");
    for (setting, found, expected) in [
        ("synchronous_commit", "a crash of the server loses about the last second", 0),
        ("full_page_writes", "can damage the database", 3),
        ("fsync", "can lose everything", 3),
    ] {
        server.sql(database, &format!("ALTER SYSTEM SET {setting} = off"));
        server.sql(database, "SELECT pg_reload_conf()");
        // Each process reads its settings anew in its own time.
        let changed = || server.sql(database, &format!("SHOW {setting}")) == "off";
        while !changed() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let (said, status) = doctor();
        assert_eq!((said.matches(found).count(), status), (2, expected), "{setting}: {said}");
    }
}
