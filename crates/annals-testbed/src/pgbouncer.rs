//! PgBouncer before a PostgreSQL server, in transaction mode.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::Trouble;
use crate::packages::install;
use crate::patience::Patience;
use crate::postgres::{Postgres, USER, as_bound_user, free_port, give_away, spawn_bound};

/// Where Debian puts it.
const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A pooler of its own; stopped when dropped.
#[derive(Debug)]
pub struct PgBouncer {
    directory: TempDir,
    port: u16,
    process: Child,
}

impl PgBouncer {
    /// Starts one that lends this many connections of the server to any number of
    /// clients, each for one transaction.
    ///
    /// # Errors
    /// Why there is none to be had, or what it said.
    pub fn start(server: &Postgres, connections: u32) -> Result<Self, Trouble> {
        if !Path::new(PROGRAM).exists() {
            install(&["pgbouncer"])?;
        }
        let failed = |error: io::Error| format!("start PgBouncer: {error}");
        let directory = tempfile::Builder::new().prefix("annals-pgb-").tempdir().map_err(failed)?;
        give_away(directory.path()).map_err(failed)?;
        let port = free_port().map_err(failed)?;
        let path = |name: &str| directory.path().join(name);
        let users = path("users");
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
             pool_mode = transaction\ndefault_pool_size = {connections}\nmax_client_conn = 500\n",
            server.port(),
            users.display(),
        );
        fs::write(&users, format!("\"{USER}\" \"\"\n")).map_err(failed)?;
        fs::write(path("settings.ini"), settings).map_err(failed)?;
        let log = fs::File::create(path("log")).map_err(failed)?;
        let mut command: Command = as_bound_user(Path::new(PROGRAM));
        command.arg(path("settings.ini")).current_dir(directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = spawn_bound(command).map_err(failed)?;
        let pooler = Self { directory, port, process };
        let mut patience = Patience::of(PATIENCE);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if patience.is_over() {
                return Err(format!("PgBouncer does not start: {}", pooler.log()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(pooler)
    }

    /// The URL under which a database of the server is reached through it.
    #[must_use]
    pub fn through(&self, server: &Postgres, url: &str) -> String {
        url.replace(&format!(":{}/", server.port()), &format!(":{}/", self.port))
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let _ = self.process.wait();
    }
}
