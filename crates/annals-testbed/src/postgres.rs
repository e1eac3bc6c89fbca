//! PostgreSQL servers.

mod release;

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::Trouble;
use crate::disk::Disk;
use crate::files::copy_while_stopped;
use crate::patience::Patience;
use release::Programs;

pub use release::Release;

/// Whom a server runs as when the tests run as root, whom it refuses.
pub(crate) const USER: &str = "postgres";

/// How long a start or a stop may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server of its own; stopped and removed when dropped.
#[derive(Debug)]
pub struct Postgres {
    directory: TempDir,
    programs: Programs,
    port: u16,
    process: Mutex<Option<Child>>,
}

impl Postgres {
    /// Makes a cluster of Debian's release and starts it, with these lines added to
    /// its configuration.
    ///
    /// # Errors
    /// Why there is no PostgreSQL to be had, or what it said.
    pub fn start(settings: &[&str]) -> Result<Self, Trouble> {
        Release::Debian.start(settings)
    }

    fn start_with(programs: Programs, settings: &[&str]) -> Result<Self, Trouble> {
        let failed = |error: io::Error| format!("make a PostgreSQL cluster: {error}");
        let directory = tempfile::Builder::new().prefix("annals-pg-").tempdir().map_err(failed)?;
        give_away(directory.path()).map_err(failed)?;
        let port = free_port().map_err(failed)?;
        let server = Self { directory, programs, port, process: Mutex::default() };
        server.initialise(settings)?;
        server.resume()?;
        Ok(server)
    }

