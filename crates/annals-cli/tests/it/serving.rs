use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Child;

use annals_testbed::postgres::Postgres;
use annals_testbed::required;
use rustix::process::Signal;
use serde_json::Value;

use crate::installation::{Installation, signal, wait_until};

/// A server, and where it listens.
fn start(here: &Installation, command: &str) -> (Child, String) {
    let mut child = here.command(&[command, "--listen", "127.0.0.1:0", "--json"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let url =
        serde_json::from_str::<Value>(&line).unwrap()["listening"].as_str().unwrap().to_owned();
    let address =
        url.strip_prefix("http://").unwrap().strip_suffix("/v1/events").unwrap().to_owned();
    (child, address)
}

fn post(address: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /v1/events HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

const EVENT: &str = r#"{"action":"greeted","entity":{"type":"world","id":"1"}}"#;

#[test]
fn up_takes_an_event_in_and_stores_it() {
    let here = Installation::new();
    let (mut child, address) = start(&here, "up");
    let answer = post(&address, EVENT);
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    let mut tail = here.command(&["tail"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(tail.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("someone greeted world:1"), "{line}");
    signal(&tail, Signal::TERM);
    tail.wait().unwrap();
    signal(&child, Signal::TERM);
    assert!(child.wait().unwrap().success());
    assert_eq!(here.ok(&["query"]).lines().count(), 1);
}

#[test]
fn up_prunes_what_is_too_old_and_leaves_an_event_that_says_so() {
    let here = Installation::new();
    let old = r#"{"occurred_at":"2020-01-01T00:00:00Z","source_id":"old","action":"seen","entity":{"type":"page","id":"1"}}"#;
    here.store(&[old]);
    here.write("annals.toml", "[prune]\nolder_than = \"30d\"\n");
    let (mut child, _) = start(&here, "up");
    wait_until("the old event is gone", || {
        here.ok(&["query", "--entity", "page:1"]).is_empty()
            && here.ok(&["query", "--action", "annals.pruned"]).lines().count() == 1
    });
    signal(&child, Signal::TERM);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_hangup_opens_a_mirror_anew_that_was_moved_away() {
    let here = Installation::new();
    here.write("annals.toml", "mirror = [\"file:audit.log\"]\n");
    let (mut child, address) = start(&here, "up");
    assert!(post(&address, EVENT).starts_with("HTTP/1.1 202 "));
    let (log, moved) = (here.path("audit.log"), here.path("audit.log.1"));
    let lines = |path: &std::path::Path| {
        std::fs::read_to_string(path).map(|text| text.lines().count()).unwrap_or(0)
    };
    wait_until("the mirror has the event", || lines(&log) == 1);
    std::fs::rename(&log, &moved).unwrap();
    signal(&child, Signal::HUP);
    wait_until("there is a new file, before any event came", || log.exists());
    assert!(post(&address, EVENT).starts_with("HTTP/1.1 202 "));
    wait_until("the new file has the second event", || lines(&log) == 1);
    assert_eq!(lines(&moved), 1);
    signal(&child, Signal::TERM);
    assert!(child.wait().unwrap().success());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("SIGHUP: reopened file:audit.log"), "{said}");
}

#[test]
fn what_is_posted_while_the_queue_is_away_goes_to_the_spool() {
    let Some(server) = required(Postgres::start(&[])) else { return };
    let here = Installation::new();
    here.write("annals.toml", &format!("transport = [\"{}\"]\n", server.database()));
    let (mut child, address) = start(&here, "up");
    server.stop();
    let answer = post(&address, EVENT);
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    wait_until("it is stored", || here.ok(&["query"]).contains("greeted world:1"));
    signal(&child, Signal::TERM);
    child.wait().unwrap();
}

#[test]
fn serve_takes_events_into_the_queue_and_leaves_them_there() {
    let here = Installation::new();
    let (mut child, address) = start(&here, "serve");
    let answer = post(&address, &format!("[{EVENT},{{\"action\":\"\"}}]"));
    assert!(answer.starts_with("HTTP/1.1 202 ") && answer.contains("\"index\":1"), "{answer}");
    signal(&child, Signal::TERM);
    assert!(child.wait().unwrap().success());
    let figures: Value = serde_json::from_str(&here.ok(&["stats", "--json"])).unwrap();
    let (queue, store) = (&figures["transports"][0], &figures["store"]);
    assert_eq!((&queue["ready"], &store["events"]), (&1.into(), &0.into()));
}

#[test]
fn only_loopback_and_a_free_port() {
    let here = Installation::new();
    let open = here.run(&["serve", "--listen", "0.0.0.0:0"]);
    assert!(open.status == 2 && open.stderr.contains("not a loopback address"), "{open:?}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = here.run(&["up", "--listen", &address]);
    assert!(
        refused.status == 1 && refused.stderr.contains("another program listens there"),
        "{refused:?}"
    );
}

#[test]
fn secrets_are_redacted_before_the_queue_and_hashes_can_be_asked_for() {
    let here = Installation::new();
    let settings =
        "[redact]\nhash = [\"*.phone\"]\nkey_file = \"hash.key\"\nmask = [\"user.mail\"]\n";
    here.write("annals.toml", settings);
    let (mut child, address) = start(&here, "up");
    let event = r#"{"action":"saved","entity":{"type":"user","id":"1"},"new_values":{"phone":"030 901820","mail":"jo.doe@example.org","note":"Bearer abcDEF0123456789xyz"}}"#;
    assert!(post(&address, event).starts_with("HTTP/1.1 202 "));
    wait_until("it is stored", || !here.ok(&["query", "--entity", "user:1"]).is_empty());
    signal(&child, Signal::TERM);
    assert!(child.wait().unwrap().success());
    let shown = here.ok(&["history", "user:1"]);
    assert!(shown.contains("[hash ") && shown.contains("[j\u{2026}@example.org]"), "{shown}");
    assert!(shown.contains("Bearer [redacted: token]"), "{shown}");
    for file in ["queue.db", "queue.db-wal", "store.db", "store.db-wal"] {
        let bytes = std::fs::read(here.path(&format!("annals-data/{file}"))).unwrap_or_default();
        for needle in ["030 901820", "jo.doe@", "abcDEF0123456789xyz"] {
            let found = bytes.windows(needle.len()).any(|part| part == needle.as_bytes());
            assert!(!found, "{needle} is in {file}");
        }
    }
    let ask =
        |value: &str| here.feed(&["query", "--value-hash", "--changed", "phone"], value.as_bytes());
    let found = ask("030 901820\n");
    assert_eq!((found.status, found.stdout.lines().count()), (0, 1), "{found:?}");
    assert_eq!(ask("030 901821").stdout.lines().count(), 0);
    assert_eq!(here.ok(&["query", "--action", "annals.value.asked"]).lines().count(), 2);
    assert_eq!(ask("").status, 2);
    here.write("annals.toml", "[redact]\nhash = [\"*.phone\"]\n");
    let keyless = here.run(&["work", "--drain"]);
    assert!(keyless.status == 2 && keyless.stderr.contains("redact.key_file"), "{keyless:?}");
}
