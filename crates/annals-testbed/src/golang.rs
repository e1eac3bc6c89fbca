//! Programs in Go, on the libraries that Debian packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::Trouble;
use crate::packages::install;

/// Where Debian puts the sources of libraries.
const LIBRARIES: &str = "/usr/share/gocode";
const SUMDB: &str = "/usr/share/gocode/src/golang.org/x/mod/sumdb";
const GO: &str = "/usr/bin/go";

/// A program, built in a directory of its own.
#[derive(Debug)]
pub struct Golang {
    program: PathBuf,
    _directory: TempDir,
}

impl Golang {
    /// Builds the program of this file, which may use `golang.org/x/mod/sumdb`.
    ///
    /// # Errors
    /// Why there is no Go to be had, or what the compiler said.
    pub fn build(source: &Path) -> Result<Self, Trouble> {
        if !Path::new(GO).exists() || !Path::new(SUMDB).exists() {
            install(&["golang-go", "golang-golang-x-mod-dev"])?;
        }
        let failed = |error: std::io::Error| format!("build {}: {error}", source.display());
        let directory = tempfile::Builder::new().prefix("annals-go-").tempdir().map_err(failed)?;
        let program = directory.path().join("program");
        let mut build = Command::new(GO);
        build.args(["build", "-o"]).arg(&program).arg(source);
        // Nothing of whoever runs the tests is read, and nothing is downloaded.
        build.env("GO111MODULE", "off").env("GOPATH", LIBRARIES).env("GOFLAGS", "");
        build.env("GOCACHE", directory.path().join("cache")).env("CGO_ENABLED", "0");
        let output = build.output().map_err(failed)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("build {}: {said}", source.display()).into());
        }
        Ok(Self { program, _directory: directory })
    }

    /// Runs it; answers what it printed.
    ///
    /// # Errors
    /// What it printed, if it did not end well.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(&self.program).args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() { Ok(said) } else { Err(said) }
    }
}
