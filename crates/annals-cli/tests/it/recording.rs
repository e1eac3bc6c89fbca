use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::installation::{Ended, Installation, TRAIL, encoded, signal};

/// The stored events, oldest first.
fn stored(here: &Installation) -> Vec<Value> {
    let lines = here.ok(&["query", "--json", "--oldest-first"]);
    lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].clone())
        .collect()
}

#[test]
fn one_event_from_flags() {
    let here = Installation::new();
    let id = here.ok(&[
        "record",
        "--action",
        "updated",
        "--entity",
        "product:42",
        "--actor",
        "user:7",
        "--actor-name",
        "Jo Doe",
        "--old",
        r#"{"price":1000}"#,
        "--new",
        r#"{"price":12345678901234567890123}"#,
        "--reason",
        "new prices",
        "--tenant",
        "acme",
        "--tag",
        "a",
        "--tag",
        "b",
        "--metadata",
        r#"{"k":[1]}"#,
        "--outcome",
        "failure",
        "--at",
        "2026-11-22T10:00:00Z",
    ]);
    here.ok(&["work", "--drain"]);
    let event = &stored(&here)[0];
    assert_eq!(event["id"], id.trim());
    assert_eq!(event["occurred_at"], "2026-11-22T10:00:00.000000Z");
    assert_eq!(event["actor"], serde_json::json!({"type": "user", "id": "7", "name": "Jo Doe"}));
    assert_eq!(event["tags"], serde_json::json!(["a", "b"]));
    assert_eq!(
        (&event["outcome"], &event["tenant"], &event["reason"]),
        (&"failure".into(), &"acme".into(), &"new prices".into())
    );
    assert_eq!(event["producer"]["seq"], 1, "the process is its producer");
    assert!(
        here.ok(&["history", "product:42"]).contains("12345678901234567890123"),
        "numbers keep their digits"
    );
}

