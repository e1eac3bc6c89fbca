//! The command as a process: waited for with a bound, and never left behind.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use annals_testbed::patience::Patience;
use rustix::process::Signal;

use crate::installation::{Ended, Installation, signal};

/// After this, whatever is waited for counts as hanging.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// A killed worker's lease is over soon (5 s is the least that a worker takes),
/// and a batch does not wait to be full: no test waits long for either.
const SETTINGS: [(&str, &str); 2] =
    [("ANNALS_WORKER_LEASE", "1s"), ("ANNALS_WORKER_FLUSH_INTERVAL", "0s")];

/// A running command; dropped, it is killed.
pub(super) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the command with both ends in pipes; what it says on stderr goes
    /// to the end of `NAME.log` in the installation.
    pub(super) fn start(here: &Installation, name: &str, arguments: &[&str]) -> Self {
        let log = here.path(&format!("{name}.log"));
        let stderr = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut command = command(here, arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        Self { child: command.spawn().unwrap(), log }
    }

    pub(super) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    pub(super) fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().unwrap()
    }

    /// Kills it without warning. It must have been alive until then.
    pub(super) fn kill(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("ended by itself, {status}: {}", self.said());
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Kills it if it has not left as if all is well; answers whether it did.
    pub(super) fn kill_if_running(&mut self) -> bool {
        match self.child.try_wait().unwrap() {
            None => self.kill(),
            Some(status) => assert!(status.success(), "{status}: {}", self.said()),
        }
        !self.child.wait().unwrap().success()
    }

    pub(super) fn signal(&self, which: Signal) {
        signal(&self.child, which);
    }

    /// Waits until it has ended.
    pub(super) fn wait(&mut self) -> ExitStatus {
        let log = &self.log;
        wait(&mut self.child, || std::fs::read_to_string(log).unwrap())
    }

    /// Waits until it has ended, which must be as if all is well.
    pub(super) fn leave(&mut self) {
        let status = self.wait();
        assert!(status.success(), "{status}: {}", self.said());
    }

    /// All that was written to its log.
    pub(super) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the command to its end.
pub(super) fn run(here: &Installation, arguments: &[&str]) -> Ended {
    let (out, err) = (here.path("stdout"), here.path("stderr"));
    let mut command = command(here, arguments);
    command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
    let mut child = command.spawn().unwrap();
    let said = || std::fs::read_to_string(&err).unwrap();
    let pid = child.id();
    let status = wait(&mut child, || format!("{arguments:?}: {}{}", said(), standing(here, pid)));
    let ended = Ended {
        status: status.code().unwrap_or(-1),
        stdout: std::fs::read_to_string(out).unwrap(),
        stderr: said(),
    };
    assert!(!ended.stderr.contains("panicked"), "{arguments:?}: {ended:?}");
    ended
}

/// Stores all that waits, as soon as the leases of the dead are over.
pub(super) fn drain(here: &Installation) {
    let ended = run(here, &["work", "--drain", "--json"]);
    assert_eq!(ended.status, 0, "{ended:?}");
}

/// No command, whatever it met, panicked.
pub(super) fn assert_nobody_panicked(here: &Installation) {
    for entry in std::fs::read_dir(here.path("")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let said = std::fs::read_to_string(&path).unwrap();
            assert!(!said.contains("panicked"), "{}: {said}", path.display());
        }
    }
}

fn command(here: &Installation, arguments: &[&str]) -> Command {
    let mut command = here.command(arguments);
    command.envs(SETTINGS);
    command
}

/// What a process that hangs waits for: its threads, and how the queues stand.
fn standing(here: &Installation, pid: u32) -> String {
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let mut threads = String::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let (name, state) = (read(task.path().join("comm")), read(task.path().join("stat")));
        let waits = read(task.path().join("wchan"));
        threads.push_str(&format!("{}: {waits}; {state}", name.trim()));
    }
    let stats = here.command(&["stats", "--json"]).output();
    let stats = stats.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    format!("\n{threads}{}", stats.unwrap_or_default())
}

fn wait(child: &mut Child, what: impl Fn() -> String) -> ExitStatus {
    let mut patience = Patience::of(PATIENCE);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if patience.is_over() {
            let what = what();
            let _ = child.kill();
            let _ = child.wait();
            panic!("hangs: {what}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
