//! Installing what a test needs from Debian's packages.

use std::fs::File;
use std::process::{Command, Stdio};

/// Installs packages, if this process may; one process at a time.
pub(crate) fn install(names: &[&str]) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err(format!("{} not installed, and only root can do that", names.join(" ")));
    }
    let lock = std::env::temp_dir().join("annals-testbed.lock");
    let lock = File::create(&lock).map_err(|error| format!("{}: {error}", lock.display()))?;
    lock.lock().map_err(|error| format!("wait for another installation: {error}"))?;
    eprintln!("installing {}", names.join(" "));
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
        command.stdin(Stdio::null()).output()
    };
    let mut words = vec!["install", "--yes", "--no-install-recommends"];
    words.extend(names);
    // The lists of a new machine may be old or missing.
    let done = |output: std::io::Result<std::process::Output>| {
        output.is_ok_and(|output| output.status.success())
    };
    if done(apt(&words)) || (done(apt(&["update"])) && done(apt(&words))) {
        return Ok(());
    }
    Err(format!("apt-get could not install {}", names.join(" ")))
}
