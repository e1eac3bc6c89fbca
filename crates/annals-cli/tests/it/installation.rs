//! A directory of its own, and the command in it.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use annals::event::accept;
use annals::store::{self, Record};
use annals::transport::{self, Message, Transport};
use annals_testbed::patience::Patience;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A temporary directory in which the command runs.
pub(crate) struct Installation {
    directory: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Installation {
    pub(crate) fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// The command, in this directory, without settings of whoever runs the tests.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_annals"));
        command.args(arguments).current_dir(self.directory.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ANNALS_") {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(&self.command(arguments).output().unwrap())
    }

    /// Runs it and expects that it did what it was asked.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.status, 0, "{arguments:?}: {ended:?}");
        ended.stdout
    }

    /// Runs it with this on its standard input.
    pub(crate) fn feed(&self, arguments: &[&str], input: &[u8]) -> Ended {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        // It may end before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(input);
        Ended::of(&child.wait_with_output().unwrap())
    }

    /// Puts events right into the store.
    pub(crate) fn store(&self, events: &[&str]) {
        let url = format!("sqlite:{}", self.path("annals-data/store.db").display());
        let records: Vec<Record> =
            events.iter().map(|text| Record::decode(encoded(text)).unwrap()).collect();
        wait(async {
            let store = store::open(&url).await.unwrap();
            store.append(records.into()).await.unwrap();
        });
    }

    /// Puts events right into a queue of the data directory.
    pub(crate) fn queue(&self, name: &str, events: &[&str]) {
        let messages: Vec<Message> = events
            .iter()
            .map(|text| Message { id: accept(text).unwrap().event.id, body: encoded(text) })
            .collect();
        wait(async { self.transport(name).await.send(messages.into()).await.unwrap() });
    }

    pub(crate) async fn transport(&self, name: &str) -> std::sync::Arc<dyn Transport> {
        let path = self.path("annals-data").join(name);
        transport::open(&format!("sqlite:{}", path.display())).await.unwrap()
    }
}

impl Ended {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout.clone()).unwrap(),
            stderr: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }
}

/// The bytes that an event has at rest.
pub(crate) fn encoded(text: &str) -> Vec<u8> {
    accept(text).unwrap().event.encode().unwrap()
}

pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Sends a signal to a process that the test started.
pub(crate) fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Three events of two products, an hour apart, and a denied one.
pub(crate) const TRAIL: [&str; 4] = [
    r#"{"occurred_at":"2026-11-22T10:00:00Z","source_id":"1","action":"created","entity":{"type":"product","id":"42"},
        "actor":{"type":"user","id":"7","name":"Jo Doe"},"new_values":{"name":"Lamp","price":1000}}"#,
    r#"{"occurred_at":"2026-11-22T11:00:00Z","source_id":"2","action":"updated","entity":{"type":"product","id":"42"},
        "actor":{"type":"user","id":"8","name":"Al Poe"},"old_values":{"price":1000},"new_values":{"price":1200},
        "reason":"new price list","context":{"request_id":"r-1"}}"#,
    r#"{"occurred_at":"2026-11-22T12:00:00Z","source_id":"3","action":"created","entity":{"type":"product","id":"43"},
        "actor":{"type":"user","id":"7","name":"Jo Doe"},"new_values":{"name":"Chair"},"tenant":"acme"}"#,
    r#"{"occurred_at":"2026-11-22T13:00:00Z","source_id":"4","action":"deleted","outcome":"denied",
        "entity":{"type":"order","id":"1"},"actor":{"type":"job","id":"7"}}"#,
];

/// Until it is so, or a bound.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut patience = Patience::of(Duration::from_secs(30));
    while !is_so() {
        assert!(!patience.is_over(), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
