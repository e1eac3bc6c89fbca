//! The command in the place of a Symfony application's worker.

use annals_testbed::php::Php;
use annals_testbed::required;
use serde_json::{Value, json};

use crate::installation::Installation;

/// An application whose table is in a SQLite database.
struct Application {
    php: Php,
}

impl Application {
    fn start() -> Option<Self> {
        let script = include_str!("../../../annals/tests/php/messenger.php");
        let application = Self { php: required(Php::application(script))? };
        application.run("setup", json!({}));
        Some(application)
    }

    fn run(&self, command: &str, mut arguments: Value) -> String {
        arguments["database"] = json!(format!("sqlite:{}", self.path()));
        self.php.run(command, &arguments)
    }

    fn path(&self) -> String {
        self.php.path("app.db").display().to_string()
    }

    fn sql(&self, sql: &str) {
        rusqlite::Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }

    /// What Messenger counts: its queue, and its failed.
    fn counted(&self) -> (u64, u64) {
        let told: Value = serde_json::from_str(&self.run("stats", json!({}))).unwrap();
        (told["async"].as_u64().unwrap(), told["failed"].as_u64().unwrap())
    }
}

#[test]
fn messages_go_to_a_file_and_what_fails_is_shown_retried_and_removed() {
    let Some(application) = Application::start() else { return };
    let here = Installation::new();
    application.run("produce", json!({ "from": 1, "count": 4 }));
    // An event without an action, which Messenger can read and Annals cannot store.
    application.sql(
        "UPDATE messenger_messages SET body = replace(body, 's:14:\\\"entity_updated', 's:0:\\\"') \
         WHERE id = (SELECT max(id) FROM messenger_messages)",
    );
    application.run("produce", json!({ "from": 10, "count": 1, "class": "other" }));
    let transport = format!(
        r"symfony+sqlite:{}?queue=async&message=App\Message\AuditEventMessage",
        application.path()
    );
    let with = |command: &[&str]| {
        here.run(&[command, &["--transport", &transport, "--store", "file:audit.log"]].concat())
    };
    let one = |command: &[&str]| -> Value {
        let ended = with(command);
        serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"))
    };

    let before = one(&["stats", "--json"]);
    assert_eq!(before["transports"][0]["ready"], application.counted().0, "{before}");
    let worked = with(&["work", "--drain"]);
    assert_eq!(worked.status, 0, "{worked:?}");
    let said = format!("{}{}", worked.stdout, worked.stderr);
    assert!(said.contains("stored 3 events") && said.contains("1 failed"), "{said}");
    let log = std::fs::read_to_string(here.path("audit.log")).unwrap();
    let ids: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["entity"]["id"].clone())
        .collect();
    assert_eq!(ids, ["1", "2", "3"]);
    assert_eq!(application.counted(), (1, 1), "the other class's, and the one that failed");

    let failed = one(&["failed", "list", "--json"]);
    assert!(failed["reason"].as_str().unwrap().contains("action"), "{failed}");
    assert!(application.run("failed:show", json!({})).contains("action"), "PHP shows it too");
    let doctor = with(&["doctor"]);
    assert_eq!(doctor.status, 3, "{doctor:?}");
    assert!(doctor.stdout.contains("1 event could not be stored"), "{doctor:?}");
    let retried = with(&["failed", "retry", "--all"]);
    assert_eq!((retried.status, application.counted()), (0, (2, 0)), "{retried:?}");
    with(&["work", "--drain"]);
    assert_eq!(application.counted(), (1, 1), "it is no better");
    let removed = with(&["failed", "remove", failed["id"].as_str().unwrap()]);
    assert_eq!((removed.status, application.counted()), (0, (1, 0)), "{removed:?}");
    assert_eq!(with(&["doctor"]).status, 0);
}
