//! Small disks, which a test fills.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::trouble::skip;

/// Set in the process that has mounts of its own.
const INSIDE: &str = "ANNALS_TEST_INSIDE";

/// How to get mounts of one's own that nobody else sees and that go with the
/// last process in them, whatever ends it: as anyone, who is root in there, or as
/// root, who may become someone else in there, as a server must.
const ANYONE: &[&str] =
    &["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"];
const ROOT: &[&str] = &["--mount", "--pid", "--fork", "--kill-child"];

/// Whether this process may mount what it likes. If not, runs the same test in
/// one that may.
///
/// # Panics
/// If the test fails there; with `CI` set, also if there is no such process.
#[must_use]
pub fn may_mount(test: &str) -> bool {
    may_mount_in(&[ANYONE, ROOT], test)
}

/// As [`may_mount`], for a test that starts a server, which does not run as root.
///
/// # Panics
/// As [`may_mount`].
#[must_use]
pub fn may_mount_for_a_server(test: &str) -> bool {
    may_mount_in(&[ROOT], test)
}

fn may_mount_in(ways: &[&[&str]], test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut refusals = String::new();
    for way in ways {
        let mut probe = Command::new("unshare");
        probe.args(*way).args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
        match probe.output() {
            Ok(output) if output.status.success() => {
                run_inside(way, test);
                return false;
            }
            Ok(output) => refusals.push_str(&String::from_utf8_lossy(&output.stderr)),
            Err(error) => refusals.push_str(&error.to_string()),
        }
    }
    assert!(std::env::var_os("CI").is_none(), "CI must mount a small disk: {refusals}");
    skip(&format!("a small disk cannot be mounted here: {refusals}"));
    false
}

fn run_inside(way: &[&str], test: &str) {
    let mut again = Command::new("unshare");
    let program = std::env::current_exe().unwrap_or_else(|error| panic!("{error}"));
    again.args(way).arg(program).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    let output = again.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    eprintln!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{}", output.status);
}

/// A small disk that is nearly filled by a file which can be removed.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts it at this directory, which is made: so many KiB are free, and so many
    /// can be freed.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn mount(path: &Path, free: usize, ballast: usize) -> Self {
        let disk = Self { path: path.to_owned() };
        disk.prepare(free, ballast).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        disk
    }

    fn prepare(&self, free: usize, ballast: usize) -> io::Result<()> {
        fs::create_dir(&self.path)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={}k", free + ballast), "tmpfs"]);
        if !mount.arg(&self.path).status()?.success() {
            return Err(io::Error::other("cannot be mounted"));
        }
        fs::write(self.path.join("ballast"), vec![1; ballast * 1024])
    }

    /// Frees what can be freed.
    ///
    /// # Panics
    /// If it was before.
    pub fn free(&self) {
        fs::remove_file(self.path.join("ballast")).unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}
