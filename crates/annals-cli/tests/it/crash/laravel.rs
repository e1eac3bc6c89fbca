//! A Laravel application's list and table: workers and Redis are killed between them,
//! and the database is away.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use annals_testbed::outcome::{is_full, leave};
use annals_testbed::postgres::Postgres;
use annals_testbed::redis::{DURABLE, Redis};
use annals_testbed::required;
use rustix::process::Signal;
use serde_json::json;

use super::dice::Dice;
use super::process::{PATIENCE, Process};
use crate::installation::Installation;
use crate::laravel::fixture;

const KEY: &str = "shop_database_audit_pkg:buffer";

/// Pushes rows as the application does, until it is told to stop; what Redis did not
/// answer is pushed again, as an application's retry would, and then is there twice:
/// the same row both times.
fn push(port: u16, stop: &AtomicBool, pushed: &AtomicUsize) {
    let connect = || TcpStream::connect(("127.0.0.1", port)).ok().map(BufReader::new);
    let mut connection = connect();
    while !stop.load(Ordering::Relaxed) {
        let number = pushed.load(Ordering::Relaxed);
        let payload = json!({
            "id": format!("00000000-0000-4000-8000-{number:012}"), "event": "created",
            "auditable_type": "App\\Models\\Product", "auditable_id": number.to_string(),
            "user_id": null, "url": "console", "ip_address": "127.0.0.1", "user_agent": "CLI",
            "old_values": "[]", "new_values": format!("{{\"n\":{number}}}"),
            "created_at": "2026-11-22 01:36:19",
        })
        .to_string();
        let command = format!(
            "*3\r\n$5\r\nRPUSH\r\n${}\r\n{KEY}\r\n${}\r\n{payload}\r\n",
            KEY.len(),
            payload.len()
        );
        let mut answer = String::new();
        let told = connection.as_mut().is_some_and(|connection| {
            connection.get_mut().write_all(command.as_bytes()).is_ok()
                && connection.read_line(&mut answer).is_ok()
                && answer.starts_with(':')
        });
        if told {
            pushed.fetch_add(1, Ordering::Relaxed);
        } else {
            thread::sleep(Duration::from_millis(10));
            connection = connect();
        }
    }
}

