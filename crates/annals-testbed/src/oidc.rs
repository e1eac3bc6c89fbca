//! A provider of identities: `oidc-provider`, a certified one, from npm.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Trouble;
use crate::packages::install_whole_from_npm;

/// The version that people sign in by.
const VERSION: &str = "9.13.3";

/// A provider that ends when it is dropped.
#[derive(Debug)]
pub struct OidcProvider {
    child: Child,
    issuer: String,
}

impl OidcProvider {
    /// Starts the provider of this script, on a port of its own. It prints its issuer once it
    /// listens.
    ///
    /// # Errors
    /// Why it is not to be had.
    pub fn start(script: &Path) -> Result<Self, Trouble> {
        let place = install_whole_from_npm("oidc-provider", VERSION)?;
        let failed = |error| format!("start oidc-provider: {error}");
        // Node looks for modules beside the script.
        let beside = tempfile::Builder::new().suffix(".mjs").tempfile_in(&place).map_err(failed)?;
        std::fs::copy(script, beside.path()).map_err(failed)?;
        let mut node = Command::new("node");
        node.arg(beside.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = node
            .spawn()
            .map_err(|error| Trouble::Missing(format!("oidc-provider needs node: {error}")))?;
        let mut provider = Self { child, issuer: String::new() };
        let stdout = provider
            .child
            .stdout
            .take()
            .ok_or_else(|| "start oidc-provider: no output".to_owned())?;
        let mut lines = BufReader::new(stdout).lines();
        let line = lines.find_map(|line| line.ok().filter(|line| line.starts_with("http")));
        provider.issuer = line.ok_or_else(|| "start oidc-provider: it ended".to_owned())?;
        // What it says later on goes nowhere, and must not stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(provider)
    }

    /// Who it is.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }
}

impl Drop for OidcProvider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
