//! The command in the place of a Laravel application's daemon.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use annals_testbed::postgres::Postgres;
use annals_testbed::redis::Redis;
use annals_testbed::required;
use serde_json::Value;

use crate::installation::Installation;

/// What a running application, and its daemon, wrote.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../annals/tests/fixtures/laravel").join(name)
}

fn rescue_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(fixture(""))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    files
}

fn ids(rows: &[Value]) -> BTreeSet<String> {
    rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

/// Whether the application's table on PostgreSQL takes a row.
fn fits(row: &Value) -> bool {
    let short = |name: &str| row[name].as_str().is_none_or(|text| text.chars().count() <= 255);
    row["auditable_id"].as_str().unwrap().parse::<i64>().is_ok()
        && short("url")
        && short("user_agent")
}

#[test]
fn rescue_files_are_recovered_row_by_row_and_moved_aside() {
    let Some(server) = required(Postgres::shared()) else { return };
    let url = server.database();
    let database = url.rsplit('/').next().unwrap();
    server.sql(database, &std::fs::read_to_string(fixture("audits_ddl_pgsql.sql")).unwrap());
    let here = Installation::new();
    here.write(
        ".env",
        &format!("AUDIT_DRIVER=redis\nDB_URL={url}\nREDIS_HOST=127.0.0.1\nREDIS_PORT=1\n"),
    );
    let mut rows = Vec::new();
    let mut arguments = vec!["recover".to_owned(), "--env-file".to_owned(), ".env".to_owned()];
    for path in rescue_files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let file: Value = serde_json::from_str(&text).unwrap();
        rows.extend(file["data"].as_array().unwrap().clone());
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        here.write(&name, &text);
        arguments.push(name);
    }
    let damaged = "audit_rescue_2026-11-22_02-00-00_00000000.json";
    let good_row = rows[0].to_string().replace(rows[0]["id"].as_str().unwrap(), "0");
    here.write(damaged, &format!("{{\"error\":\"\",\"data\":[{{\"id\":\"x\"}},{good_row},7]}}"));
    arguments.push(damaged.to_owned());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let recovered = here.run(&arguments);
    let (good, bad): (Vec<Value>, Vec<Value>) = rows.into_iter().partition(fits);
    assert!(!bad.is_empty() && good.len() > 250, "{} {}", good.len(), bad.len());
    let there = |column: &str| -> BTreeSet<String> {
        let sql = format!("SELECT {column} FROM audits");
        server.sql(database, &sql).lines().map(str::to_owned).collect()
    };
    assert_eq!(there("id::text"), ids(&good), "{recovered:?}");
    // Bad rows: those that the table refuses, two that are no rows, and one whose id is no UUID.
    assert_eq!(recovered.status, 1, "{recovered:?}");
    let failed = here.ok(&[
        "failed",
        "list",
        "--json",
        "--env-file",
        ".env",
        "--transport",
        "sqlite:annals-data/spool.db",
    ]);
    assert_eq!(failed.lines().count(), bad.len() + 3, "{failed}");
    for expected in ["type bigint", "without event", "invalid type: integer `7`", "type uuid"] {
        assert!(failed.contains(expected), "{expected}: {failed}");
    }
    // Moved aside, and again: nothing changes.
    for name in arguments.iter().skip(3) {
        assert!(!here.path(name).exists(), "{name}");
        std::fs::rename(here.path(&format!("{name}.recovered")), here.path(name)).unwrap();
    }
    let again = here.run(&arguments);
    assert_eq!(there("id::text"), ids(&good), "{again:?}");
    assert_eq!(again.status, 1);
}

#[test]
fn a_rescue_file_that_is_none_is_left_where_it_is() {
    let here = Installation::new();
    let name = "audit_rescue_2026-11-22_02-00-00_11111111.json";
    here.write(name, "{\"error\":\"x\",\"data\":[{\"id\":");
    let refused = here.run(&["recover", name]);
    assert_eq!(refused.status, 1);
    assert!(refused.stderr.contains(name) && refused.stderr.contains("EOF"), "{refused:?}");
    assert!(here.path(name).exists());
}

#[test]
fn old_rows_of_the_applications_table_are_pruned_in_its_own_time() {
    let Some(server) = required(Postgres::shared()) else { return };
    let url = server.database();
    let database = url.rsplit('/').next().unwrap();
    server.sql(database, &std::fs::read_to_string(fixture("audits_ddl_pgsql.sql")).unwrap());
    server.sql(
        database,
        "INSERT INTO audits SELECT gen_random_uuid(), 'created', 'App', n, NULL, NULL, NULL, NULL, NULL, NULL, \
         (now() AT TIME ZONE 'Asia/Tokyo') - n * interval '1 hour' + interval '1 minute' \
         FROM generate_series(1, 2400) AS n",
    );
    let here = Installation::new();
    let env = format!("APP_TIMEZONE=Asia/Tokyo\nAUDIT_PRUNE_DAYS=50\nDB_URL={url}\n");
    here.write(".env", &env);
    let planned = here.ok(&["prune", "--dry-run", "--env-file", ".env"]);
    assert!(planned.starts_with("would remove 1,200 events that occurred before"), "{planned}");
    let removed = here.ok(&["prune", "--env-file", ".env"]);
    assert!(removed.starts_with("removed 1,200 events that occurred before"), "{removed}");
    assert_eq!(server.sql(database, "SELECT count(*), max(auditable_id) FROM audits"), "1200|1200");
    let none = here.ok(&["prune", "--env-file", ".env"]);
    assert!(none.starts_with("removed 0 events"), "{none}");
}

