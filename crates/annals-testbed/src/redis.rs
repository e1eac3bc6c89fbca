//! Redis servers.
//!
//! Debian's redis-tools holds the server too, under the name of a checker that is
//! the same program: it is what its first argument says it is. So nothing is
//! installed that would start a service of its own.

mod cluster;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::Trouble;
use crate::certificates::Certificates;
use crate::packages::install;
use crate::patience::Patience;
use crate::postgres::{free_port, spawn_bound};

pub use cluster::RedisCluster;

/// Settings under which what was answered survives any crash.
pub const DURABLE: [&str; 2] = ["appendonly yes", "appendfsync always"];

/// Where Debian puts the server, the client, and the server within redis-tools.
const SERVER: &str = "/usr/bin/redis-server";
const CLIENT: &str = "/usr/bin/redis-cli";
const SAME: &str = "/usr/bin/redis-check-rdb";

/// How long a start or a stop may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server of its own; stopped and removed when dropped.
#[derive(Debug)]
pub struct Redis {
    directory: TempDir,
    port: u16,
    tls: Option<PathBuf>,
    process: Mutex<Option<Child>>,
}

impl Redis {
    /// Starts a server that keeps nothing on disk, unless these lines of its
    /// configuration say so ([`DURABLE`]).
    ///
    /// # Errors
    /// Why there is no Redis to be had, or what it said.
    pub fn start(settings: &[&str]) -> Result<Self, Trouble> {
        Self::start_with(settings, None)
    }

    /// Starts a server that speaks TLS alone, with these certificates.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub fn start_with_tls(certificates: &Certificates, settings: &[&str]) -> Result<Self, Trouble> {
        Self::start_with(settings, Some(certificates))
    }

    /// Starts a copy of a server, which follows it and can be read only.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub fn replica_of(primary: &Self, settings: &[&str]) -> Result<Self, Trouble> {
        let of = format!("replicaof 127.0.0.1 {}", primary.port);
        let settings: Vec<&str> = [of.as_str()].iter().chain(settings).copied().collect();
        Self::start(&settings)
    }

    fn start_with(settings: &[&str], tls: Option<&Certificates>) -> Result<Self, Trouble> {
        let failed = |error: io::Error| format!("start Redis: {error}");
        have_programs()?;
        let directory =
            tempfile::Builder::new().prefix("annals-redis-").tempdir().map_err(failed)?;
        if !Path::new(SERVER).exists() {
            symlink(SAME, directory.path().join("redis-server")).map_err(failed)?;
        }
        fs::create_dir(directory.path().join("data")).map_err(failed)?;
        let port = free_port().map_err(failed)?;
        let mut text = format!(
            "bind 127.0.0.1\ndir {}\nsave \"\"\nrepl-diskless-sync-delay 0\n",
            directory.path().join("data").display()
        );
        match tls {
            None => text.push_str(&format!("port {port}\n")),
            Some(certificates) => {
                text.push_str(&format!("port 0\ntls-port {port}\ntls-auth-clients no\n"));
                for setting in certificates.redis_settings() {
                    text.push_str(&format!("{setting}\n"));
                }
            }
        }
        for setting in settings {
            text.push_str(&format!("{setting}\n"));
        }
        fs::write(directory.path().join("redis.conf"), text).map_err(failed)?;
        let tls = tls.map(Certificates::authority);
        let server = Self { directory, port, tls, process: Mutex::default() };
        server.resume()?;
        Ok(server)
    }

    /// The URL of its first database, without a query.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.tls {
            None => format!("redis://127.0.0.1:{}/0", self.port),
            Some(_) => format!("rediss://localhost:{}/0", self.port),
        }
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs redis-cli with these arguments; answers its output, unadorned.
    ///
    /// # Panics
    /// If it cannot be run, or the server answers with an error.
    pub fn cli(&self, arguments: &[&str]) -> String {
        self.try_cli(arguments).unwrap_or_else(|said| panic!("redis-cli {arguments:?}: {said}"))
    }

    /// As [`Redis::cli`].
    ///
    /// # Errors
    /// What redis-cli said.
    pub fn try_cli(&self, arguments: &[&str]) -> Result<String, String> {
        let mut cli = Command::new(CLIENT);
        cli.args(["-e", "-p", &self.port.to_string()]);
        if let Some(authority) = &self.tls {
            cli.args(["-h", "localhost", "--tls", "--cacert"]).arg(authority);
        }
        let output = cli.args(arguments).stdin(Stdio::null()).output();
        let output = output.map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(format!("{} {}", text(&output.stdout), text(&output.stderr))),
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

    /// Stops it as for a restart.
    pub fn stop(&self) {
        self.signal(Signal::TERM);
        // One that is frozen hears that only then.
        self.signal(Signal::CONT);
        self.join();
    }

    /// Lets it stand still: it accepts connections, and answers nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen one go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Starts it again on the same data and port.
    ///
    /// # Errors
    /// What it said, if it does not start.
    pub fn resume(&self) -> Result<(), String> {
        let child = spawn_bound(self.command()).map_err(|error| format!("start Redis: {error}"))?;
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        let mut patience = Patience::of(PATIENCE);
        while !self.answers() {
            let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
            let ended = process.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if ended || patience.is_over() {
                return Err(format!("Redis does not start: {}", self.log()));
            }
            drop(process);
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The server. A shell waits for it and removes its data, should nobody else; it
    /// is told when this process ends.
    fn command(&self) -> Command {
        let own = self.path("redis-server");
        let mut shell = Command::new("setpriv");
        shell
            .args(["--pdeathsig=TERM", "--", "sh", "-c"])
            .arg(
                "\"$1\" \"$2/redis.conf\" >>\"$2/log\" 2>&1 & echo $! >\"$2/pid\"; \
                 trap 'kill -KILL $!; wait; rm -rf \"$2\"; exit' TERM; wait",
            )
            .arg("sh")
            .arg(if own.exists() { own.as_path() } else { Path::new(SERVER) })
            .arg(self.directory.path())
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        shell
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, signal);
        }
    }

    /// The server's, while its shell waits for it.
    fn pid(&self) -> Option<Pid> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?;
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

    /// Whether it has read its data and takes commands.
    fn answers(&self) -> bool {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
            && self.try_cli(&["PING"]).is_ok_and(|said| said == "PONG")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // There is nothing to be kept.
        self.signal(Signal::KILL);
        self.join();
    }
}

/// Installs what is missing.
fn have_programs() -> Result<(), Trouble> {
    let there = |path: &str| Path::new(path).exists();
    if there(CLIENT) && (there(SERVER) || there(SAME)) {
        return Ok(());
    }
    install(&["redis-tools"])
}
