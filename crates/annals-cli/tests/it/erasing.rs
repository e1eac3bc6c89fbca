//! Sealing, reading and erasing personal data with the command.

mod servers;

use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::Value;

use crate::installation::Installation;

/// What must not be found anywhere.
const NEEDLE: &str = "needle@example.org";

/// An installation that seals the e-mail addresses of customers.
fn sealing() -> Installation {
    sealing_with("")
}

/// The same with further settings.
fn sealing_with(settings: &str) -> Installation {
    let here = Installation::new();
    let seal = "[seal]\nkey_file = \"master.key\"\nfields = [\"customer.email\"]\n";
    here.write("annals.toml", &format!("{settings}{seal}"));
    here
}

/// Records and stores 300 events, each third about `user:7`.
fn fill(here: &Installation) {
    let event = |number: usize| {
        let (user, email) = match number % 3 {
            0 => (7, NEEDLE),
            other => (other, "somebody@example.org"),
        };
        format!(
            r#"{{"action":"updated","subject":"user:{user}","entity":{{"type":"customer","id":"{user}"}},"old_values":{{"email":"x"}},"new_values":{{"email":"{email}","note":{{"$annals":{{"kind":"personal","value":"about {email}"}}}}}}}}"#
        )
    };
    let lines: Vec<String> = (0..300).map(event).collect();
    let recorded = here.feed(&["record"], lines.join("\n").as_bytes());
    assert_eq!(recorded.status, 0, "{recorded:?}");
    here.ok(&["work", "--drain"]);
}

fn contains(all: &[u8], bytes: &[u8]) -> bool {
    let mut rest = all;
    while let Some(at) = rest.iter().position(|byte| *byte == bytes[0]) {
        if rest[at..].starts_with(bytes) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// Files under a directory that hold these bytes.
fn holding(directory: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, bytes));
        } else if path.is_file() && contains(&std::fs::read(&path).unwrap(), bytes) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn what_is_erased_is_in_no_file_and_the_log_stays_right() {
    let here = sealing();
    fill(&here);
    let shut = here.ok(&["query", "--entity", "customer:7", "--limit", "1"]);
    assert!(shut.contains("[sealed]") && !shut.contains(NEEDLE), "{shut}");
    let open = here.ok(&["query", "--entity", "customer:7", "--limit", "1", "--reveal"]);
    assert!(open.contains(NEEDLE), "{open}");
    let at = ["history", "customer:7", "--at", "0s"];
    let state = here.ok(&at);
    assert!(state.contains("[sealed]") && !state.contains(NEEDLE), "{state}");
    let state = here.ok(&[&at[..], &["--reveal"]].concat());
    assert!(state.contains(NEEDLE), "{state}");
    let mut tail = here.command(&["tail", "-n", "1000", "--reveal"]).spawn().unwrap();
    let lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    assert!(lines.take(1000).any(|line| line.unwrap().contains(NEEDLE)));
    tail.kill().unwrap();
    tail.wait().unwrap();
    let exported = here.ok(&["subject", "user:7", "--export"]);
    assert_eq!(exported.lines().count(), 100);
    let first: Value = serde_json::from_str(exported.lines().next().unwrap()).unwrap();
    assert_eq!(first["event"]["new_values"]["email"], NEEDLE);

    let wrapped: Vec<u8> = {
        let store = rusqlite::Connection::open(here.path("annals-data/store.db")).unwrap();
        let read = "SELECT wrapped FROM annals_subject_keys WHERE subject = 'user:7'";
        store.query_row(read, [], |row| row.get(0)).unwrap()
    };
    let data = here.path("annals-data");
    assert!(!holding(&data, &wrapped).is_empty(), "it is there before");
    let asked = here.run(&["erase", "--subject", "user:7", "--reason", "asked"]);
    assert_eq!(asked.status, 2, "nobody can be asked: {asked:?}");
    let said = here.ok(&["erase", "--subject", "user:7", "--reason", "asked", "--yes"]);
    assert!(said.starts_with("erased user:7; event "), "{said}");
    assert_eq!(holding(&data, &wrapped), [""; 0]);
    assert_eq!(holding(&data, NEEDLE.as_bytes()), [""; 0]);

    let gone = here.ok(&["history", "customer:7", "--limit", "1", "--reveal"]);
    assert!(gone.contains("[erased]") && !gone.contains(NEEDLE), "{gone}");
    let others = here.ok(&["query", "--entity", "customer:1", "--limit", "1", "--reveal"]);
    assert!(others.contains("somebody@example.org"), "{others}");
    let told = here.ok(&["query", "--action", "annals.erased", "--json"]);
    let told: Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!(told["event"]["reason"], "asked");
    here.ok(&["work", "--drain"]);
    let verified = here.ok(&["verify"]);
    assert!(verified.starts_with("right"), "{verified}");
    here.ok(&["export-log", "log-export"]);
    assert!(!here.ok(&["subject", "user:7", "--export"]).contains(NEEDLE));
    assert_eq!(holding(here.path("").as_path(), NEEDLE.as_bytes()), [""; 0]);
    let again = here.ok(&["erase", "--subject", "user:7", "--reason", "asked", "--yes"]);
    assert_eq!(again.trim(), "nothing is sealed for user:7");
}

