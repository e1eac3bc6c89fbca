use std::io::{BufRead, BufReader, Read};

use rustix::process::Signal;
use serde_json::Value;

use crate::installation::{Installation, TRAIL, encoded, signal};

fn with_trail() -> Installation {
    let here = Installation::new();
    here.store(&TRAIL);
    here
}

fn rows(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The source ids of the events in a machine's answer, in order.
fn ids(lines: &str) -> String {
    let ids = rows(lines)
        .into_iter()
        .filter_map(|row| row["event"]["source_id"].as_str().map(str::to_owned));
    ids.collect()
}

#[test]
fn query_shows_one_line_an_event_newest_first() {
    insta::assert_snapshot!(with_trail().ok(&["query"]));
}

#[test]
fn history_shows_each_change_newest_first() {
    insta::assert_snapshot!(with_trail().ok(&["history", "product:42"]));
}

#[test]
fn history_rebuilds_the_state_at_a_time() {
    let here = with_trail();
    insta::assert_snapshot!(here.ok(&["history", "product:42", "--at", "2026-11-22T10:30:00Z"]));
    let machine = here.ok(&["history", "product:42", "--at", "2026-11-22T11:30", "--json"]);
    let state: Value = serde_json::from_str(&machine).unwrap();
    assert_eq!(state["values"], serde_json::json!({"name": "Lamp", "price": 1200}));
    assert_eq!((&state["exists"], &state["complete"]), (&Value::Bool(true), &Value::Bool(true)));
}

#[test]
fn each_filter_lets_through_what_it_says() {
    let here = with_trail();
    for (filter, expected) in [
        (&["--entity", "product:42"][..], "21"),
        (&["--entity-type", "product"], "321"),
        (&["--actor", "user:7"], "31"),
        (&["--actor", "7"], "431"),
        (&["--action", "created"], "31"),
        (&["--outcome", "denied"], "4"),
        (&["--tenant", "acme"], "3"),
        (&["--changed", "price"], "21"),
        (&["--request", "r-1"], "2"),
        (&["--since", "2026-11-22T12:00:00Z"], "43"),
        (&["--until", "2026-11-22T12:00:00Z"], "21"),
        (&["--since", "2026-11-22 11:00", "--until", "2026-11-22T12:30"], "32"),
        (&["--actor", "user:7", "--action", "created", "--changed", "price"], "1"),
        (&["--oldest-first"], "1234"),
        (&["--entity", "product:99"], ""),
    ] {
        let mut arguments = vec!["query", "--json"];
        arguments.extend(filter);
        assert_eq!(ids(&here.ok(&arguments)), expected, "{filter:?}");
    }
}

#[test]
fn a_cursor_leads_through_all_pages() {
    let here = with_trail();
    let mut seen = String::new();
    let mut cursor: Option<String> = None;
    for _ in 0..3 {
        let mut arguments = vec!["query", "--json", "--limit", "2"];
        arguments.extend(cursor.iter().flat_map(|cursor| ["--cursor", cursor]));
        let answer = here.ok(&arguments);
        seen.push_str(&ids(&answer));
        cursor = rows(&answer).last().and_then(|row| row["next"].as_str().map(str::to_owned));
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((seen.as_str(), cursor), ("4321", None));

    let first = here.run(&["query", "--limit", "1"]);
    let hint = first.stderr.strip_prefix("there is more: add --cursor ").unwrap().trim();
    assert_eq!(ids(&here.ok(&["query", "--json", "--limit", "1", "--cursor", hint])), "3");
    let other = here.run(&["query", "--action", "created", "--cursor", hint]);
    assert!(other.status == 2 && other.stderr.contains("belongs to another query"), "{other:?}");
}

#[test]
fn machines_read_the_bytes_as_they_are_stored() {
    let here = with_trail();
    let answer = here.ok(&["query", "--json", "--entity", "product:42", "--action", "updated"]);
    let bytes = String::from_utf8(encoded(TRAIL[1])).unwrap();
    assert!(answer.starts_with("{\"position\":1,\"appended_at\":\""), "{answer}");
    assert!(answer.ends_with(&format!("\"event\":{bytes}}}\n")), "{answer}");
}

#[test]
fn what_strangers_sent_is_escaped_and_nothing_is_coloured_in_a_pipe() {
    let here = Installation::new();
    here.store(&["{\"occurred_at\":\"2026-11-22T10:00:00Z\",\"source_id\":\"1\",\"action\":\"up\\u001b[2Jdated\",
        \"entity\":{\"type\":\"product\",\"id\":\"4\u{202e}2\"},\"actor\":{\"name\":\"Jo\\nroot\"},\"new_values\":{\"a\":\"\\u0007\"}}"]);
    for text in [here.ok(&["query"]), here.ok(&["history", "product:4\u{202e}2"])] {
        assert!(text.contains("up\\u{1b}[2Jdated") && text.contains("Jo\\nroot"), "{text}");
        assert!(
            !text.contains('\u{1b}') && !text.contains('\u{202e}') && !text.contains('\u{7}'),
            "{text:?}"
        );
    }
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let here = Installation::new();
    let padding = "x".repeat(200);
    let many: Vec<String> = (0..2000)
        .map(|n| format!(r#"{{"occurred_at":"2026-11-22T10:00:00Z","source_id":"{n}","action":"seen","entity":{{"type":"page","id":"1"}},"reason":"{padding}"}}"#))
        .collect();
    here.store(&many.iter().map(String::as_str).collect::<Vec<_>>());
    for json in [&[][..], &["--json"]] {
        let arguments = [&["query", "--limit", "2000"], json].concat();
        let mut child = here.command(&arguments).spawn().unwrap();
        let mut line = String::new();
        BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let status = child.wait().unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(status.success() && said.is_empty(), "{status} {said}");
    }
}

#[test]
fn tail_begins_with_the_latest_follows_and_leaves_on_a_signal() {
    let here = with_trail();
    let mut child = here.command(&["tail", "-n", "1"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("order:1 (denied)"));
    here.store(&[
        r#"{"occurred_at":"2026-11-22T14:00:00Z","source_id":"5","action":"restored","entity":{"type":"product","id":"43"}}"#,
    ]);
    assert!(lines.next().unwrap().unwrap().contains("someone restored product:43"));
    signal(&child, Signal::TERM);
    assert!(child.wait().unwrap().success());
    assert!(lines.next().is_none());
}

#[test]
fn stats_count_what_is_there() {
    let here = with_trail();
    here.queue("queue.db", &TRAIL[..2]);
    let figures: Value = serde_json::from_str(&here.ok(&["stats", "--json"])).unwrap();
    assert_eq!(
        (&figures["transports"][0]["ready"], &figures["store"]["events"]),
        (&2.into(), &4.into())
    );
    assert_eq!(figures["store"]["newest"], "2026-11-22T13:00:00.000000Z");
    let text = here.ok(&["stats"]);
    assert!(
        text.contains("sqlite:annals-data/queue.db") && text.contains("2026-11-22 13:00:00Z"),
        "{text}"
    );
    let nothing = Installation::new();
    let text = nothing.ok(&["stats"]);
    assert!(
        text.contains("no queue has been made yet") && text.contains("nothing has been stored"),
        "{text}"
    );
    assert!(!nothing.path("annals-data").exists());
    // What waits is shown though nobody can say what is stored.
    let away = here.run(&["stats", "--store", "postgres://127.0.0.1:1/trail"]);
    assert_eq!(away.status, 1, "{away:?}");
    assert!(away.stdout.contains("annals-data/queue.db"), "{away:?}");
    assert!(away.stderr.contains("error: ") && away.stderr.contains("hint: "), "{away:?}");
}

#[test]
fn stats_watch_shows_it_again_until_a_signal() {
    let here = with_trail();
    let mut child = here.command(&["stats", "--watch", "--json"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        assert!(lines.next().unwrap().unwrap().contains("\"events\":4"));
    }
    signal(&child, Signal::INT);
    assert!(child.wait().unwrap().success());
}
