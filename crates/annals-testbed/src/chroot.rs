//! A Debian of its own in a directory, for packages that are installed and removed.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::Trouble;
use crate::packages::install;

const DEBOOTSTRAP: &str = "/usr/sbin/debootstrap";

/// A minimal Debian, of the release and the mirror that this machine's packages come from.
/// Programs in it are ended with the command that began them.
#[derive(Debug)]
pub struct Chroot(TempDir);

impl Chroot {
    /// Makes it; that takes a minute.
    ///
    /// # Errors
    /// Why it cannot be made, such as that whoever runs this is not root.
    pub fn make() -> Result<Self, Trouble> {
        if !rustix::process::geteuid().is_root() {
            return Err(Trouble::Missing("a chroot is for root to make".to_owned()));
        }
        if !Path::new(DEBOOTSTRAP).exists() {
            install(&["debootstrap"])?;
        }
        let listed = Command::new("apt-get")
            .args(["indextargets", "--format", "$(CREATED_BY) $(REPO_URI) $(CODENAME)"])
            .output()
            .map_err(|error| Trouble::Missing(format!("apt-get: {error}")))?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        // Its updates have names with more in them.
        let of_packages = listed.lines().filter_map(|line| line.strip_prefix("Packages "));
        let mirror = of_packages
            .filter_map(|line| line.split_once(' '))
            .find(|(_, release)| release.chars().all(|letter| letter.is_ascii_lowercase()))
            .ok_or_else(|| Trouble::Missing("apt-get knows no mirror of Debian".to_owned()))?;
        let failed = |error| format!("make a chroot: {error}");
        let place = tempfile::Builder::new().prefix("annals-chroot-").tempdir().map_err(failed)?;
        let made = Command::new(DEBOOTSTRAP)
            .args(["--variant=minbase", mirror.1])
            .arg(place.path())
            .arg(mirror.0)
            .stdin(Stdio::null())
            .output()
            .map_err(failed)?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stdout);
            let last: Vec<&str> = said.lines().rev().take(5).collect();
            return Err(Trouble::Missing(format!("debootstrap: {}", last.join("; "))));
        }
        Ok(Self(place))
    }

    /// The directory that it takes for all there is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs a line of the shell in it; answers what it said, and whether it ended well.
    ///
    /// # Panics
    /// If there is no chroot to run it in.
    #[must_use]
    pub fn run(&self, line: &str) -> (bool, String) {
        let output = Command::new("chroot")
            .arg(self.path())
            .args(["/bin/sh", "-c", line])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output();
        let output = output.unwrap_or_else(|error| panic!("chroot: {error}"));
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }
}
