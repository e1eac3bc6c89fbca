//! MariaDB servers.
//!
//! Of Debian's packages only those that hold the programs: the package with the
//! service would start one of its own. No package of Debian's, of npm's or of PyPI's
//! carries the programs of MySQL 8, so that nothing here starts one.

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::Trouble;
use crate::files::copy_while_stopped;
use crate::packages::install;
use crate::patience::Patience;
use crate::postgres::{free_port, spawn_bound};

/// Where Debian puts the programs.
const SERVER: &str = "/usr/sbin/mariadbd";
const INSTALLER: &str = "/usr/bin/mariadb-install-db";
const CLIENT: &str = "/usr/bin/mariadb";

/// Who may do everything, without a password.
const USER: &str = "root";

/// How long a start or a stop may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What every server is started with: as small as tests need it, and as durable as
/// MariaDB is by default.
const SETTINGS: &[&str] = &[
    "bind-address=127.0.0.1",
    "skip-name-resolve",
    "max-connections=200",
    "innodb-buffer-pool-size=64M",
    "innodb-log-file-size=64M",
    "innodb-fast-shutdown=2",
    "character-set-server=utf8mb4",
];

/// A server of its own; stopped and removed when dropped.
#[derive(Debug)]
pub struct Mariadb {
    directory: TempDir,
    port: u16,
    settings: Mutex<Vec<String>>,
    process: Mutex<Option<Child>>,
}

impl Mariadb {
    /// Makes the files of a server and starts it, with these settings, such as
    /// `max-connections=5`, after those that all have.
    ///
    /// # Errors
    /// Why there is no MariaDB to be had, or what it said.
    pub fn start(settings: &[&str]) -> Result<Self, Trouble> {
        if ![SERVER, INSTALLER, CLIENT].iter().all(|program| Path::new(program).exists()) {
            install(&["mariadb-server-core", "mariadb-client-core"])?;
        }
        let failed = |error: io::Error| format!("make a MariaDB server: {error}");
        let directory = tempfile::Builder::new().prefix("annals-my-").tempdir().map_err(failed)?;
        let port = free_port().map_err(failed)?;
        let settings = Mutex::new(settings.iter().map(|&setting| setting.to_owned()).collect());
        let server = Self { directory, port, settings, process: Mutex::default() };
        server.initialise()?;
        server.resume()?;
        Ok(server)
    }

