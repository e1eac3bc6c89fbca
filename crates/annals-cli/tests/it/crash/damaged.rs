//! Files that someone else wrote over or cut.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use annals::EventId;
use rusqlite::Connection;
use serde_json::Value;

use super::dice::Dice;
use super::oracle::Oracle;
use super::process::{Process, run};
use crate::installation::{Ended, Installation};

const QUEUE: &str = "annals-data/queue.db";
const STORE: &str = "annals-data/store.db";

/// Bytes of a database page.
const PAGE: usize = 4096;

/// What is done to a file.
type Damage = fn(&mut Vec<u8>, &mut Dice);

const DAMAGES: [(&str, Damage); 6] = [
    ("a header of noise", |bytes, dice| noise(&mut bytes[..100], dice)),
    ("noise behind the header", |bytes, dice| noise(&mut bytes[100..PAGE], dice)),
    ("noise but for the first page", |bytes, dice| noise(&mut bytes[PAGE..], dice)),
    ("one page of noise", |bytes, dice| {
        let page = 1 + dice.below(bytes.len() / PAGE - 1);
        noise(&mut bytes[page * PAGE..(page + 1) * PAGE], dice);
    }),
    ("cut in half", |bytes, _| bytes.truncate(bytes.len() / 2)),
    ("cut within a page", |bytes, dice| bytes.truncate(bytes.len() - dice.below(PAGE) - 1)),
];

fn noise(bytes: &mut [u8], dice: &mut Dice) {
    bytes.fill_with(|| u8::try_from(dice.below(256)).unwrap());
}

/// An installation with events in the store and others in the queue, and which
/// they are.
fn installation(dice: &mut Dice) -> (Installation, Vec<EventId>) {
    let here = Installation::new();
    let (oracle, mut ids, mut lines) = (Oracle::default(), Vec::new(), String::new());
    while ids.len() < 150 {
        let issued = oracle.issue(dice);
        if let Some(id) = issued.id {
            ids.push(id);
            lines.push_str(&format!("{}\n", issued.text));
        }
    }
    let recorded = here.feed(&["record"], lines.as_bytes());
    assert_eq!(recorded.stdout.lines().count(), ids.len(), "{recorded:?}");
    here.ok(&["work", "--max-events", "60"]);
    (here, ids)
}

fn damage(path: &Path, how: Damage, dice: &mut Dice) {
    // The last to close a database moves all of it into the one file.
    drop(Connection::open(path).unwrap().query_row("PRAGMA data_version", [], |_| Ok(())));
    let mut bytes = fs::read(path).unwrap();
    how(&mut bytes, dice);
    fs::write(path, bytes).unwrap();
}

/// Whoever meets the damage says where it is and that it cannot go on, and
/// `doctor` finds it too; if nobody does, every event is there.
fn assert_told(here: &Installation, name: &str, what: &str, ids: &[EventId]) {
    let commands: [&[&str]; 5] = [
        &["record", "--action", "seen", "--entity", "page"],
        &["work", "--drain"],
        &["stats"],
        &["failed", "list", "--json"],
        &["query", "--limit", "1000", "--json"],
    ];
    let (mut told, mut of_the_file) = (false, false);
    let mut there = String::new();
    for command in commands {
        let Ended { status, stdout, stderr } = run(here, command);
        let ended = format!("{name}, {what}, {command:?}: {status}: {stderr}");
        told |= status != 0;
        // A few wrong bytes in an event leave the database a sound one.
        of_the_file |= status != 0 && !stderr.contains("error: read event ");
        match status {
            0 => there.push_str(&stdout),
            1 => assert!(is_clear(&stderr, name), "{ended}"),
            _ => panic!("{ended}"),
        }
    }
    let doctor = run(here, &["doctor"]);
    let found = doctor.status == 3;
    assert!(found || !of_the_file, "{name}, {what}: {doctor:?}");
    let missing = ids.iter().filter(|id| !there.contains(&id.to_string())).count();
    assert!(told || found || missing == 0, "{name}, {what}: {missing} are missing silently");
}

/// Names the file, or the event in it, and says what to do.
fn is_clear(stderr: &str, name: &str) -> bool {
    let has = |what: &str| stderr.contains(what);
    has("error: ")
        && (has(name) || has("error: read event "))
        && (has("hint: ") || has("error: line "))
}

