use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Child;

use rustix::process::Signal;
use serde_json::Value;

use crate::installation::{Installation, signal};

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
fn serve_takes_events_into_the_queue_alone() {
    let here = Installation::new();
    let (mut child, address) = start(&here, "serve");
    let answer = post(&address, &format!("[{EVENT},{{\"action\":\"\"}}]"));
    assert!(answer.starts_with("HTTP/1.1 202 ") && answer.contains("\"index\":1"), "{answer}");
    signal(&child, Signal::TERM);
    assert!(child.wait().unwrap().success());
    let figures: Value = serde_json::from_str(&here.ok(&["stats", "--json"])).unwrap();
    assert_eq!((&figures["transports"][0]["ready"], &figures["store"]), (&1.into(), &Value::Null));
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
