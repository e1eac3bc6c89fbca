//! `annals recover`, killed on its way.

use std::collections::BTreeMap;
use std::time::Duration;

use annals::event::accept;

use super::dice::Dice;
use super::oracle::stored;
use super::process::{Process, assert_nobody_panicked, drain, run};
use crate::installation::{Installation, encoded, wait};

/// More than one recovery moves before it is killed.
const EVENTS: usize = 15_000;
const KILLS: usize = 8;

fn events() -> Vec<String> {
    let event = |number: usize| {
        format!(
            r#"{{"occurred_at":"2026-11-22T10:00:00Z","source_id":"{number}","action":"seen","entity":{{"type":"page","id":"{number}"}}}}"#
        )
    };
    (0..EVENTS).map(event).collect()
}

/// Kills recoveries, lets one finish, and looks whether the store has every event
/// once, with its bytes.
fn check(here: &Installation, events: &[String], arguments: &[&str]) {
    let mut dice = Dice::new();
    let mut killed = 0;
    while killed < KILLS {
        let mut recovery = Process::start(here, "recover", arguments);
        dice.pause(Duration::from_millis(120));
        // One that was through before its end came is no less a recovery.
        killed += usize::from(recovery.kill_if_running());
    }
    let ended = run(here, arguments);
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""), "{ended:?}");
    drain(here);
    let id_and_body = |event: &String| (accept(event).unwrap().event.id, encoded(event));
    let expected: BTreeMap<_, _> = events.iter().map(id_and_body).collect();
    let stored = stored(&here.path("annals-data/store.db"));
    assert_eq!(stored.len(), EVENTS, "each once");
    assert!(stored.into_iter().collect::<BTreeMap<_, _>>() == expected, "with its bytes");
    assert_nobody_panicked(here);
}

#[test]
fn a_recovery_of_the_spool_that_is_killed_is_finished_by_the_next() {
    let here = Installation::new();
    let events = events();
    for part in events.chunks(5_000) {
        here.queue("spool.db", &part.iter().map(String::as_str).collect::<Vec<_>>());
    }
    check(&here, &events, &["recover"]);
    let left = wait(async { here.transport("spool.db").await.stats().await.unwrap() });
    assert_eq!((left.ready, left.leased), (0, 0));
}

#[test]
fn a_recovery_of_a_file_that_is_killed_is_finished_by_the_next() {
    let here = Installation::new();
    let events = events();
    let rows: Vec<String> =
        events.iter().map(|event| String::from_utf8(encoded(event)).unwrap()).collect();
    here.write("audit.log", &rows.join("\n"));
    check(&here, &events, &["recover", "audit.log"]);
}