    /// The server of Debian's release that all tests of this process share.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn shared() -> Result<&'static Self, Trouble> {
        Release::Debian.shared()
    }

    /// A new and empty database; answers its URL.
    ///
    /// # Panics
    /// If the server does not make it.
    pub fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("annals_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The URL of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's version, such as 15.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.programs.version
    }

    /// Runs SQL in a database with psql; answers its output, unadorned.
    ///
    /// # Panics
    /// If it fails.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = Command::new(self.programs.clients.join("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--set", "ON_ERROR_STOP=1", "--dbname", &self.url(database)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut run = || -> io::Result<std::process::Output> {
            let mut child = psql.spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(sql.as_bytes())?;
            }
            child.wait_with_output()
        };
        match run() {
            Ok(output) if output.status.success() => {
                String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
            }
            Ok(output) => panic!("psql: {}\n{sql}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => panic!("psql: {error}"),
        }
    }

    /// Stops it at once and without warning, as a crash does.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&self) {
        let pid = self.pid().unwrap_or_else(|| panic!("the server does not run"));
        // Its children notice, and go too.
        let _ = kill_process(pid, Signal::KILL);
        self.join();
    }

    /// Stops it as for a restart: sessions are ended, nothing is lost.
    pub fn stop(&self) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, Signal::INT);
        }
        self.join();
    }

    /// Starts it again on the same data and port.
    ///
    /// # Errors
    /// What it said, if it does not start.
    pub fn resume(&self) -> Result<(), String> {
        let mut patience = Patience::of(PATIENCE);
        loop {
            if !self.is_under_way() {
                // It does not start while a killed one's children are still about.
                let child = spawn_bound(self.command(&self.programs.server.join("postgres")))
                    .map_err(|error| format!("start PostgreSQL: {error}"))?;
                *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
            }
            if self.answers() {
                return Ok(());
            }
            if patience.is_over() {
                let log = fs::read_to_string(self.path("log")).unwrap_or_default();
                return Err(format!("PostgreSQL does not start: {log}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_under_way(&self) -> bool {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        process.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Puts a line before the others of `pg_hba.conf`, from now on.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn authenticate(&self, line: &str) -> io::Result<()> {
        let path = self.path("data/pg_hba.conf");
        let known = fs::read_to_string(&path)?;
        fs::write(&path, format!("{line}\n{known}"))?;
        if let Some(pid) = self.pid() {
            kill_process(pid, Signal::HUP)?;
        }
        Ok(())
    }

    /// Puts the tables of databases that are made from now on onto a small disk, on
    /// which so many KiB are free, and so many more can be freed. Its log stays where
    /// it was.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn on_a_small_disk(&self, free: usize, ballast: usize) -> Disk {
        let disk = Disk::mount(&self.path("small"), free, ballast);
        let tables = self.path("small/tables");
        let made = fs::create_dir(&tables).and_then(|()| give_away(&tables));
        made.unwrap_or_else(|error| panic!("{}: {error}", tables.display()));
        self.sql("postgres", &format!("CREATE TABLESPACE small LOCATION '{}'", tables.display()));
        self.sql("postgres", "ALTER DATABASE template1 SET TABLESPACE small");
        disk
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

    /// Sets it back to what [`Postgres::back_up`] has copied.
    ///
    /// # Panics
    /// If that fails.
    pub fn restore(&self) {
        self.copy_while_stopped(["backup", "data"]);
    }

    fn copy_while_stopped(&self, folders: [&str; 2]) {
        copy_while_stopped(self.directory(), folders, || self.stop(), || self.resume());
    }

    /// A database as the SQL that makes it again.
    ///
    /// # Panics
    /// If `pg_dump` fails.
    #[must_use]
    pub fn dump(&self, database: &str) -> String {
        let mut dump = Command::new(self.programs.clients.join("pg_dump"));
        dump.args(["--no-owner", "--dbname", &self.url(database)]).stdin(Stdio::null());
        match dump.output() {
            Ok(output) if output.status.success() => {
                String::from_utf8_lossy(&output.stdout).into_owned()
            }
            Ok(output) => panic!("pg_dump: {}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => panic!("pg_dump: {error}"),
        }
    }

    /// Where all its files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn initialise(&self, settings: &[&str]) -> Result<(), String> {
        let data = self.path("data");
        let mut initdb = as_user(&self.programs.server.join("initdb"));
        initdb
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"])
            .arg(format!("--username={USER}"))
            .arg("--pgdata")
            .arg(&data)
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        let output = initdb.output().map_err(|error| format!("initdb: {error}"))?;
        if !output.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let mut text = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\n\
             max_connections = 200\nlog_min_duration_statement = -1\n",
            self.port,
            self.directory.path().display(),
        );
        for setting in settings {
            text.push_str(setting);
            text.push('\n');
        }
        let path = data.join("postgresql.conf");
        fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The server. A shell waits for it and removes its data, should nobody else.
    fn command(&self, program: &Path) -> Command {
        let mut shell = as_bound_user(Path::new("sh"));
        shell
            .arg("-c")
            .arg(
                "\"$1\" -D \"$2/data\" >>\"$2/log\" 2>&1 & echo $! >\"$2/pid\"; \
                 trap 'kill -INT $!; wait; rm -rf \"$2\"; exit' TERM; wait",
            )
            .arg("sh")
            .arg(program)
            .arg(self.directory.path())
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

    /// Waits until it has gone.
    fn join(&self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut child) = process.take() {
            let _ = child.wait();
        }
    }

    fn answers(&self) -> bool {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
            && Command::new(self.programs.clients.join("pg_isready"))
                .args(["--quiet", "--host=127.0.0.1", &format!("--port={}", self.port)])
                .status()
                .is_ok_and(|status| status.success())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A command that runs as a user whom PostgreSQL accepts.
fn as_user(program: &Path) -> Command {
    match user().as_slice() {
        [] => Command::new(program),
        flags => setpriv(flags, program),
    }
}

/// The same, told to end when this process does; a change of user would undo that
/// later.
pub(crate) fn as_bound_user(program: &Path) -> Command {
    let mut flags = user();
    flags.push("--pdeathsig=TERM".to_owned());
    setpriv(&flags, program)
}

/// What makes `setpriv` change the user, if that is needed.
fn user() -> Vec<String> {
    if !geteuid().is_root() {
        return Vec::new();
    }
    vec![format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".to_owned()]
}

fn setpriv(flags: &[String], program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(flags).arg("--").arg(program);
    command
}

/// Gives a file or directory to that user.
pub(crate) fn give_away(path: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let passwd = fs::read_to_string("/etc/passwd")?;
    let fields = passwd.lines().find_map(|line| line.strip_prefix(&format!("{USER}:")));
    let mut numbers = fields.into_iter().flat_map(|rest| rest.split(':').skip(1));
    let mut next = || numbers.next().and_then(|number| number.parse().ok());
    chown(path, next(), next())
}

/// Starts a command that is told when its parent ends. To the kernel that is the
/// thread that started it, so that a thread stays for as long as this process.
pub(crate) fn spawn_bound(mut command: Command) -> io::Result<Child> {
    let (answer, answered) = mpsc::channel();
    std::thread::Builder::new().name("annals-testbed".to_owned()).spawn(move || {
        let _ = answer.send(command.spawn());
        loop {
            std::thread::park();
        }
    })?;
    answered.recv().unwrap_or_else(|_| Err(io::Error::other("its thread ended")))
}
