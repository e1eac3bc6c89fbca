//! Processes that do not outlive their test.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::installation::{Installation, signal};

/// A process that does not outlive the test.
pub(crate) struct Mortal(pub(crate) Child);

impl Mortal {
    /// Asks it to leave, which it does well.
    pub(crate) fn leave(mut self) {
        signal(&self.0, Signal::TERM);
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `annals up` or `annals serve` on a port of its own: the process, and where it listens.
pub(crate) fn listening(here: &Installation, command: &[&str]) -> (Mortal, String) {
    let (child, said) = saying(here, command);
    let url = said["listening"].as_str().unwrap();
    (child, url.split('/').nth(2).unwrap().to_owned())
}

/// The same, and all that it says when it starts.
pub(crate) fn saying(here: &Installation, command: &[&str]) -> (Mortal, Value) {
    let arguments = [command, &["--listen", "127.0.0.1:0", "--json"]].concat();
    let mut child = here.command(&arguments).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (Mortal(child), serde_json::from_str(&line).unwrap())
}