#[test]
fn whoever_is_killed_every_pushed_row_is_in_the_table_once() {
    let Some(server) = required(Postgres::shared()) else { return };
    let Some(redis) = required(Redis::start(&DURABLE)) else { return };
    let (begun, rounds) = (Instant::now(), if is_full() { 60 } else { 8 });
    let url = server.database();
    let database = url.rsplit('/').next().unwrap();
    server.sql(database, &std::fs::read_to_string(fixture("audits_ddl_pgsql.sql")).unwrap());
    let here = Installation::new();
    here.write(
        ".env",
        &format!(
            "APP_NAME=Shop\nDB_URL={url}\nREDIS_HOST=127.0.0.1\nREDIS_PORT={}\nAUDIT_BATCH_SIZE=200\n\
             AUDIT_DRIVER=redis\n",
            redis.port()
        ),
    );
    let work = ["work", "--env-file", ".env"];
    let (stop, pushed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut dice = Dice::new();
    thread::scope(|scope| {
        scope.spawn(|| push(redis.port(), &stop, &pushed));
        let mut workers = [0, 1].map(|_| Process::start(&here, "work", &work));
        for round in 0..rounds {
            for worker in &mut workers {
                dice.pause(Duration::from_millis(300));
                worker.kill();
                dice.pause(Duration::from_millis(50));
                *worker = Process::start(&here, "work", &work);
            }
            if round % 4 == 3 {
                redis.kill();
                dice.pause(Duration::from_millis(100));
                redis.resume().unwrap();
            }
        }
        stop.store(true, Ordering::Relaxed);
        for mut worker in workers {
            worker.signal(Signal::TERM);
            worker.leave();
        }
    });
    // Those that were killed hold their last batch until its lease ends.
    let mut last = Process::start(&here, "work", &["work", "--env-file", ".env", "--drain"]);
    last.leave();
    assert!(begun.elapsed() < PATIENCE * 4);
    let pushed = pushed.load(Ordering::Relaxed);
    let found =
        server.sql(database, "SELECT count(*), count(DISTINCT id), max(auditable_id) FROM audits");
    let wanted = format!("{pushed}|{pushed}|{}", pushed - 1);
    // The last one may have been pushed without an answer.
    let or = format!("{0}|{0}|{pushed}", pushed + 1);
    assert!(pushed > 100 && (found == wanted || found == or), "{found}, {wanted}: {}", last.said());
    let failed = here.ok(&["failed", "list", "--json", "--env-file", ".env"]);
    assert_eq!(failed, "");
    if is_full() {
        let outcome = format!(
            "{} kills of workers, {} of Redis; {pushed} rows pushed, each in the table once; {} s",
            2 * rounds,
            rounds / 4,
            begun.elapsed().as_secs()
        );
        leave(
            "laravel",
            "kill -9 of workers and of Redis at a Laravel application's list",
            &outcome,
        );
    }
}

#[test]
fn a_worker_that_is_killed_while_it_rescues_loses_nothing() {
    let Some(server) = required(Postgres::start(&[])) else { return };
    let Some(redis) = required(Redis::start(&DURABLE)) else { return };
    let rounds = if is_full() { 100 } else { 8 };
    let url = server.database();
    let database = url.rsplit('/').next().unwrap();
    server.sql(database, &std::fs::read_to_string(fixture("audits_ddl_pgsql.sql")).unwrap());
    let here = Installation::new();
    here.write(
        ".env",
        &format!(
            "APP_NAME=Shop\nDB_URL={url}\nREDIS_HOST=127.0.0.1\nREDIS_PORT={}\nAUDIT_DRIVER=redis\n",
            redis.port()
        ),
    );
    here.write("annals.toml", "[worker]\nrescue_after = \"0s\"\n");
    let work = ["work", "--env-file", ".env"];
    let (stop, pushed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut dice = Dice::new();
    server.stop();
    thread::scope(|scope| {
        scope.spawn(|| push(redis.port(), &stop, &pushed));
        for _ in 0..rounds {
            let mut worker = Process::start(&here, "work", &work);
            thread::sleep(Duration::from_millis(300));
            dice.pause(Duration::from_millis(300));
            worker.kill();
        }
        stop.store(true, Ordering::Relaxed);
    });
    // On call at night: what waits can be seen though the database is away.
    let stats = here.ok(&["stats", "--json", "--env-file", ".env"]);
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    let spool = stats["transports"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["url"].as_str().is_some_and(|url| url.ends_with("spool.db")));
    assert!(spool.unwrap()["ready"].as_u64().unwrap() > 0, "{stats}");
    server.resume().unwrap();
    // The spool by the command that is for it, and the rest by a worker.
    let recovered = here.ok(&["recover", "--env-file", ".env"]);
    assert!(recovered.contains("of the spool to postgres://"), "{recovered}");
    let mut last = Process::start(&here, "work", &["work", "--env-file", ".env", "--drain"]);
    last.leave();
    let pushed = pushed.load(Ordering::Relaxed);
    let found =
        server.sql(database, "SELECT count(*), count(DISTINCT id), max(auditable_id) FROM audits");
    // The last one may have been pushed without an answer.
    let wanted = [pushed, pushed + 1].map(|rows| format!("{rows}|{rows}|{}", rows - 1));
    assert!(pushed > 100 && wanted.contains(&found), "{found}, {wanted:?}: {}", last.said());
    let failed = here.ok(&["failed", "list", "--json", "--env-file", ".env"]);
    assert_eq!(failed, "");
    assert!(!last.said().contains("panicked"));
}
