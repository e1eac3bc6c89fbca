use std::fs;
use std::process::Command;

use rusqlite::Connection;

use crate::installation::{Ended, Installation, TRAIL};

/// One clear sentence, perhaps a hint, and nothing else.
fn assert_clear(here: &Installation, arguments: &[&str], said: &str) {
    let ended = here.run(arguments);
    assert_eq!(ended.status, 1, "{arguments:?}: {ended:?}");
    assert_eq!(ended.stdout, "", "{arguments:?}");
    let mut lines = ended.stderr.lines().filter(|line| !line.contains("INFO"));
    let error = lines.next().unwrap_or_default();
    assert!(
        error.starts_with("error: ") && error.contains(said),
        "{arguments:?}: {}",
        ended.stderr
    );
    assert!(lines.all(|line| line.starts_with("hint: ")), "{}", ended.stderr);
}

#[test]
fn nothing_is_there_yet() {
    let here = Installation::new();
    for command in
        [&["query"][..], &["tail"], &["history", "a:1"], &["prune", "--older-than", "1d"]]
    {
        assert_clear(&here, command, "open the store sqlite:annals-data/store.db: no such file");
    }
    assert!(!here.path("annals-data").exists(), "looking made something");
}

#[test]
fn what_is_no_database_is_named() {
    let here = Installation::new();
    fs::create_dir(here.path("annals-data")).unwrap();
    here.write("annals-data/store.db", &"not a database ".repeat(100));
    here.write("annals-data/queue.db", &"not a database ".repeat(100));
    assert_clear(&here, &["query"], "annals-data/store.db: file is not a database");
    assert_clear(
        &here,
        &["record", "--action", "a", "--entity", "b:1"],
        "annals-data/queue.db: file is not a database",
    );
}

#[test]
fn a_newer_version_is_left_alone() {
    let here = Installation::new();
    here.store(&TRAIL);
    here.queue("queue.db", &TRAIL);
    let store = Connection::open(here.path("annals-data/store.db")).unwrap();
    store.execute("UPDATE annals_store_meta SET value = '99' WHERE key = 'schema'", []).unwrap();
    let queue = Connection::open(here.path("annals-data/queue.db")).unwrap();
    queue.execute("UPDATE annals_queue_head SET version = 99", []).unwrap();
    assert_clear(&here, &["query"], "version 99");
    assert_clear(&here, &["record", "--action", "a", "--entity", "b:1"], "version 99");
    let said = here.run(&["doctor"]);
    assert_eq!(said.status, 3);
    assert_eq!(said.stdout.matches("fail  ").count(), 2, "{said:?}");
}

/// Runs a shell script in which the data directory may be mounted anew, with the
/// command as `$ANNALS_BIN`; `None`, and a line that says so, where this machine
/// does not allow that.
fn mounted(here: &Installation, script: &str) -> Option<Ended> {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    command.arg(format!("mount -t tmpfs -o size=400k tmpfs annals-data || exit 99\n{script}"));
    command.current_dir(here.path("")).env("BIN", env!("CARGO_BIN_EXE_annals"));
    match command.output() {
        Ok(output)
            if output.status.code() != Some(99) && !output.stderr.starts_with(b"unshare:") =>
        {
            Some(Ended::of(&output))
        }
        other => {
            eprintln!("SKIPPED: no file system can be mounted here ({other:?})");
            None
        }
    }
}

#[test]
fn a_directory_that_is_read_only() {
    let here = Installation::new();
    fs::create_dir(here.path("annals-data")).unwrap();
    let record = "$BIN record --action a --entity b:1";
    let script = format!(
        "{record} && $BIN work --drain && mount -o remount,ro annals-data && {record}; echo $?; $BIN query; echo $?; $BIN doctor; echo $?"
    );
    let Some(ended) = mounted(&here, &script) else { return };
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert!(lines.contains(&"1") && lines.last() == Some(&"3"), "{ended:?}");
    assert!(
        ended
            .stdout
            .contains("fail  directory annals-data: cannot be written: Read-only file system"),
        "{ended:?}"
    );
    let errors: Vec<&str> =
        ended.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(errors[0].contains("queue.db: Read-only file system"), "{ended:?}");
    // Whether SQLite can read there depends on the write-ahead log that the worker
    // left: either the event is shown, or one sentence says why not.
    match errors[1..] {
        [] => assert!(ended.stdout.contains("someone a b:1\n0\n"), "{ended:?}"),
        [error] => {
            assert!(error.contains("store.db: unable to open database file"), "{ended:?}");
            assert!(ended.stderr.contains("hint: check that the directory exists and its rights"));
        }
        _ => panic!("more than one sentence: {ended:?}"),
    }
}

#[test]
fn a_disk_that_is_full() {
    let here = Installation::new();
    fs::create_dir(here.path("annals-data")).unwrap();
    let event = format!(
        r#"{{"action":"seen","entity":{{"type":"page","id":"1"}},"reason":"{}"}}"#,
        "x".repeat(10_000)
    );
    here.write("events.ndjson", &format!("{event}\n").repeat(60));
    let script = "$BIN record < events.ndjson > recorded; echo $?; cat recorded | wc -l; $BIN stats --json; $BIN doctor; echo $?";
    let Some(ended) = mounted(&here, script) else { return };
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines[0], "1", "{ended:?}");
    let acknowledged: u64 = lines[1].trim().parse().unwrap();
    assert!(acknowledged < 60, "{ended:?}");
    let figures: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
    let ready = figures["transports"][0]["ready"].as_u64().unwrap();
    assert!(ready >= acknowledged, "acknowledged {acknowledged}, there are {ready}");
    assert!(ended.stderr.contains("full"), "{ended:?}");
    assert_eq!(lines.last(), Some(&"3"), "doctor names the full disk: {ended:?}");
}

#[test]
fn a_database_that_another_program_holds() {
    let here = Installation::new();
    here.queue("queue.db", &TRAIL);
    let other = Connection::open(here.path("annals-data/queue.db")).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let ended = here.run(&["record", "--action", "a", "--entity", "b:1"]);
    assert_eq!((ended.status, ended.stdout.as_str()), (1, ""), "{ended:?}");
    assert!(
        ended.stderr.contains("database is locked") && ended.stderr.contains("another program"),
        "{ended:?}"
    );
}

#[test]
fn a_directory_that_is_a_file() {
    let here = Installation::new();
    here.write("annals-data", "");
    assert_clear(&here, &["record", "--action", "a", "--entity", "b:1"], "annals-data/queue.db: ");
    let said = here.run(&["doctor"]);
    assert!(
        said.status == 3 && said.stdout.contains("directory annals-data: is a file"),
        "{said:?}"
    );
}
