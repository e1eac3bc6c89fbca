//! The examples, run as their readers would.

use std::path::PathBuf;
use std::process::Command;

use annals::transport::{self, Want};
use annals::{Event, Outcome};

/// Runs an example in a directory; answers what it printed.
fn run(name: &str, directory: &std::path::Path) -> String {
    // Cargo builds examples beside the directory of test binaries.
    let tests = std::env::current_exe().unwrap();
    let example: PathBuf =
        [tests.parent().unwrap().parent().unwrap(), "examples".as_ref(), name.as_ref()]
            .into_iter()
            .collect();
    let output = Command::new(&example).current_dir(directory).output().unwrap_or_else(|error| {
        panic!(
            "run {}: {error} (build it with `cargo build --examples --all-features`)",
            example.display()
        )
    });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn minimal_leaves_one_change_in_the_queue() {
    let directory = tempfile::tempdir().unwrap();
    run("minimal", directory.path());
    let url = format!("sqlite:{}", directory.path().join("annals-data/queue.db").display());
    let queue = transport::open(&url).await.unwrap();
    let deliveries = queue.receive(Want::up_to(10)).await.unwrap();
    assert_eq!(deliveries.len(), 1);
    let event = Event::decode(&deliveries[0].body).unwrap();
    assert_eq!(event.entity.to_string(), "product:42");
    assert_eq!(event.old_values.unwrap().as_str(), r#"{"price":1000}"#);
    assert_eq!(event.new_values.unwrap().as_str(), r#"{"price":1200}"#);
    assert_eq!(event.actor.unwrap().to_string(), "Jo Doe");
    assert_eq!(event.context.ip.as_deref(), Some("203.0.113.9"));
}

#[cfg(feature = "tower")]
#[test]
fn axum_knows_where_the_request_came_from() {
    let directory = tempfile::tempdir().unwrap();
    let printed = run("axum", directory.path());
    let event = Event::decode(printed.trim().as_bytes()).unwrap();
    assert_eq!(event.outcome, Outcome::Success);
    assert_eq!(event.actor.unwrap().to_string(), "Jo Doe");
    let context = event.context;
    assert_eq!(context.ip.as_deref(), Some("203.0.113.9"));
    assert_eq!(context.url.as_deref(), Some("/products/42/price/1200?token=[redacted]"));
    assert_eq!(context.method.as_deref(), Some("PUT"));
    assert_eq!(context.user_agent.as_deref(), Some("example"));
    assert_eq!(context.service.as_deref(), Some("shop"));
    assert!(context.request_id.is_some());
}

#[cfg(feature = "sqlx-sqlite")]
#[test]
fn a_rolled_back_change_leaves_no_event() {
    let directory = tempfile::tempdir().unwrap();
    let printed = run("transaction", directory.path());
    let events: Vec<Event> =
        printed.lines().map(|line| Event::decode(line.as_bytes()).unwrap()).collect();
    assert_eq!(events.len(), 1, "{printed}");
    assert_eq!(events[0].new_values.as_ref().unwrap().as_str(), r#"{"price":1200}"#);
}
