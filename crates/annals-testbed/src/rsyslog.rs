//! rsyslog, which takes messages over UDP, over TCP and from a local socket.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::Trouble;
use crate::packages::install;
use crate::patience::Patience;
use crate::postgres::{free_port, spawn_bound};

/// Where Debian puts it.
const PROGRAM: &str = "/usr/sbin/rsyslogd";

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A log server of its own; stopped when dropped.
#[derive(Debug)]
pub struct Rsyslog {
    directory: TempDir,
    port: u16,
    process: Child,
}

impl Rsyslog {
    /// Starts one that writes what it gets into a file.
    ///
    /// # Errors
    /// Why there is none to be had, or what it said.
    pub fn start() -> Result<Self, Trouble> {
        if !Path::new(PROGRAM).exists() {
            install(&["rsyslog"])?;
        }
        let failed = |error: io::Error| format!("start rsyslog: {error}");
        let directory = tempfile::Builder::new().prefix("annals-log-").tempdir().map_err(failed)?;
        let port = free_port().map_err(failed)?;
        let at = |name: &str| directory.path().join(name).display().to_string();
        let settings = format!(
            "global(workDirectory=\"{}\" maxMessageSize=\"64k\")\n\
             module(load=\"imudp\")\nmodule(load=\"imtcp\")\n\
             module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
             input(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
             input(type=\"imuxsock\" Socket=\"{}\")\n\
             template(name=\"line\" type=\"string\" string=\"%programname% %syslogpriority-text% %msg%\\n\")\n\
             action(type=\"omfile\" file=\"{}\" template=\"line\")\n",
            directory.path().display(),
            at("socket"),
            at("messages"),
        );
        fs::write(at("settings"), settings).map_err(failed)?;
        let log = fs::File::create(at("log")).map_err(failed)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig=TERM", "--", PROGRAM, "-n"]);
        command.arg("-f").arg(at("settings")).arg("-i").arg(at("pid"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = spawn_bound(command).map_err(failed)?;
        let server = Self { directory, port, process };
        let mut patience = Patience::of(PATIENCE);
        while !server.socket().exists() || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err()
        {
            if patience.is_over() {
                let said = fs::read_to_string(server.path("log")).unwrap_or_default();
                return Err(format!("rsyslog does not start: {said}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Where it listens for UDP and TCP.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its socket for messages of this machine.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path("socket")
    }

    /// The messages that it has written, a line each: program, severity and text.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("messages")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.process.wait();
    }
}
