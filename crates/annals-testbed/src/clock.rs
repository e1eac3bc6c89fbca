//! A clock that jumps, for processes that a test starts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::Trouble;
use crate::packages::install;

/// Where Debian puts its libraries, in a directory named after the machine.
const LIBRARIES: &str = "/usr/lib";

/// The time of day of the processes that have it. How long something takes is not changed.
#[derive(Debug)]
pub struct Clock {
    directory: TempDir,
    library: PathBuf,
}

impl Clock {
    /// One that is right until it is set.
    ///
    /// # Errors
    /// Why there is none to be had.
    pub fn start() -> Result<Self, Trouble> {
        let library = match library() {
            Some(library) => library,
            None => {
                install(&["libfaketime"])?;
                library().ok_or_else(|| "libfaketime is not where it should be".to_owned())?
            }
        };
        let directory = tempfile::Builder::new().prefix("annals-clock-").tempdir();
        let directory = directory.map_err(|error| format!("make a clock: {error}"))?;
        let clock = Self { directory, library };
        clock.set("+0");
        Ok(clock)
    }

    /// Sets it off the right time, such as by `-3h` or `+2d`; for processes that run, too.
    ///
    /// # Panics
    /// If its file cannot be written.
    pub fn set(&self, off: &str) {
        let next = self.directory.path().join("next");
        // At once, so that nobody reads half of it.
        let set = fs::write(&next, off).and_then(|()| fs::rename(&next, self.file()));
        set.unwrap_or_else(|error| panic!("set the clock: {error}"));
    }

    /// Gives it to a process that is to be started.
    pub fn give(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", self.file())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_DONT_RESET", "1");
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("off")
    }
}

fn library() -> Option<PathBuf> {
    let machines = fs::read_dir(Path::new(LIBRARIES)).ok()?.flatten();
    let mut found = machines.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    found.find(|path| path.exists())
}