#[test]
fn without_a_master_key_declared_fields_keep_a_worker_from_starting() {
    let here = Installation::new();
    here.write("annals.toml", "[seal]\nfields = [\"customer.email\"]\n");
    let refused = here.run(&["work", "--drain"]);
    assert_eq!(refused.status, 2, "{refused:?}");
    assert!(refused.stderr.contains("there is no master key"), "{refused:?}");
    let here = sealing();
    fill(&here);
    here.write("annals.toml", "");
    let refused = here.run(&["query", "--reveal"]);
    assert_eq!(refused.status, 2, "{refused:?}");
}

#[test]
fn an_erasure_says_what_still_waits() {
    let here = sealing();
    fill(&here);
    let event = r#"{"action":"updated","subject":"user:7","entity":{"type":"customer","id":"7"},"new_values":{"email":"later"}}"#;
    assert_eq!(here.feed(&["record"], event.as_bytes()).status, 0);
    let said = here.run(&["erase", "--subject", "user:7", "--reason", "asked", "--yes"]);
    assert!(said.stderr.contains("wait in queues, unsealed"), "{said:?}");
    here.ok(&["work", "--drain"]);
    let later = here.ok(&["query", "--entity", "customer:7", "--limit", "1", "--reveal"]);
    assert!(later.contains("later"), "what comes afterwards has another key: {later}");
}

#[test]
fn what_is_sealed_in_an_archive_is_opened_with_the_stores_keys_until_it_is_erased() {
    let here = sealing();
    fill(&here);
    std::thread::sleep(std::time::Duration::from_millis(5));
    let prune = ["prune", "--older-than", "1ms", "--archive", "shelf"];
    assert!(here.ok(&prune).starts_with("removed 300 events"));

    let of_seven = ["query", "--entity", "customer:7", "--store", "archive:shelf"];
    let shut = here.ok(&of_seven);
    assert!(shut.contains("[sealed]") && !shut.contains(NEEDLE), "{shut}");
    let reveal = [&of_seven[..], &["--reveal"]].concat();
    assert_eq!(here.ok(&reveal).matches(NEEDLE).count(), 100);
    let exported = ["subject", "user:7", "--export", "--store", "archive:shelf"];
    assert_eq!(here.ok(&exported).matches(NEEDLE).count(), 200);

    here.ok(&["erase", "--subject", "user:7", "--reason", "asked", "--yes"]);
    let gone = here.ok(&reveal);
    assert!(gone.contains("[erased]") && !gone.contains(NEEDLE), "{gone}");
    let other = ["query", "--entity", "customer:1", "--store", "archive:shelf", "--reveal"];
    assert!(here.ok(&other).contains("somebody@example.org"));
    assert!(here.ok(&["verify", "--archive", "shelf"]).starts_with("right"));
    assert!(here.ok(&["verify"]).starts_with("right"));

    // Whoever has the archive alone has no keys.
    let config = std::fs::read_to_string(here.path("annals.toml")).unwrap();
    here.write("annals.toml", &format!("store = \"archive:shelf\"\n{config}"));
    let keyless = here.run(&["query", "--reveal"]);
    assert_eq!(keyless.status, 2, "{keyless:?}");
    assert!(keyless.stderr.contains("and no keys"), "{keyless:?}");
}
