use annals::transport::Want;
use serde_json::Value;

use crate::installation::{Installation, TRAIL, encoded, signal, wait};

/// Buries what is in the queue, as a worker does with events it cannot store.
fn bury(here: &Installation, reason: &str) {
    wait(async {
        let queue = here.transport("queue.db").await;
        let deliveries = queue.receive(Want::up_to(10)).await.unwrap();
        let burials: Vec<_> =
            deliveries.iter().map(|one| (one.receipt, reason.to_owned())).collect();
        queue.bury(&burials).await.unwrap();
    });
}

fn ready(here: &Installation, name: &str) -> u64 {
    wait(async { here.transport(name).await.stats().await.unwrap().ready })
}

/// The ids that `failed list` names.
fn failed(here: &Installation) -> Vec<String> {
    let lines = here.ok(&["failed", "list", "--json"]);
    let id = |line: &str| {
        serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned()
    };
    lines.lines().map(id).collect()
}

#[test]
fn failed_events_are_listed_shown_retried_and_removed() {
    let here = Installation::new();
    here.queue("queue.db", &TRAIL[..3]);
    bury(&here, "the store \u{1b}[31mrefused");
    let ids = failed(&here);
    assert_eq!(ids.len(), 3);
    let list = here.ok(&["failed", "list"]);
    assert!(list.starts_with("ID ") && list.contains("the store \\u{1b}[31mrefused"), "{list}");
    assert_eq!(here.ok(&["failed", "list", "--limit", "1"]).lines().count(), 2);

    let one = here.ok(&["failed", "show", &ids[1]]);
    assert!(one.contains("price  1000  ->  1200"), "{one}");
    let one: Value =
        serde_json::from_str(&here.ok(&["failed", "show", &ids[1], "--json"])).unwrap();
    assert_eq!(one["body"].as_str().unwrap().as_bytes(), encoded(TRAIL[1]));

    assert_eq!(here.ok(&["failed", "retry", &ids[0]]), "put back 1 event\n");
    assert_eq!((ready(&here, "queue.db"), failed(&here)), (1, ids[1..].to_vec()));
    let unknown = here.run(&["failed", "remove", &ids[0], &ids[1]]);
    assert!(unknown.status == 1 && unknown.stderr.contains(&ids[0]), "{unknown:?}");
    assert_eq!(failed(&here), ids[1..], "one unknown id must not remove the others");
    assert_eq!(here.ok(&["failed", "remove", &ids[1]]), "removed 1 event\n");
    assert_eq!(here.ok(&["failed", "retry", "--all"]), "put back 1 event\n");
    assert_eq!((ready(&here, "queue.db"), failed(&here).len()), (2, 0));
    assert!(here.run(&["failed", "list"]).stderr.contains("nothing has failed"));
}

#[test]
fn the_spool_goes_back_into_the_queue() {
    let here = Installation::new();
    assert_eq!(here.ok(&["recover"]), "there is no spool, so nothing was rescued\n");
    here.queue("spool.db", &TRAIL);
    let said = here.ok(&["recover"]);
    assert_eq!(said, "put 4 events of the spool into sqlite:annals-data/queue.db\n");
    assert_eq!((ready(&here, "spool.db"), ready(&here, "queue.db")), (0, 4));
    let again: Value = serde_json::from_str(&here.ok(&["recover", "--json"])).unwrap();
    assert_eq!(again, serde_json::json!({"from": "spool", "recovered": 0, "refused": 0}));
}

