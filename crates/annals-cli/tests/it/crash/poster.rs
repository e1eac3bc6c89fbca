//! `annals up`, and the programs that post events to it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::ChildStdout;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use annals::EventId;
use serde_json::Value;

use super::dice::Dice;
use super::oracle::{Issued, Oracle};
use super::process::{PATIENCE, Process};
use crate::installation::Installation;

/// The process, and the thread whose threads post to it.
pub(super) struct Up {
    pub(super) process: Process,
    stop: Arc<AtomicBool>,
    posters: JoinHandle<usize>,
}

impl Up {
    pub(super) fn start(here: &Installation, oracle: &Oracle, dice: &mut Dice) -> Self {
        let mut process = Process::start(here, "up", &["up", "--listen", "127.0.0.1:0", "--json"]);
        let stdout = process.stdout();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, oracle) = (Arc::clone(&stop), oracle.clone());
        let mut dice = [dice.another(), dice.another()];
        let posters = thread::spawn(move || {
            // It may be killed before it says where it listens.
            let Some(address) = address(stdout) else { return 0 };
            thread::scope(|scope| {
                let posters = dice
                    .each_mut()
                    .map(|dice| scope.spawn(|| post_until(&stopped, &address, &oracle, dice)));
                posters.into_iter().map(|poster| poster.join().unwrap()).sum()
            })
        });
        Self { process, stop, posters }
    }

    /// No further event is sent.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// After the process has ended: answers how many events were under way.
    pub(super) fn end(self) -> usize {
        self.stop();
        self.posters.join().unwrap()
    }
}

/// Where it says that it listens, if it comes to say so.
fn address(stdout: ChildStdout) -> Option<String> {
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).ok()?;
    let url = said["listening"].as_str()?;
    Some(url.strip_prefix("http://")?.strip_suffix("/v1/events")?.to_owned())
}

/// Posts until it is told to stop, or nobody answers any more. Answers how many
/// events got no answer.
fn post_until(stop: &AtomicBool, address: &str, oracle: &Oracle, dice: &mut Dice) -> usize {
    while !stop.load(Ordering::Relaxed) {
        let batch: Vec<Issued> = (0..=dice.below(30)).map(|_| oracle.issue(dice)).collect();
        match post(address, &batch) {
            Ok((202, ids)) => {
                assert_eq!(ids.len(), batch.len());
                batch.iter().zip(ids).for_each(|(issued, id)| oracle.acknowledge(issued, id));
            }
            // Some of it may have been taken.
            Ok((503, _)) => oracle.doubt(batch, dice),
            Ok((status, _)) => panic!("answered {status}"),
            Err(_) => {
                let count = batch.len();
                oracle.doubt(batch, dice);
                return count;
            }
        }
        dice.pause(Duration::from_millis(20));
    }
    0
}

/// Sends a batch in a request of its own; answers the status and the ids.
///
/// # Errors
/// When no whole answer came.
fn post(address: &str, batch: &[Issued]) -> io::Result<(u16, Vec<EventId>)> {
    let texts: Vec<&str> = batch.iter().map(|issued| issued.text.as_str()).collect();
    let body = texts.join("\n");
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "POST /v1/events HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-ndjson\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(cut)?;
    if status != 202 {
        return Ok((status, Vec::new()));
    }
    let body: Value = serde_json::from_str(body).map_err(|_| cut())?;
    let ids = body["ids"].as_array().unwrap().iter();
    Ok((status, ids.map(|id| id.as_str().unwrap().parse().unwrap()).collect()))
}
