//! Schemathesis, which asks an API everything that its description allows, and more.

use std::process::{Command, Output, Stdio};

use crate::Trouble;
use crate::packages::install_from_pypi;

/// The version that is asked with.
const VERSION: &str = "4.32.5";

/// Runs it against a server with these settings; what it found is in what it printed.
///
/// # Errors
/// Why it is not to be had.
pub fn run(url: &str, settings: &str, arguments: &[&str]) -> Result<Output, Trouble> {
    let place = install_from_pypi("schemathesis", VERSION)?;
    let failed = |error| format!("run schemathesis: {error}");
    let directory = tempfile::tempdir().map_err(failed)?;
    std::fs::write(directory.path().join("schemathesis.toml"), settings).map_err(failed)?;
    let mut python = Command::new("python3");
    python.args(["-m", "schemathesis.cli", "--no-color", "run"]);
    python.arg(format!("{url}/v1/openapi.json")).args(["--url", url]).args(arguments);
    // Its own packages and nobody else's; what it remembers goes with the directory.
    python.env("PYTHONPATH", place).env("PYTHONNOUSERSITE", "1").current_dir(directory.path());
    Ok(python.stdin(Stdio::null()).output().map_err(failed)?)
}