#[test]
fn flags_that_make_no_event_are_refused_by_name() {
    let here = Installation::new();
    for (flags, said) in [
        (&["--old", "{"][..], "--old is not JSON"),
        (&["--new", r#"{"a":1},"action":"x"#], "--new is not JSON"),
        (&["--new", "[1]"], "new_values: expected an object"),
        (&["--new", r#"{"a":1,"a":2}"#], "new_values"),
        (&["--outcome", "maybe"], "outcome: expected success, failure or denied"),
        (&["--at", "soon"], "occurred_at: expected an RFC 3339 time"),
    ] {
        let arguments =
            [&["record", "--action", "updated", "--entity", "product:42"], flags].concat();
        let ended = here.run(&arguments);
        assert!(ended.status == 2 && ended.stderr.contains(said), "{flags:?}: {ended:?}");
    }
    let reserved = here.run(&["record", "--action", "annals.pruned", "--entity", "store"]);
    assert!(reserved.status == 2 && reserved.stderr.contains("is reserved"), "{reserved:?}");
    assert!(!here.path("annals-data").exists(), "a refused event must leave nothing");
}

#[test]
fn of_many_lines_the_good_ones_are_taken_and_the_bad_ones_named() {
    let here = Installation::new();
    let mut input = Vec::new();
    input.extend(TRAIL[0].replace('\n', " ").into_bytes());
    input.extend(
        b"\n\nnot JSON\n{\"action\":\"\",\"entity\":{\"type\":\"a:b\"},\"colour\":1}\n\xff\xfe\n",
    );
    input.extend(
        format!(
            "{{\"action\":\"a\",\"entity\":{{\"type\":\"t\"}},\"reason\":\"{}\"}}\n",
            "x".repeat(300 * 1024)
        )
        .into_bytes(),
    );
    input.extend(format!("{}{}\n", "[".repeat(10_000), "]".repeat(10_000)).into_bytes());
    input.extend(TRAIL[1].replace('\n', " ").into_bytes());
    let ended = here.feed(&["record", "--json"], &input);
    assert_eq!(ended.status, 1);
    let lines: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["line"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 8]);
    insta::assert_snapshot!(ended.stderr);
    here.ok(&["work", "--drain"]);
    let bytes = stored(&here);
    assert_eq!(bytes.len(), 2);
    assert_eq!(lines[1]["id"], bytes[1]["id"]);
    assert_eq!(
        bytes[0].to_string(),
        serde_json::from_slice::<Value>(&encoded(TRAIL[0])).unwrap().to_string()
    );
}

#[test]
fn an_id_is_printed_only_once_the_event_is_durable_and_before_the_end_of_the_input() {
    let here = Installation::new();
    let mut child = here.command(&["record", "--json"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut acknowledged = BufReader::new(child.stdout.take().unwrap()).lines();
    writeln!(input, r#"{{"action":"seen","entity":{{"type":"page","id":"1"}}}}"#).unwrap();
    let line: Value = serde_json::from_str(&acknowledged.next().unwrap().unwrap()).unwrap();
    // Nothing is left to chance: it must survive the harshest end.
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    here.ok(&["work", "--drain"]);
    assert_eq!(stored(&here)[0]["id"], line["id"]);
}

#[test]
fn recording_twice_stores_once() {
    let here = Installation::new();
    let input = TRAIL.map(|text| text.replace('\n', " ")).join("\n");
    let first = here.feed(&["record"], input.as_bytes());
    let second = here.feed(&["record"], input.as_bytes());
    assert_eq!((first.status, &first.stdout), (0, &second.stdout));
    let worked: Value = serde_json::from_str(&here.ok(&["work", "--drain", "--json"])).unwrap();
    assert_eq!(
        (&worked["stored"], &worked["duplicates"], &worked["failed"]),
        (&4.into(), &4.into(), &0.into())
    );
    assert_eq!(worked["ended"], "drained");
    assert_eq!(stored(&here).len(), 4);
}

#[test]
fn a_worker_leaves_when_it_is_told_to_and_when_it_has_had_enough() {
    let here = Installation::new();
    here.queue("queue.db", &TRAIL);
    let worked = here.ok(&["work", "--max-events", "2", "--batch-size", "1"]);
    assert!(worked.ends_with("it had its number of events\n"), "{worked}");
    assert_eq!(stored(&here).len(), 2);
    for told in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let mut child = here.command(&["work"]).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(
            line.contains("working sqlite:annals-data/queue.db into sqlite:annals-data/store.db"),
            "{line}"
        );
        signal(&child, told);
        let ended = Ended::of(&child.wait_with_output().unwrap());
        assert!(ended.status == 0 && ended.stdout.ends_with("stopped by a signal\n"), "{ended:?}");
    }
    let limited = here.ok(&["work", "--time-limit", "1s", "--json"]);
    assert!(limited.contains("\"ended\":\"time-limit\""), "{limited}");
    assert_eq!(stored(&here).len(), 4);
}

#[test]
fn a_worker_writes_the_mirror_too_or_the_file_alone() {
    let here = Installation::new();
    here.queue("queue.db", &TRAIL);
    here.ok(&["work", "--drain", "--mirror", "file:copy.log"]);
    let expected: Vec<u8> =
        TRAIL.iter().flat_map(|text| [encoded(text), b"\n".to_vec()].concat()).collect();
    assert_eq!(std::fs::read(here.path("copy.log")).unwrap(), expected);
    here.queue("queue.db", &TRAIL);
    here.ok(&["work", "--drain", "--store", "file:alone.log"]);
    assert_eq!(std::fs::read(here.path("alone.log")).unwrap(), expected);
}

#[test]
fn verbosity_names_batches_then_events() {
    let here = Installation::new();
    here.queue("queue.db", &TRAIL[..1]);
    let id = annals::event::accept(TRAIL[0]).unwrap().event.id.to_string();
    let quiet = here.run(&["work", "--drain"]);
    assert!(!quiet.stderr.contains("DEBUG") && !quiet.stderr.contains(&id), "{}", quiet.stderr);
    here.queue("queue.db", &TRAIL[..1]);
    let batches = here.run(&["work", "--drain", "-v"]);
    assert!(
        batches.stderr.contains("DEBUG") && !batches.stderr.contains(&id),
        "{}",
        batches.stderr
    );
    here.queue("queue.db", &TRAIL[..1]);
    let events = here.run(&["work", "--drain", "-vv", "--log-format", "json"]);
    assert!(events.stderr.contains(&id), "{}", events.stderr);
    for line in events.stderr.lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
}