#[test]
fn a_damaged_database_is_told_of() {
    let mut dice = Dice::new();
    for name in [QUEUE, STORE] {
        for (what, how) in DAMAGES {
            let (here, ids) = installation(&mut dice);
            damage(&here.path(name), how, &mut dice);
            assert_told(&here, name, what, &ids);
        }
    }
}

/// Damage that shows only under way ends the work: no waiting would mend it.
#[test]
fn damage_that_is_met_under_way_ends_the_work() {
    let mut dice = Dice::new();
    for command in [&["work"][..], &["up", "--listen", "127.0.0.1:0"]] {
        for (name, table) in [(STORE, "annals_log_head"), (QUEUE, "annals_delivery")] {
            let (here, _) = installation(&mut dice);
            // Opening a database does not look at this page.
            let page = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
            let db = Connection::open(here.path(name)).unwrap();
            let page: u64 = db.query_row(page, [table], |row| row.get(0)).unwrap();
            drop(db);
            let file = fs::OpenOptions::new().write(true).open(here.path(name)).unwrap();
            file.write_all_at(&[0xff; PAGE], (page - 1) * PAGE as u64).unwrap();
            let mut process = Process::start(&here, "work", command);
            let status = process.wait();
            assert_eq!(status.code(), Some(1), "{}", process.said());
            assert!(process.said().contains("hint: set the file aside"), "{}", process.said());
        }
    }
}

/// A file of events that was cut within a line: the part is put aside, and what
/// comes next stands on a line of its own.
#[test]
fn a_cut_file_of_events_goes_on_behind_its_last_whole_line() {
    let here = Installation::new();
    here.write("annals.toml", "store = \"file:audit.log\"\n");
    let event = r#"{"action":"seen","entity":{"type":"page","id":"1"}}"#;
    here.feed(&["record"], format!("{event}\n").repeat(5).as_bytes());
    here.ok(&["work", "--drain"]);
    let whole = fs::read(here.path("audit.log")).unwrap();
    fs::write(here.path("audit.log"), &whole[..whole.len() - 30]).unwrap();
    here.feed(&["record"], format!("{event}\n").as_bytes());
    let worked = run(&here, &["work", "--drain"]);
    assert!(worked.stderr.contains("audit.log ended in a part of a line"), "{worked:?}");
    assert!(worked.stderr.contains("to audit.log.torn"), "{worked:?}");
    let lines = fs::read_to_string(here.path("audit.log")).unwrap();
    assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{lines}");
    assert_eq!(lines.lines().count(), 5, "{lines}");
    let torn = fs::read(here.path("audit.log.torn")).unwrap();
    let last = whole[..whole.len() - 30].rsplit(|byte| *byte == b'\n').next().unwrap();
    assert_eq!(torn.strip_suffix(b"\n"), Some(last));
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    let here = Installation::new();
    here.write("annals.toml", "store = \"file:audit.log\"\n");
    here.write("audit.log", "once upon a time");
    here.feed(&["record"], br#"{"action":"seen","entity":{"type":"page"}}"#);
    let worked = run(&here, &["work", "--drain"]);
    assert!(worked.status == 1 && is_clear(&worked.stderr, "audit.log"), "{worked:?}");
    assert_eq!(fs::read_to_string(here.path("audit.log")).unwrap(), "once upon a time");
}

/// What an application enqueued with a statement of its own and a wrong id holds
/// up nobody.
#[test]
fn a_wrong_id_in_the_queue_fails_its_event_at_most() {
    let here = Installation::new();
    let event = r#"{"action":"seen","entity":{"type":"page"}}"#;
    let body = crate::installation::encoded(event);
    here.feed(&["record"], event.as_bytes());
    let queue = Connection::open(here.path(QUEUE)).unwrap();
    for (id, body) in [(&b"wrong"[..], &body[..]), (&[4; 16], b"no event")] {
        queue.execute(annals::transport::sqlite::ENQUEUE, (id, 0, body)).unwrap();
    }
    here.feed(&["record"], event.as_bytes());
    for _ in 0..2 {
        let worked = run(&here, &["work", "--drain"]);
        assert_eq!(worked.status, 0, "{worked:?}");
        assert_eq!(here.ok(&["query", "--json"]).lines().count(), 3);
        assert_eq!(here.ok(&["failed", "list", "--json"]).lines().count(), 1);
        assert_eq!(here.ok(&["failed", "retry", "--all"]), "put back 1 event\n");
    }
}
