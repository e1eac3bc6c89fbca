//! Signing, proving and verifying with the command.

use serde_json::Value;

use crate::installation::{Ended, Installation};

/// An installation with some events that a worker has stored and signed.
fn signed() -> Installation {
    let here = Installation::new();
    let event = |number: usize| {
        format!(r#"{{"action":"paid","entity":{{"type":"order","id":"{number}"}}}}"#)
    };
    let lines: Vec<String> = (0..300).map(event).collect();
    here.write("events.ndjson", &lines.join("\n"));
    more(&here);
    here
}

/// Stores those events, which are new ones each time.
fn more(here: &Installation) {
    let events = std::fs::read(here.path("events.ndjson")).unwrap();
    assert_eq!(here.feed(&["record"], &events).status, 0);
    here.ok(&["work", "--drain"]);
}

fn alter(here: &Installation, sql: &str) {
    let database = rusqlite::Connection::open(here.path("annals-data/store.db")).unwrap();
    database.execute_batch(sql).unwrap();
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_worker_signs_what_it_stored_and_anyone_can_check_an_event() {
    let here = signed();
    let checkpoint = here.ok(&["checkpoint"]);
    let lines: Vec<&str> = checkpoint.lines().collect();
    assert!(lines[0].starts_with("annals/") && lines[1] == "300", "{checkpoint}");
    let key = here.ok(&["checkpoint", "--key"]);
    let key = key.trim();
    assert!(key.starts_with(lines[0]), "{key}");
    let verified = here.ok(&["verify", "--key", key]);
    assert!(verified.starts_with("right  a log of 300 events: 300 there, 0 removed"), "{verified}");
    assert!(verified.contains("signed up to 300"), "{verified}");

    let found = here.ok(&["query", "--entity", "order:42", "--json"]);
    let id = json(&found)["event"]["id"].as_str().unwrap().to_owned();
    here.ok(&["prove", &id, "-o", "paid.tlog-proof"]);
    // An auditor has the file and the key, and nothing else.
    let auditor = Installation::new();
    let proof = std::fs::read_to_string(here.path("paid.tlog-proof")).unwrap();
    auditor.write("paid.tlog-proof", &proof);
    let right = auditor.ok(&["verify", "--proof", "paid.tlog-proof", "--key", key]);
    assert!(right.contains(&id) && right.contains(r#""id":"42""#), "{right}");
    assert!(!auditor.path("annals-data").exists());
    auditor.write("forged.tlog-proof", &proof.replace("index 42", "index 43"));
    let wrong = auditor.run(&["verify", "--proof", "forged.tlog-proof", "--key", key]);
    assert_eq!(wrong.status, 3, "{wrong:?}");
    assert!(wrong.stdout.starts_with("wrong"), "{wrong:?}");
    let other = signed().ok(&["checkpoint", "--key"]);
    let wrong =
        auditor.run(&["verify", "--proof", "paid.tlog-proof", "--key", other.trim(), "--json"]);
    assert_eq!(
        (wrong.status, json(&wrong.stdout)["right"].clone()),
        (3, false.into()),
        "{wrong:?}"
    );
}

#[test]
fn what_was_altered_is_named_and_the_exit_status_says_so() {
    let here = signed();
    std::fs::write(here.path("yesterday"), here.ok(&["checkpoint"])).unwrap();
    more(&here);
    let verified = here.ok(&["verify", "--since", "yesterday", "--json"]);
    assert_eq!(
        (json(&verified)["size"].clone(), json(&verified)["signed"].clone()),
        (600.into(), 600.into())
    );

    alter(
        &here,
        "UPDATE annals_events SET tenant = 'x' WHERE position = 7; DELETE FROM annals_events WHERE position = 9",
    );
    let wrong = here.run(&["verify", "--json"]);
    assert_eq!(wrong.status, 3);
    let findings = json(&wrong.stdout)["findings"].clone();
    let named: Vec<(&str, u64)> = findings
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["kind"].as_str().unwrap(), finding["position"].as_u64().unwrap()))
        .collect();
    assert_eq!(named, [("changed", 7), ("removed", 9)]);
    let said = here.run(&["verify"]);
    assert_eq!(said.status, 3);
    assert!(
        said.stdout.contains("changed event ") && said.stdout.contains(" at 7: the column tenant"),
        "{said:?}"
    );
}

#[test]
fn the_log_is_exported_as_files_and_then_what_is_new() {
    let here = signed();
    let wrote = here.ok(&["export-log", "served"]);
    assert_eq!(wrote, "wrote a log of 300 events to served: 3 tiles new\n");
    let checkpoint = std::fs::read_to_string(here.path("served/checkpoint")).unwrap();
    assert_eq!(checkpoint, here.ok(&["checkpoint"]));
    assert_eq!(std::fs::metadata(here.path("served/tile/0/000")).unwrap().len(), 8_192);
    let again = here.ok(&["export-log", "served", "--json"]);
    assert_eq!(json(&again), serde_json::json!({ "size": 300, "tiles": 0 }));
}

#[test]
fn a_verification_goes_on_from_where_all_was_right() {
    let here = signed();
    let first = here.ok(&["verify", "--resume", "right"]);
    assert!(first.starts_with("right  a log of 300 events: 300 there"), "{first}");
    assert_eq!(std::fs::read_to_string(here.path("right")).unwrap(), here.ok(&["checkpoint"]));
    more(&here);
    // From the tile that the checkpoint ends in.
    let next = here.ok(&["verify", "--resume", "right"]);
    assert!(next.starts_with("right  a log of 600 events, from 256 on: 344 there"), "{next}");
    assert_eq!(std::fs::read_to_string(here.path("right")).unwrap(), here.ok(&["checkpoint"]));

    // What is wrong behind it is found, and not forgotten by the next one.
    more(&here);
    let store = rusqlite::Connection::open(here.path("annals-data/store.db")).unwrap();
    store.execute("DELETE FROM annals_events WHERE position = 700", []).unwrap();
    for _ in 0..2 {
        let wrong = here.run(&["verify", "--resume", "right"]);
        assert!(wrong.status == 3 && wrong.stdout.contains("removed at 700"), "{wrong:?}");
        assert!(std::fs::read_to_string(here.path("right")).unwrap().contains("\n600\n"));
    }
    // The log under it was made anew: the checkpoint is not one of it.
    store
        .execute(
            "UPDATE annals_log_tiles SET hashes = zeroblob(length(hashes)) WHERE level = 1",
            [],
        )
        .unwrap();
    let forged = here.run(&["verify", "--resume", "right"]);
    assert!(forged.status == 3 && forged.stdout.contains("forged"), "{forged:?}");
    here.write("right", "nonsense");
    let nonsense = here.run(&["verify", "--resume", "right"]);
    assert!(nonsense.status == 1 && nonsense.stderr.contains("read right"), "{nonsense:?}");
}

#[test]
fn a_pruned_store_is_verified_too() {
    let here = signed();
    here.ok(&["prune", "--older-than", "1ms"]);
    here.ok(&["work", "--drain"]);
    let verified = here.ok(&["verify"]);
    assert!(verified.starts_with("right  a log of 301 events: 1 there, 300 removed"), "{verified}");
}

#[test]
fn the_wrong_things_are_refused_with_what_to_do() {
    let here = Installation::new();
    here.ok(&["migrate"]);
    let never = here.run(&["checkpoint"]);
    assert!(never.status == 1 && never.stderr.contains("no events yet"), "{never:?}");
    let here = signed();
    let nothing = here.run(&["prove", "01a202b2-c57b-71f3-8a2b-5c0d9e4f1a67"]);
    assert!(
        nothing.status == 2 && nothing.stderr.contains("there is no such event"),
        "{nothing:?}"
    );
    let key = here.run(&["verify", "--key", "nonsense"]);
    assert!(key.status == 2 && key.stderr.contains("NAME+ID+KEY"), "{key:?}");
    here.write("nothing", "nothing");
    let since = here.run(&["verify", "--since", "nothing"]);
    assert!(since.status == 1 && since.stderr.contains("read nothing: "), "{since:?}");
    let proof = here.run(&["verify", "--proof", "nothing"]);
    assert!(proof.status == 2 && proof.stderr.contains("--key"), "{proof:?}");
    let name = here.command(&["checkpoint"]).env("ANNALS_LOG_NAME", "a b").output().unwrap();
    let name = Ended::of(&name);
    assert!(name.status == 2 && name.stderr.contains("without spaces"), "{name:?}");
    // A worker that may not sign stores all the same, and says so.
    let files: Vec<_> =
        std::fs::read_dir(here.path("annals-data/log")).unwrap().flatten().collect();
    let file = files
        .iter()
        .map(|file| file.path())
        .find(|path| path.extension().is_some_and(|end| end == "key"));
    std::fs::remove_file(file.unwrap()).unwrap();
    let events = std::fs::read(here.path("events.ndjson")).unwrap();
    assert_eq!(here.feed(&["record"], &events).status, 0);
    let worked = here.run(&["work", "--drain"]);
    assert_eq!(worked.status, 0, "{worked:?}");
    assert!(worked.stderr.contains("the log is not signed"), "{worked:?}");
    assert!(worked.stderr.contains("there is none, and the log was signed before"), "{worked:?}");
}

#[test]
fn a_restored_store_is_signed_again_when_somebody_says_so() {
    let here = signed();
    let key = here.ok(&["checkpoint", "--key"]);
    let nothing = here.run(&["log", "resume", "--after-restore"]);
    assert!(nothing.status == 2 && nothing.stderr.contains("nothing keeps it"), "{nothing:?}");
    alter(&here, "PRAGMA wal_checkpoint(TRUNCATE)");
    let backup = std::fs::read(here.path("annals-data/store.db")).unwrap();
    more(&here);
    // What a restore does: another file, as it was before.
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        let _ = std::fs::remove_file(here.path("annals-data").join(name));
    }
    std::fs::write(here.path("annals-data/store.db"), backup).unwrap();
    let events = std::fs::read(here.path("events.ndjson")).unwrap();
    assert_eq!(here.feed(&["record"], &events).status, 0);
    let worked = here.run(&["work", "--drain"]);
    assert!(worked.stderr.contains("the log is not signed"), "{worked:?}");
    assert!(worked.stderr.contains("the database is not the one that was signed"), "{worked:?}");
    let unsure = here.run(&["log", "resume"]);
    assert!(unsure.status == 2 && unsure.stderr.contains("--after-restore"), "{unsure:?}");
    let resumed = here.ok(&["log", "resume", "--after-restore"]);
    assert!(
        resumed.contains("what was signed up to 600") && resumed.contains("goes on as"),
        "{resumed}"
    );
    assert_ne!(here.ok(&["checkpoint", "--key"]), key, "another log has another key");
    let told = json(&here.ok(&["query", "--action", "annals.log.resumed", "--json"]));
    assert_eq!(told["event"]["metadata"]["before"]["size"], 600);
    assert_eq!(told["event"]["metadata"]["found"]["size"], 600);
    let verified = here.ok(&["verify"]);
    assert!(verified.contains("signed up to 601"), "{verified}");
}

#[test]
fn a_key_is_changed_while_both_sign() {
    use std::io::Write;
    let here = signed();
    let old = here.ok(&["checkpoint", "--key"]);
    let files = std::fs::read_dir(here.path("annals-data/log")).unwrap().flatten();
    let file =
        files.map(|file| file.path()).find(|path| path.extension().is_some_and(|end| end == "key"));
    let file = file.unwrap();
    let new = here.ok(&["log", "new-key"]);
    let mut both = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
    both.write_all(new.as_bytes()).unwrap();
    more(&here);
    let keys = here.ok(&["checkpoint", "--key"]);
    let next = keys.lines().find(|key| *key != old.trim()).unwrap();
    assert_eq!(
        here.ok(&["checkpoint"]).lines().filter(|line| line.starts_with('\u{2014}')).count(),
        2
    );
    std::fs::write(&file, new).unwrap();
    more(&here);
    // Who has the one key believes what it signed, who has both believes all.
    let verified = here.ok(&["verify", "--key", old.trim(), "--key", next]);
    assert!(verified.contains("signed up to 900"), "{verified}");
    assert!(
        here.ok(&["verify"]).contains("the store's own word"),
        "the old key is not here any more"
    );
    let last = here.ok(&["checkpoint"]);
    assert_eq!(last.lines().filter(|line| line.starts_with('\u{2014}')).count(), 1);
}
