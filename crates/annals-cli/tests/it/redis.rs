//! The command with its queue in Redis.

use annals_testbed::redis::{DURABLE, Redis};
use annals_testbed::required;
use serde_json::Value;

use crate::installation::{Installation, TRAIL};

#[test]
fn the_queue_may_be_in_redis() {
    let Some(server) = required(Redis::start(&DURABLE)) else { return };
    server.cli(&["ACL", "SETUSER", "app", "on", ">hush-hush", "~*", "&*", "+@all"]);
    let here = Installation::new();
    let url = server.url().replace("redis://", "redis://app:hush-hush@");
    here.write("annals.toml", &format!("transport = [\"{url}\"]\n"));
    let ok = |arguments: &[&str]| {
        let said = here.ok(arguments);
        assert!(!said.contains("hush-hush"), "{said}");
        said
    };
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
    assert_eq!(server.cli(&["XLEN", "annals"]), "0");
    assert_eq!(ok(&["query", "--json"]).lines().count(), TRAIL.len());
}

/// What doctor says of a server with these settings, and its exit status.
fn doctor(server: &Redis) -> (String, i32) {
    let here = Installation::new();
    here.ok(&["migrate"]);
    let said = here.run(&["doctor", "--transport", &server.url()]);
    (said.stdout, said.status)
}

#[test]
fn doctor_says_what_the_server_promises() {
    let Some(server) = required(Redis::start(&DURABLE)) else { return };
    let (said, status) = doctor(&server);
    assert!(said.contains("appendfsync always: a crash loses nothing"), "{said}");
    assert!(said.contains("no maxmemory, maxmemory-policy noeviction"), "{said}");
    assert_eq!(status, 0, "{said}");
    for (name, value, found, expected) in [
        ("appendfsync", "everysec", "loses about the last second", 0),
        ("appendfsync", "no", "loses what the system had not written", 0),
        ("appendonly", "no", "no snapshots: a crash or a restart loses all that waits", 0),
        ("save", "3600 1", "loses all that came since the last snapshot", 0),
        ("maxmemory", "104857600", "when it is full, events go to the spool", 0),
        ("maxmemory-policy", "volatile-lru", "maxmemory-policy volatile-lru", 0),
        ("maxmemory-policy", "allkeys-lru", "when memory is short it throws the queue away", 3),
    ] {
        server.cli(&["CONFIG", "SET", name, value]);
        let (said, status) = doctor(&server);
        assert!(said.contains(found), "{name} {value}: {said}");
        assert_eq!(status, expected, "{said}");
    }
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    // Those who are not allowed to ask are told so.
    server.cli(&["CONFIG", "SET", "appendonly", "yes"]);
    server.cli(&["ACL", "SETUSER", "default", "-config"]);
    let (said, _) = doctor(&server);
    assert!(said.contains("no right to CONFIG GET"), "{said}");
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let (said, status) = doctor(&server);
    assert!(
        said.contains("read-only replica") && said.contains("connect to the primary"),
        "{said}"
    );
    assert_eq!(status, 3, "{said}");
}
