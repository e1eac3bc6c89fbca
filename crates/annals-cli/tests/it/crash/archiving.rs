//! A prune that archives, killed on the way.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::dice::Dice;
use crate::installation::Installation;

/// An event of two years ago; which of them it is, its source says.
fn old(number: usize) -> String {
    let day = annals::Timestamp::now().before(Duration::from_secs(86_400 * 730));
    let day = &day.to_string()[..10];
    format!(
        r#"{{"occurred_at":"{day}T10:00:{:02}Z","source_id":"{number}","action":"saved","entity":{{"type":"customer","id":"{}"}},"new_values":{{"email":"needle-{}@example.org"}}}}"#,
        number % 60,
        number % 7,
        number % 7,
    )
}

/// The ids that a store, or an archive, has.
fn ids(here: &Installation, store: Option<&str>) -> Vec<String> {
    let mut arguments = vec!["query", "--action", "saved", "--json", "--limit", "10000"];
    arguments.extend(store.iter().flat_map(|store| ["--store", store]));
    let id = |line: &str| {
        let said: Value = serde_json::from_str(line).unwrap();
        said["event"]["id"].as_str().unwrap().to_owned()
    };
    let mut ids: Vec<String> = here.ok(&arguments).lines().map(id).collect();
    ids.sort();
    ids
}

/// Whether no file of an archive was finished yet.
fn is_empty(directory: &Path) -> bool {
    let mut entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    !entries.any(|entry| entry.path().extension().is_some_and(|end| end == "zst"))
}

/// Whenever it is killed: each event is in the store or in the archive, what the archive has
/// can be proved, and the log is right. Done again, it goes on.
#[test]
fn a_prune_that_is_killed_while_it_archives_loses_nothing() {
    const EVENTS: usize = 3_000;
    let mut dice = Dice::new();
    let here = Installation::new();
    let events: Vec<String> = (0..EVENTS).map(old).collect();
    for part in events.chunks(500) {
        here.store(&part.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let all = ids(&here, None);
    assert_eq!(all.len(), EVENTS);
    let prune = ["prune", "--older-than", "365d", "--archive", "shelf"];
    let (mut kills, mut longest) = (0, Duration::from_millis(40));
    loop {
        let mut child = here.command(&prune).spawn().unwrap();
        dice.pause(longest);
        let finished = child.try_wait().unwrap().is_some_and(|status| status.success());
        child.kill().unwrap();
        child.wait().unwrap();
        kills += u32::from(!finished);
        let stored = ids(&here, None);
        let archived = match is_empty(&here.path("shelf")) {
            true => Vec::new(),
            false => {
                let checked = here.run(&["verify", "--archive", "shelf"]);
                // A file of which only a part was written is left, and named as such.
                assert_eq!(checked.status, 0, "{checked:?}");
                ids(&here, Some("archive:shelf"))
            }
        };
        let mut both = [stored.clone(), archived].concat();
        both.sort();
        both.dedup();
        assert_eq!(both, all, "after {kills} kills");
        assert!(here.ok(&["verify"]).starts_with("right"));
        if stored.is_empty() {
            break;
        }
        // Slower machines come to an end too.
        longest = longest.mul_f64(1.2);
    }
    println!("{kills} kills");
    let again = here.ok(&prune);
    assert!(again.starts_with("removed 0 events"), "{again}");
    assert_eq!(ids(&here, Some("archive:shelf")), all, "each once");
}