#[test]
fn a_mirrors_file_goes_back_row_by_row() {
    let here = Installation::new();
    let mut rows: Vec<String> =
        TRAIL.iter().map(|text| String::from_utf8(encoded(text)).unwrap()).collect();
    rows.insert(1, "not JSON".to_owned());
    rows.push(r#"{"action":"seen","entity":{"type":"page"}}"#.to_owned());
    rows.push(r#"{"occurred_at":"2026-11-22T10:00:00Z","source_id":"9","action":"annals.pruned","entity":{"type":"store"}}"#.to_owned());
    here.write("audit.log", &rows.join("\n"));
    let ended = here.run(&["recover", "audit.log"]);
    assert_eq!(ended.status, 1);
    assert_eq!(
        ended.stdout,
        "put 4 events of audit.log into sqlite:annals-data/queue.db, refused 3\n"
    );
    insta::assert_snapshot!(ended.stderr);
    let bodies = wait(async {
        let deliveries = here.transport("queue.db").await.receive(Want::up_to(10)).await.unwrap();
        deliveries.into_iter().map(|delivery| delivery.body).collect::<Vec<_>>()
    });
    assert_eq!(bodies, TRAIL.map(encoded), "the bytes must be those of the file");
    let missing = here.run(&["recover", "audit.log", "missing.log"]);
    assert!(missing.status == 1 && missing.stdout.is_empty(), "{missing:?}");
    let piped = here.feed(&["recover", "-"], &encoded(TRAIL[0]));
    assert_eq!(piped.stdout, "put 1 event of - into sqlite:annals-data/queue.db\n");
}

#[test]
fn what_is_held_stays_and_prune_names_the_hold() {
    let here = Installation::new();
    for id in ["1", "2"] {
        here.ok(&["record", "--action", "paid", "--entity", &format!("order:{id}")]);
    }
    here.ok(&["work", "--drain"]);
    let nothing = here.run(&["hold", "add", "--reason", "why"]);
    assert!(nothing.status == 2 && nothing.stderr.contains("name an entity"), "{nothing:?}");
    let held = here.ok(&["hold", "add", "--entity", "order:2", "--reason", "Müller ./. Shop"]);
    let id = held.split_whitespace().nth(1).unwrap().to_owned();
    let listed = here.ok(&["hold", "list"]);
    assert!(listed.contains(&id) && listed.contains("entity order:2"), "{listed}");
    std::thread::sleep(std::time::Duration::from_millis(5));
    for arguments in
        [&["prune", "--older-than", "1ms", "--dry-run"][..], &["prune", "--older-than", "1ms"]]
    {
        let said = here.ok(arguments);
        assert!(said.contains("kept 1 event as old, under a hold:"), "{said}");
        assert!(said.contains(&format!("{id}  entity order:2: Müller ./. Shop")), "{said}");
    }
    assert!(here.ok(&["query", "--entity", "order:2"]).contains("paid"));
    assert!(!here.ok(&["query", "--entity", "order:1"]).contains("paid"));
    here.ok(&["hold", "release", &id, "--reason", "closed"]);
    assert_eq!(here.ok(&["hold", "list"]).trim(), "nothing is held");
    here.ok(&["prune", "--older-than", "1ms"]);
    assert!(!here.ok(&["query", "--entity", "order:2"]).contains("paid"));
    let gone = here.run(&["hold", "release", &id, "--reason", "again"]);
    assert!(gone.status == 2 && gone.stderr.contains("there is no hold"), "{gone:?}");
}

#[test]
fn prune_says_what_it_would_remove_and_removes_exactly_that() {
    let here = Installation::new();
    let old = r#"{"occurred_at":"2020-01-01T00:00:00Z","source_id":"old","action":"seen","entity":{"type":"page","id":"1"}}"#;
    let now = annals::Timestamp::now();
    let young = format!(
        r#"{{"occurred_at":"{now}","source_id":"young","action":"seen","entity":{{"type":"page","id":"1"}}}}"#
    );
    here.store(&[old, &young]);
    let dry = here.ok(&["prune", "--older-than", "30d", "--dry-run"]);
    assert!(dry.starts_with("would remove 1 event ("), "{dry}");
    assert_eq!(here.ok(&["query", "--entity", "page:1"]).lines().count(), 2);
    let done: Value =
        serde_json::from_str(&here.ok(&["prune", "--older-than", "30d", "--json"])).unwrap();
    assert_eq!((&done["planned"]["events"], &done["removed"]["events"]), (&1.into(), &1.into()));
    assert_eq!(done["planned"]["bytes"], done["removed"]["bytes"]);
    assert_eq!(here.ok(&["query", "--entity", "page:1"]).lines().count(), 1);
    assert!(here.ok(&["prune", "--older-than", "30d"]).starts_with("removed 0 events (0 B)"));
}

#[test]
fn doctor_is_content_with_a_sound_installation() {
    let here = Installation::new();
    let fresh = here.run(&["doctor"]);
    assert_eq!(fresh.status, 0, "{fresh:?}");
    assert!(!here.path("annals-data").exists());
    let made = here.ok(&["migrate"]);
    assert!(made.contains("transport  sqlite:annals-data/queue.db  ready"), "{made}");
    let said = here.ok(&["doctor"]);
    assert!(!said.contains("warn ") && !said.contains("fail "), "{said}");
    assert!(said.contains("undamaged, store tables of version 6"), "{said}");
    assert!(said.contains("undamaged, queue tables of version 1"), "{said}");
    here.ok(&["migrate"]);
}

#[test]
fn doctor_says_what_is_wrong_and_exits_3() {
    let here = Installation::new();
    here.queue("queue.db", &TRAIL[..1]);
    bury(&here, "no reason");
    here.write("annals-data/store.db", "this is no database, however long it may be");
    let said = here.run(&["doctor"]);
    assert_eq!(said.status, 3, "{said:?}");
    assert!(
        said.stdout
            .contains("fail  queue sqlite:annals-data/queue.db: 1 event could not be stored"),
        "{said:?}"
    );
    assert!(said.stdout.contains("fail  store sqlite:annals-data/store.db: "), "{said:?}");
    assert!(said.stdout.contains("hint: `annals failed list` says why"), "{said:?}");
    let lines = here.run(&["doctor", "--json"]);
    assert_eq!(lines.status, 3);
    for line in lines.stdout.lines() {
        let finding: Value = serde_json::from_str(line).unwrap();
        assert!(["ok", "warn", "fail"].contains(&finding["verdict"].as_str().unwrap()));
    }
}

#[test]
fn rules_remove_what_they_say_and_up_does_it_too() {
    let here = Installation::new();
    let refused = here.run(&["retention", "plan"]);
    assert_eq!(refused.status, 2);
    assert!(refused.stderr.contains("has no rules of retention"), "{refused:?}");
    let event = |action: &str, day: &str, number: u32| {
        format!(
            r#"{{"occurred_at":"{day}T10:00:00Z","source_id":"{action}{day}{number}","action":"{action}","entity":{{"type":"user","id":"1"}}}}"#
        )
    };
    let rules = "[[retention.rule]]\nname = \"sign-ins\"\naction = \"login\"\nkeep = \"90d\"\n\
                 [[retention.rule]]\nname = \"rest\"\npreset = \"sox\"\n";
    here.write("annals.toml", rules);
    let all = [
        event("login", "2024-01-01", 1),
        event("login", "2024-01-02", 1),
        event("saved", "2024-01-02", 1),
        event("saved", "2012-01-02", 1),
    ];
    here.store(&all.each_ref().map(String::as_str));
    let scope = ["hold", "add", "--entity", "user:2", "--reason", "a case"];
    here.ok(&scope);
    let plan = here.ok(&["retention", "plan"]);
    let lines: Vec<Vec<&str>> =
        plan.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1][..2], ["sign-ins", "90d"], "{plan}");
    assert_eq!((lines[1][4], lines[2][4]), ("2", "1"), "{plan}");
    assert_eq!(lines[2][1], "7y", "{plan}");
    let json: Value = serde_json::from_str(&here.ok(&["retention", "plan", "--json"])).unwrap();
    assert_eq!(json["rules"][0]["would_remove"]["events"], 2);
    assert_eq!(here.ok(&["query", "--entity", "user:1"]).lines().count(), 4);

    let applied = here.ok(&["retention", "apply"]);
    assert!(applied.starts_with("sign-ins: removed 2 events ("), "{applied}");
    assert!(applied.contains("rest: removed 1 event ("), "{applied}");
    assert_eq!(here.ok(&["query", "--entity", "user:1"]).lines().count(), 1);
    let told = here.ok(&["query", "--action", "annals.pruned", "--json"]);
    assert!(told.contains(r#""rule":"rest""#) && told.contains(r#""rule":"sign-ins""#), "{told}");
    here.ok(&["verify"]);
    assert!(here.ok(&["retention", "apply"]).contains("rest: removed 0 events"));

    here.store(&[&event("login", "2024-02-02", 1)]);
    let mut up = here.command(&["up", "--listen", "127.0.0.1:0"]).spawn().unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while here.ok(&["query", "--entity", "user:1"]).lines().count() > 1 {
        assert!(std::time::Instant::now() < until);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    signal(&up, rustix::process::Signal::TERM);
    assert!(up.wait().unwrap().success());
}

#[test]
fn what_goes_is_archived_first_and_found_there() {
    let here = Installation::new();
    let event = |day: &str, number: u32| {
        format!(
            r#"{{"occurred_at":"{day}T10:00:00Z","source_id":"{day}{number}","action":"saved","entity":{{"type":"user","id":"{number}"}}}}"#
        )
    };
    let all = [event("2020-01-01", 1), event("2020-01-02", 2), event("2020-01-03", 3)];
    here.store(&all.each_ref().map(String::as_str));
    let prune = ["prune", "--older-than", "365d", "--archive", "old"];
    assert!(here.ok(&prune).starts_with("removed 3 events"));
    let archive = ["query", "--store", "archive:old"];
    let found = here.ok(&archive);
    assert_eq!(found.lines().count(), 3, "{found}");
    let one = here.ok(&["history", "user:2", "--store", "archive:old"]);
    assert!(one.contains("2020-01-02"), "{one}");
    let verified = here.ok(&["verify", "--archive", "old"]);
    assert_eq!(verified, "right  an archive of 1 file with 3 events\n");
    here.ok(&["verify"]);

    // An auditor has the files and the key.
    let key = here.ok(&["checkpoint", "--key"]);
    let auditor = Installation::new();
    let directory = auditor.path("files");
    std::fs::create_dir(&directory).unwrap();
    let file = std::fs::read_dir(here.path("old")).unwrap().next().unwrap().unwrap();
    let copy = directory.join(file.file_name());
    std::fs::copy(file.path(), &copy).unwrap();
    let keyless = auditor.run(&["verify", "--archive", "files"]);
    assert!(keyless.status == 2 && keyless.stderr.contains("there is no key here"), "{keyless:?}");
    let check = ["verify", "--archive", "files", "--key", key.trim()];
    auditor.ok(&check);
    let mut bytes = std::fs::read(&copy).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&copy, bytes).unwrap();
    let wrong = auditor.run(&check);
    assert!(wrong.status == 3 && wrong.stdout.starts_with("changed: files/annals-"), "{wrong:?}");

    let rules = "[retention]\narchive = \"shelf\"\n[[retention.rule]]\nname = \"all\"\n\
                 preset = \"pci-dss\"\n";
    here.write("annals.toml", rules);
    // Old enough to be archived, and not to be forgotten.
    let day = annals::Timestamp::now().before(std::time::Duration::from_secs(200 * 86_400));
    here.store(&[&event(&day.to_string()[..10], 4)]);
    assert!(here.ok(&["retention", "apply"]).starts_with("all: removed 1 event"));
    assert_eq!(here.ok(&["query", "--store", "archive:shelf"]).lines().count(), 1);
    let both = here.run(&["prune", "--older-than", "1d"]);
    assert!(
        both.status == 2 && both.stderr.contains("there are rules of retention too"),
        "{both:?}"
    );
    here.write("annals.toml", "");
    for (arguments, told) in [
        (&["query", "--store", "archive:nowhere"][..], "check the path"),
        (&["work", "--drain", "--store", "archive:old"], "an archive is read and verified"),
        (&["prune", "--older-than", "1d", "--store", "archive:old"], "an archive never changes"),
    ] {
        let refused = here.run(arguments);
        assert!(refused.status == 2 && refused.stderr.contains(told), "{refused:?}");
    }
}