    /// The server that all tests of this process share.
    ///
    /// # Errors
    /// As [`Mariadb::start`].
    pub fn shared() -> Result<&'static Self, Trouble> {
        static SHARED: OnceLock<Result<Mariadb, Trouble>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&[])).as_ref().map_err(Clone::clone)
    }

    /// A new and empty database; answers its URL.
    ///
    /// # Panics
    /// If the server does not make it.
    pub fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("annals_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        self.sql("", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The URL of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("mysql://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs SQL in a database, or in none if that is empty, with the server's own
    /// client; answers its output, unadorned: a line for each row, with tabs between
    /// the columns.
    ///
    /// # Panics
    /// If it fails.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        match self.try_sql(database, sql) {
            Ok(output) => output,
            Err(error) => panic!("mariadb: {error}\n{sql}"),
        }
    }

    /// The same, for what may fail.
    ///
    /// # Errors
    /// What the client said.
    pub fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        // A database may be named by its URL.
        let database = database.rsplit('/').next().unwrap_or(database);
        let mut client = Command::new(CLIENT);
        client
            .args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1"])
            .args(["--batch", "--raw", "--skip-column-names", "--default-character-set=utf8mb4"])
            .arg(format!("--port={}", self.port))
            .arg(format!("--user={USER}"))
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut run = || -> io::Result<Output> {
            let mut child = client.spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(sql.as_bytes())?;
            }
            child.wait_with_output()
        };
        match run() {
            Ok(output) if output.status.success() => {
                Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
            }
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Stops it at once and without warning, as a crash does.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&self) {
        let pid = self.pid().unwrap_or_else(|| panic!("the server does not run"));
        let _ = kill_process(pid, Signal::KILL);
        self.join();
    }

    /// Stops it as for a restart: sessions are ended, nothing is lost.
    pub fn stop(&self) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, Signal::TERM);
        }
        self.join();
    }

    /// Starts it again on the same data and port.
    ///
    /// # Errors
    /// What it said, if it does not start.
    pub fn resume(&self) -> Result<(), String> {
        let child = spawn_bound(self.command());
        let child = child.map_err(|error| format!("start MariaDB: {error}"))?;
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        let mut patience = Patience::of(PATIENCE);
        while !self.answers() {
            if patience.is_over() || !self.is_under_way() {
                return Err(format!("MariaDB does not start: {}", self.log()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// What it is started with from the next [`Mariadb::resume`] on.
    pub fn set(&self, settings: &[&str]) {
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Copies its files, as a backup of a server that was stopped for it.
    ///
    /// # Panics
    /// If that fails.
    pub fn back_up(&self) {
        self.copy_while_stopped(["data", "backup"]);
    }

    /// Sets it back to what [`Mariadb::back_up`] has copied.
    ///
    /// # Panics
    /// If that fails.
    pub fn restore(&self) {
        self.copy_while_stopped(["backup", "data"]);
    }

    fn copy_while_stopped(&self, folders: [&str; 2]) {
        copy_while_stopped(self.directory(), folders, || self.stop(), || self.resume());
    }

    /// Where all its files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn initialise(&self) -> Result<(), String> {
        let mut installer = Command::new(INSTALLER);
        installer
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .args(["--skip-name-resolve", "--innodb-log-file-size=64M", "--innodb-fast-shutdown=2"])
            .args(as_root())
            .arg(format!("--datadir={}", self.path("data").display()))
            // Of its own, since a server that starts removes what others have there.
            .env("TMPDIR", self.directory.path())
            .stdin(Stdio::null());
        let output = installer.output().map_err(|error| format!("{INSTALLER}: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{INSTALLER}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// The server. A shell waits for it and removes its data, should nobody else.
    fn command(&self) -> Command {
        let mut shell = Command::new("setpriv");
        shell
            .args(["--pdeathsig=TERM", "--", "sh", "-c"])
            .arg(
                "program=$1 directory=$2; shift 2; \
                 \"$program\" \"$@\" >>\"$directory/log\" 2>&1 & echo $! >\"$directory/pid\"; \
                 trap 'kill -KILL $!; wait; rm -rf \"$directory\"; exit' TERM; wait",
            )
            .args(["sh", SERVER])
            .arg(self.directory.path())
            .arg("--no-defaults")
            .args(as_root())
            .arg(format!("--port={}", self.port))
            .arg(format!("--datadir={}", self.path("data").display()))
            .arg(format!("--tmpdir={}", self.directory.path().display()))
            .arg(format!("--socket={}", self.path("socket").display()))
            .arg(format!("--pid-file={}", self.path("data/pid").display()))
            .args(SETTINGS.iter().map(|setting| format!("--{setting}")))
            .args(
                self.settings
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .iter()
                    .map(|setting| format!("--{setting}")),
            )
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        shell
    }

    fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.path("pid")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    fn is_under_way(&self) -> bool {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        process.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Waits until it has gone.
    fn join(&self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut child) = process.take() {
            let _ = child.wait();
            // The number may soon be somebody else's.
            let _ = fs::remove_file(self.path("pid"));
        }
    }

    fn answers(&self) -> bool {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
            && self.try_sql("", "SELECT 1").is_ok()
    }
}

impl Drop for Mariadb {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A server runs as root only if it is told that this is meant.
fn as_root() -> Option<&'static str> {
    geteuid().is_root().then_some("--user=root")
}
