//! PHP, with Symfony's Messenger as Debian packages it.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::Trouble;
use crate::packages::install;

/// What an application needs that dispatches messages to a database and handles them.
const PACKAGES: [&str; 13] = [
    "php-cli",
    "php-mysql",
    "php-pgsql",
    "php-redis",
    "php-sqlite3",
    "php-doctrine-dbal",
    "php-symfony-console",
    "php-symfony-dependency-injection",
    "php-symfony-doctrine-messenger",
    "php-symfony-error-handler",
    "php-symfony-event-dispatcher",
    "php-symfony-property-access",
    "php-symfony-serializer",
];

/// An application of one script: each command is a process of its own.
#[derive(Debug)]
pub struct Php {
    directory: TempDir,
    script: PathBuf,
}

impl Php {
    /// The application that a script is.
    ///
    /// # Errors
    /// Why there is no PHP to be had, or no Messenger.
    pub fn application(script: &str) -> Result<Self, Trouble> {
        static READY: OnceLock<Result<(), Trouble>> = OnceLock::new();
        READY.get_or_init(ready).clone()?;
        let failed = |error| format!("make a PHP application: {error}");
        let directory = tempfile::Builder::new().prefix("annals-php-").tempdir().map_err(failed)?;
        let path = directory.path().join("application.php");
        fs::write(&path, script).map_err(failed)?;
        Ok(Self { directory, script: path })
    }

    /// Where it may leave files; they go when it goes.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a command with its arguments as JSON; answers what it wrote.
    ///
    /// # Panics
    /// If it fails.
    pub fn run(&self, command: &str, arguments: &serde_json::Value) -> String {
        let output = self.command(command, arguments).stderr(Stdio::piped()).output();
        let output = output.unwrap_or_else(|error| panic!("php {command}: {error}"));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "php {command} {arguments}: {said}{wrong}");
        said
    }

    /// Starts a command, which goes on by itself.
    ///
    /// # Panics
    /// If it does not start.
    pub fn spawn(&self, command: &str, arguments: &serde_json::Value) -> Child {
        let mut command = self.command(command, arguments);
        command.spawn().unwrap_or_else(|error| panic!("php: {error}"))
    }

    fn command(&self, command: &str, arguments: &serde_json::Value) -> Command {
        let mut php = Command::new("php");
        php.arg(&self.script)
            .args([command, &arguments.to_string()])
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        php
    }
}

/// Sees to it that all of the packages are there.
fn ready() -> Result<(), Trouble> {
    let missing: Vec<&str> = PACKAGES.into_iter().filter(|name| !is_installed(name)).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]).stdin(Stdio::null());
    query.output().is_ok_and(|output| output.stdout == b"installed")
}
