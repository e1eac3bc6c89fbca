use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::load::{Kind, Load};

/// Set in the process that has mounts of its own.
const INSIDE: &str = "ANNALS_TEST_INSIDE";

/// How to get mounts of one's own that nobody else sees and that go with the
/// last process in them, whatever ends it: as anyone, or as root alone.
const WAYS: [&[&str]; 2] = [
    &["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"],
    &["--mount", "--pid", "--fork", "--kill-child"],
];

/// Whether this process may mount what it likes. If not, runs the same test in
/// one that may.
fn may_mount(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut refusals = Vec::new();
    for way in WAYS {
        let mut probe = Command::new("unshare");
        probe.args(way).args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
        match probe.output() {
            Ok(output) if output.status.success() => {
                let mut again = Command::new("unshare");
                again.args(way).arg(std::env::current_exe().unwrap());
                again.args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
                let output = again.stdin(Stdio::null()).output().unwrap();
                let said = String::from_utf8_lossy(&output.stdout);
                let told = String::from_utf8_lossy(&output.stderr);
                println!("{said}{told}");
                assert!(output.status.success() && said.contains("1 passed"), "{}", output.status);
                return false;
            }
            Ok(output) => refusals.push(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => refusals.push(error.to_string()),
        }
    }
    let refusals = refusals.concat();
    assert!(std::env::var_os("CI").is_none(), "CI must mount a small disk: {refusals}");
    println!("SKIPPED: a small disk cannot be mounted here: {refusals}");
    false
}

/// A small disk that is nearly filled by a file which can be removed.
struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts it at `small` in the installation: so many KiB are free, and ten
    /// times as many can be freed.
    fn mount(load: &Load, free: usize) -> Self {
        let path = load.path("small");
        fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={}k", 11 * free), "tmpfs"]);
        assert!(mount.arg(&path).status().unwrap().success());
        fs::write(path.join("ballast"), vec![1; 10 * free * 1024]).unwrap();
        Self { path }
    }

    fn free(&self) {
        fs::remove_file(self.path.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}

#[test]
fn a_full_disk_under_the_queue() {
    if !may_mount("crash::disk::a_full_disk_under_the_queue") {
        return;
    }
    let mut load = Load::new("transport = \"sqlite:small/queue.db\"\n");
    let disk = Disk::mount(&load, 1024);
    load.begin(Kind::Recorder);
    load.begin(Kind::Recorder);
    load.wait_until_said(Kind::Recorder, "database or disk is full");
    assert!(load.said(Kind::Recorder).contains("(free disk space)"));
    load.kill(Kind::Recorder);
    disk.free();
    load.begin_all();
    load.wait_for_acknowledged(200);
    load.check("small/queue.db", "annals-data/store.db");
}

#[test]
fn a_full_disk_under_the_store() {
    if !may_mount("crash::disk::a_full_disk_under_the_store") {
        return;
    }
    let mut load = Load::new("store = \"sqlite:small/store.db\"\n");
    let disk = Disk::mount(&load, 3 * 1024);
    load.begin_all();
    // By both workers: the one that is left has something to go on from.
    load.wait_until_said_by(2, Kind::Worker, "database or disk is full");
    assert!(load.said(Kind::Worker).contains("(free disk space)"));
    load.kill(Kind::Worker);
    load.wait_for_acknowledged(300);
    disk.free();
    load.begin(Kind::Worker);
    load.wait_until_said(Kind::Worker, "going on");
    load.check("annals-data/queue.db", "small/store.db");
}
