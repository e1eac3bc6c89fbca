//! A capturing process: `annals record`, fed with events on its standard input.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use annals::EventId;
use serde_json::Value;

use super::dice::Dice;
use super::oracle::{Issued, Oracle};
use super::process::Process;
use crate::installation::Installation;

/// The process, one thread that feeds it and one that hears what it says.
pub(super) struct Recorder {
    pub(super) process: Process,
    sent: Arc<Sent>,
    feeder: JoinHandle<()>,
    reader: JoinHandle<()>,
}

/// What was written to it, by line; taken out when it was acknowledged.
#[derive(Default)]
struct Sent {
    lines: Mutex<Vec<Option<Issued>>>,
    stop: AtomicBool,
}

impl Recorder {
    pub(super) fn start(here: &Installation, oracle: &Oracle, dice: &mut Dice) -> Self {
        let mut process = Process::start(here, "record", &["record", "--json"]);
        let sent = Arc::new(Sent::default());
        let (stdin, stdout) = (process.stdin(), process.stdout());
        let (feeding, reading) = (Arc::clone(&sent), Arc::clone(&sent));
        let (issuing, hearing) = (oracle.clone(), oracle.clone());
        let dice = dice.another();
        Self {
            process,
            sent,
            feeder: thread::spawn(move || feeding.feed(stdin, &issuing, dice)),
            reader: thread::spawn(move || reading.read(stdout, &hearing)),
        }
    }

    /// No further event is sent: it comes to the end of its input.
    pub(super) fn stop(&self) {
        self.sent.stop.store(true, Ordering::Relaxed);
    }

    /// After the process has ended: hears what it still said, and what it left
    /// open.
    pub(super) fn end(self, oracle: &Oracle, dice: &mut Dice) -> usize {
        self.stop();
        self.feeder.join().unwrap();
        self.reader.join().unwrap();
        let open: Vec<Issued> = self.sent.lines.lock().unwrap().drain(..).flatten().collect();
        let count = open.len();
        oracle.doubt(open, dice);
        count
    }
}

impl Sent {
    fn feed(&self, mut stdin: ChildStdin, oracle: &Oracle, mut dice: Dice) {
        while !self.stop.load(Ordering::Relaxed) {
            let mut text = String::new();
            for _ in 0..=dice.below(40) {
                let issued = oracle.issue(&mut dice);
                text.push_str(&issued.text);
                text.push('\n');
                self.lines.lock().unwrap().push(Some(issued));
            }
            if stdin.write_all(text.as_bytes()).is_err() {
                return;
            }
            dice.pause(Duration::from_millis(20));
        }
    }

    fn read(&self, stdout: ChildStdout, oracle: &Oracle) {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        // A line without its end was cut by the kill, and nobody could read it.
        while stdout.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
            let said: Value = serde_json::from_str(&line).unwrap();
            let number = said["line"].as_u64().unwrap() as usize;
            let id: EventId = said["id"].as_str().unwrap().parse().unwrap();
            let issued = self.lines.lock().unwrap()[number - 1].take();
            oracle.acknowledge(&issued.expect("acknowledged once"), id);
            line.clear();
        }
    }
}
