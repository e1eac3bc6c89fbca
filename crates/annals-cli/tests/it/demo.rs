//! The demo, and the commands that it suggests, on the data that it leaves.

use crate::installation::{Ended, Installation};

/// As if it had not been called through cargo.
fn annals(here: &Installation, arguments: &[&str]) -> Ended {
    Ended::of(&here.command(arguments).env_remove("CARGO").output().unwrap())
}

fn text(here: &Installation, arguments: &[&str]) -> String {
    let ended = annals(here, arguments);
    assert_eq!(ended.status, 0, "{arguments:?}: {ended:?}");
    ended.stdout
}

#[test]
fn the_demo_shows_the_flow_and_leaves_data_that_its_suggestions_read() {
    let here = Installation::new();
    let shown = text(&here, &["demo", "--seconds", "2"]);
    for part in [
        "A small shop on http://127.0.0.1:",
        "opening job created product:1",
        " -> ",
        "The history of product:",
        " 0 dropped",
        "worker   stored",
        "Try next",
    ] {
        assert!(shown.contains(part), "no {part:?} in:\n{shown}");
    }
    assert!(!shown.contains('\u{1b}'), "colours in a pipe");
    assert!(!shown.contains("still in the queue"), "{shown}");
    for secret in ["@example.com", "SUP-", "sample:"] {
        assert!(!shown.contains(secret), "{secret} in:\n{shown}");
    }

    // Each command works as it was printed.
    let program = env!("CARGO_BIN_EXE_annals");
    let suggested: Vec<&str> =
        shown.lines().filter_map(|line| line.trim().strip_prefix(program)).collect();
    assert_eq!(suggested.len(), 6, "{shown}");
    for line in suggested {
        let command = line.split("   ").next().unwrap();
        let arguments: Vec<&str> = command.split_whitespace().collect();
        if arguments[0] != "tail" {
            let answer = text(&here, &arguments);
            assert!(arguments.contains(&"denied") || !answer.is_empty(), "{command}");
        }
    }

    let history = text(&here, &["history", "product:1"]);
    assert!(history.contains("created") && history.contains("Espresso cup"), "{history}");
    let stats: serde_json::Value =
        serde_json::from_str(&text(&here, &["--json", "stats"])).unwrap();
    assert_eq!(stats["transports"][0]["ready"], 0, "{stats}");
    assert_eq!(stats["transports"][0]["failed"], 0, "{stats}");
    let events = stats["store"]["events"].as_u64().unwrap();

    // Again, on the same data, for machines: one object an event.
    let again = text(&here, &["demo", "--seconds", "1", "--json"]);
    let rows: Vec<serde_json::Value> =
        again.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!rows.is_empty() && rows[0]["position"].as_u64() == Some(events), "{again}");
}

#[test]
fn the_demo_keeps_out_of_a_trail_that_is_not_its_own() {
    let here = Installation::new();
    text(&here, &["record", "--action", "paid", "--entity", "order:1"]);
    text(&here, &["work", "--drain"]);
    let refused = annals(&here, &["demo", "--seconds", "1"]);
    assert_eq!(refused.status, 1);
    let errors = refused.stderr;
    assert!(
        errors.contains("holds a trail that is not the demo's") && errors.contains("--data-dir"),
        "{errors}"
    );
    text(&here, &["demo", "--seconds", "1", "--data-dir", "elsewhere"]);
}

#[test]
fn one_demo_a_directory() {
    let here = Installation::new();
    std::fs::create_dir(here.path("annals-data")).unwrap();
    let held = std::fs::File::create(here.path("annals-data/demo.lock")).unwrap();
    held.lock().unwrap();
    let refused = annals(&here, &["demo", "--seconds", "1"]);
    let errors = refused.stderr;
    assert!(errors.contains("another demo runs in this directory"), "{errors}");
}