#[test]
fn doctor_names_the_list_that_the_application_means() {
    let Some(redis) = required(Redis::start(&[])) else { return };
    let payload = std::fs::read_to_string(fixture("redis_payloads.jsonl")).unwrap();
    let payload = payload.lines().next().unwrap();
    redis.cli(&["RPUSH", "shop-database-audit_pkg:buffer", payload, payload]);
    redis.cli(&["RPUSH", "shop-database-queues:default", "{\"job\":1}"]);
    let here = Installation::new();
    let env = |prefix: &str| {
        let port = redis.port();
        here.write(".env", &format!("AUDIT_DRIVER=redis\nREDIS_PORT={port}\n{prefix}"));
        here.run(&["doctor", "--env-file", ".env"]).stdout
    };
    let other = env("");
    assert!(other.contains("the list laravel_database_audit_pkg:buffer is not there"), "{other}");
    assert!(other.contains("shop-database-audit_pkg:buffer (2 waiting)"), "{other}");
    assert!(!other.contains("queues:default"), "{other}");
    let right = env("REDIS_PREFIX=shop-database-\n");
    assert!(right.contains("2 ready") && !right.contains("is not there,"), "{right}");
    assert!(right.contains("appendonly no"), "{right}");
}

/// Every command says what it makes of the application's own table.
#[test]
fn each_command_knows_the_applications_table_for_what_it_is() {
    let Some(redis) = required(Redis::start(&[])) else { return };
    let here = Installation::new();
    let database = rusqlite::Connection::open(here.path("app.sqlite")).unwrap();
    let ddl = std::fs::read_to_string(fixture("audits_ddl_sqlite.sql")).unwrap();
    database.execute_batch(&ddl).unwrap();
    let payloads = std::fs::read_to_string(fixture("redis_payloads.jsonl")).unwrap();
    let good: Vec<&str> = payloads.lines().take(3).collect();
    redis.cli(&[&["RPUSH", "buffer"], &good[..], &["{\"no\":\"row\"}"]].concat());
    let list = format!("redis+list://127.0.0.1:{}/0?key=buffer", redis.port());
    let store = "sqlite:app.sqlite?layout=laravel";
    let with = |command: &[&str]| {
        here.run(&[command, &["--transport", list.as_str(), "--store", store]].concat())
    };

    let migrated = with(&["migrate"]);
    assert!(migrated.stdout.contains("app.sqlite?layout=laravel  ready"), "{migrated:?}");
    let worked = with(&["work", "--drain"]);
    assert_eq!(worked.status, 0, "{worked:?}");
    assert!(worked.stderr.contains("is no row of audits"), "the log names it: {worked:?}");
    let said = format!("{}{}", worked.stdout, worked.stderr);
    assert!(said.contains("stored 3 events") && said.contains("1 failed"), "{said}");
    // Nobody but the application sends to its list: what is recorded here goes beside it.
    let recorded = with(&["record", "--action", "closed", "--entity", "month:11"]);
    assert_eq!((recorded.status, recorded.stderr.as_str()), (0, ""), "{recorded:?}");
    let worked = with(&["work", "--drain"]);
    assert!(format!("{worked:?}").contains("1 event"), "{worked:?}");
    let doctor = with(&["doctor"]).stdout;
    assert!(doctor.contains("the application's own table, with its columns"), "{doctor}");
    assert!(!doctor.contains("holds no tables"), "{doctor}");
    for command in [&["query"][..], &["history", "order:1"]] {
        let refused = with(command);
        assert_eq!(refused.status, 2);
        assert!(refused.stderr.contains("no index to be queried"), "{refused:?}");
    }

    let tables = || -> i64 {
        database.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap()
    };
    let before = tables();
    for store in ["sqlite:app.sqlite?layout=symfony", "sqlite:app.sqlite?table=audits"] {
        let refused = here.run(&["work", "--drain", "--transport", &list, "--store", store]);
        assert_eq!(refused.status, 2, "{refused:?}");
        assert!(refused.stderr.contains("hint:"), "{refused:?}");
    }
    assert_eq!(tables(), before, "nothing of ours was made in the application's database");
}
