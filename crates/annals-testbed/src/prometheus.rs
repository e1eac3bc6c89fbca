//! Prometheus, which asks for metrics and answers questions about them.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::Trouble;
use crate::packages::unpack;
use crate::patience::Patience;
use crate::postgres::{free_port, spawn_bound};

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program that checks rules.
///
/// # Errors
/// Why there is none to be had.
pub fn promtool() -> Result<PathBuf, Trouble> {
    Ok(unpack("prometheus")?.join("usr/bin/promtool"))
}

/// A server of its own; stopped when dropped.
#[derive(Debug)]
pub struct Prometheus {
    _directory: TempDir,
    port: u16,
    process: Child,
}

impl Prometheus {
    /// Starts one that asks these addresses, `HOST:PORT`, once a second.
    ///
    /// # Errors
    /// Why there is none to be had, or what it said.
    pub fn start(targets: &[&str]) -> Result<Self, Trouble> {
        // The package with the service would start one of its own.
        let program = unpack("prometheus")?.join("usr/bin/prometheus");
        let failed = |error: io::Error| format!("start Prometheus: {error}");
        let directory =
            tempfile::Builder::new().prefix("annals-prom-").tempdir().map_err(failed)?;
        let port = free_port().map_err(failed)?;
        let at = |name: &str| directory.path().join(name);
        let settings = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 900ms}}\nscrape_configs:\n\
             - {{job_name: annals, static_configs: [{{targets: {targets:?}}}]}}\n"
        );
        fs::write(at("settings.yml"), settings).map_err(failed)?;
        let log = fs::File::create(at("log")).map_err(failed)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig=TERM", "--"]).arg(program);
        command.arg(format!("--config.file={}", at("settings.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", at("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.current_dir(directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = spawn_bound(command).map_err(failed)?;
        let log = at("log");
        let server = Self { _directory: directory, port, process };
        let mut patience = Patience::of(PATIENCE);
        while server.get("/-/ready").is_none() {
            if patience.is_over() {
                let said = fs::read_to_string(log).unwrap_or_default();
                return Err(format!("Prometheus does not start: {said}").into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// The value that an expression has now, if it has exactly one.
    #[must_use]
    pub fn value(&self, expression: &str) -> Option<f64> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = self.get(&format!("/api/v1/query?query={encoded}"))?;
        let answer: Value = serde_json::from_str(&answer).ok()?;
        match answer["data"]["result"].as_array()?.as_slice() {
            [one] => one["value"][1].as_str()?.parse().ok(),
            _ => None,
        }
    }

    /// What it answers, if that is 200.
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.split(' ').nth(1).is_some_and(|status| status == "200").then(|| body.to_owned())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.process.wait();
    }
}
