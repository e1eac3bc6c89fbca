//! The command with queue and store in MariaDB.

use annals_testbed::mariadb::Mariadb;
use annals_testbed::required;
use serde_json::Value;

use crate::installation::{Installation, TRAIL};

const PASSWORD: &str = "hush-hush";

#[test]
fn queue_and_store_may_be_in_mariadb_and_the_password_is_never_shown() {
    let Some(server) = required(Mariadb::start(&[])) else { return };
    server.sql(
        "",
        &format!("CREATE DATABASE app; CREATE USER app IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON app.* TO app"),
    );
    let url = format!("mysql://app@127.0.0.1:{}/app", server.port());
    let wrong = Installation::new().run(&[
        "migrate",
        "--transport",
        &url.replace("app@", "app:let-me-in@"),
    ]);
    assert_eq!(wrong.status, 1);
    assert!(wrong.stderr.contains("Access denied") && wrong.stderr.contains("password_file="));
    assert!(!wrong.stderr.contains("let-me-in"), "{wrong:?}");

    let here = Installation::new();
    let with = url.replace("app@", &format!("app:{PASSWORD}@"));
    here.write("annals.toml", &format!("transport = [\"{with}\"]\nstore = \"{with}\"\n"));
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
    ok(&["work", "--drain"]);
    assert_eq!(ok(&["query"]).lines().count(), TRAIL.len());
    assert_eq!(server.sql("app", "SELECT COUNT(*) FROM annals_trail"), TRAIL.len().to_string());
    ok(&["config"]);
    let doctor = here.run(&["doctor"]);
    assert_eq!(doctor.status, 0, "{doctor:?}");
    assert!(!(doctor.stdout + &doctor.stderr).contains(PASSWORD));

    // Captured by triggers, and pruned.
    server.sql("app", "CREATE TABLE shelf (id INT PRIMARY KEY, price INT)");
    ok(&["attach", "shelf"]);
    server.sql("app", "INSERT INTO shelf VALUES (42, 1000); UPDATE shelf SET price = 1200");
    ok(&["work", "--drain"]);
    assert_eq!(ok(&["query", "--entity", "shelf:42"]).lines().count(), 2);
    ok(&["detach", "shelf"]);
    let pruned = ok(&["prune", "--older-than", "1ms"]);
    assert!(!pruned.is_empty());
    assert_eq!(ok(&["query", "--entity", "shelf:42"]).lines().count(), 0);

    // A server that is not there: what is recorded waits in the spool.
    server.stop();
    let away = here.run(&["work", "--drain"]);
    assert!(away.status == 1 && !away.stderr.contains(PASSWORD), "{away:?}");
    let rescued = here.run(&["record", "--action", "paid", "--entity", "order:9"]);
    assert_eq!(rescued.status, 0, "{rescued:?}");
    server.resume().unwrap();
    ok(&["work", "--drain"]);
    assert_eq!(ok(&["query", "--entity", "order:9"]).lines().count(), 1);
}

#[test]
fn doctor_says_what_the_server_promises() {
    let Some(server) = required(Mariadb::start(&["log-bin=binlog", "sync-binlog=1"])) else {
        return;
    };
    let url = server.database();
    let here = Installation::new();
    here.ok(&["migrate", "--transport", &url, "--store", &url]);
    let doctor = || {
        let said = here.run(&["doctor", "--transport", &url, "--store", &url]);
        (said.stdout, said.status)
    };
    let set = |setting: &str, value: &str| {
        server.sql("", &format!("SET GLOBAL {setting} = {value}"));
    };
    set("innodb_flush_log_at_trx_commit", "1");
    let (said, status) = doctor();
    let all = "innodb_flush_log_at_trx_commit 1, sync_binlog 1: a crash loses nothing";
    assert_eq!((said.matches(all).count(), status), (2, 0), "of the queue and the store: {said}");
    for (setting, value, found, expected) in [
        ("sync_binlog", "0", "may lose what came since the binary log was synced", 0),
        (
            "innodb_flush_log_at_trx_commit",
            "2",
            "crash of the machine loses about the last second",
            0,
        ),
        (
            "innodb_flush_log_at_trx_commit",
            "0",
            "the server or the machine loses about the last",
            0,
        ),
        ("read_only", "1", "the server is read-only", 3),
    ] {
        set(setting, value);
        let (said, status) = doctor();
        assert_eq!(said.matches(found).count(), 2, "{setting} {value}: {said}");
        assert_eq!(status, expected, "{said}");
    }
    set("read_only", "0");
    set("innodb_flush_log_at_trx_commit", "1");
    server.stop();
    server.set(&[]);
    server.resume().unwrap();
    set("innodb_flush_log_at_trx_commit", "1");
    let (said, _) = doctor();
    assert!(said.contains("no binary log: a crash loses nothing"), "{said}");

    let database = url.rsplit('/').next().unwrap();
    assert!(!said.contains("months of their own"), "three years are made: {said}");
    let made = "SELECT GROUP_CONCAT(partition_name) FROM information_schema.partitions \
         WHERE table_schema = DATABASE() AND table_name = 'annals_events' \
             AND partition_ordinal_position > 4 AND partition_name <> 'future'";
    let last = server.sql(database, made);
    server.sql(database, &format!("ALTER TABLE annals_events DROP PARTITION {last}"));
    let (said, _) = doctor();
    assert!(said.contains("events have months of their own until "), "{said}");
    here.ok(&["migrate", "--transport", &url, "--store", &url]);
    assert!(!doctor().0.contains("months of their own"));

    let ddl = std::fs::read_to_string(crate::laravel::fixture("audits_ddl_mariadb.sql")).unwrap();
    server.sql(database, &ddl);
    let table = format!("{url}?layout=laravel&table=audits");
    let said = here.ok(&["doctor", "--store", &table]);
    assert!(said.contains("no binary log: a crash loses nothing"), "{said}");
}
