use crate::installation::Installation;

#[test]
fn three_mistakes_are_told_at_once_with_their_lines() {
    let here = Installation::new();
    here.write(
        "annals.toml",
        "[worker]\nbatchsize = 5\nlease = \"soon\"\n\n[capture]\nwhen_full = 7\n",
    );
    let ended = here.run(&["config"]);
    assert_eq!(ended.status, 2);
    assert_eq!(ended.stdout, "");
    insta::assert_snapshot!(ended.stderr);
}

#[test]
fn every_setting_is_shown_with_its_origin() {
    let here = Installation::new();
    here.write(
        "annals.toml",
        "store = \"postgres://jo:s3cret@db/annals\"\n[worker]\nretries = 5\n",
    );
    let mut command = here.command(&["config", "--transport", "sqlite:q.db"]);
    let output = command.env("ANNALS_WORKER_LEASE", "2m").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("s3cret"));
    insta::assert_snapshot!(text);
}

#[test]
fn settings_for_machines() {
    let here = Installation::new();
    let lines = here.ok(&["config", "--json"]);
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(
        first,
        serde_json::json!({"key": "data_dir", "value": "annals-data", "origin": "default", "variable": "ANNALS_DATA_DIR"})
    );
}

#[test]
fn a_variable_that_sets_nothing_is_warned_of() {
    let here = Installation::new();
    let output = here.command(&["config"]).env("ANNALS_WORKER_BATCHSIZE", "5").output().unwrap();
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "warning: ANNALS_WORKER_BATCHSIZE: sets nothing that Annals knows; did you mean ANNALS_WORKER_BATCH_SIZE?\n"
    );
}

#[test]
fn init_writes_a_file_that_works_and_overwrites_none() {
    let here = Installation::new();
    assert_eq!(here.ok(&["init"]), "wrote annals.toml; nothing in it is set until you edit it\n");
    let written = std::fs::read_to_string(here.path("annals.toml")).unwrap();
    insta::assert_snapshot!(written);
    here.ok(&["config"]);
    let again = here.run(&["init"]);
    assert_eq!(again.status, 1);
    assert!(again.stderr.contains("\nhint: --force overwrites it"), "{}", again.stderr);
    here.write("annals.toml", "broken");
    here.ok(&["init", "--force"]);
    assert_eq!(std::fs::read_to_string(here.path("annals.toml")).unwrap(), written);
    here.ok(&["--config", "other.toml", "init"]);
    assert!(here.path("other.toml").exists());
}

#[test]
fn wrong_usage_is_2_and_says_what_is_right() {
    let here = Installation::new();
    for (arguments, said) in [
        (&["quary"][..], "unrecognized subcommand 'quary'"),
        (&[], "Usage: annals"),
        (&["history"], "TYPE:ID"),
        (&["history", "product"], "expected TYPE:ID such as product:42"),
        (&["history", "product:42", "--at", "tomorrow"], "expected a time such as"),
        (&["query", "--outcome", "maybe"], "expected success, failure or denied"),
        (&["query", "--cursor", "xyz"], "expected a cursor that an earlier page gave"),
        (&["query", "--limit", "0"], "0 is not in 1..=10000"),
        (&["failed", "retry"], "--all"),
        (&["failed", "show", "42"], "expected a UUIDv7"),
        (&["prune"], "give --older-than 90d, or set `prune.older_than`"),
        (&["prune", "--older-than", "old"], "--older-than: expected a time with its unit"),
        (
            &["work", "--batch-size", "many"],
            "--batch-size: expected a whole number from 1 to 10000",
        ),
        (&["work", "--store", "sqlit:x"], "no such kind of store"),
        (&["work", "--transport", "memory:"], "gone when this command ends"),
        (&["record", "--action", "updated"], "--entity"),
        (&["config", "--config", "missing.toml"], "missing.toml"),
        (&["query", "--store", "file:audit.log"], "a file has no index"),
    ] {
        let ended = here.run(arguments);
        assert_eq!(ended.status, 2, "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(said), "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
    assert!(!here.path("annals-data").exists(), "looking made something");
}

#[test]
fn config_shows_the_rules_of_retention_in_their_order() {
    let here = Installation::new();
    here.write(
        "annals.toml",
        "[[retention.rule]]\nname = \"sign-ins\"\naction = [\"login\", \"logout\"]\nkeep = \"90d\"\n\
         [[retention.rule]]\nname = \"cards\"\ntenant = \"acme\"\npreset = \"pci-dss\"\narchive = false\n\
         [[retention.rule]]\nname = \"rest\"\nkeep = \"for ever\"\n",
    );
    let said = here.ok(&["config"]);
    let rules: Vec<String> = said
        .lines()
        .filter(|line| line.starts_with("retention.rule"))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        rules,
        [
            "retention.rule sign-ins: 90d; action login or logout annals.toml",
            "retention.rule cards: 1y, 92d of it in the store, not archived; tenant acme annals.toml",
            "retention.rule rest: for ever annals.toml",
        ]
    );
    let machine = here.ok(&["config", "--json"]);
    assert_eq!(machine.lines().filter(|line| line.contains("\"retention.rule\"")).count(), 3);
}
