//! Checkpoints as messages of syslog.
//!
//! One message a checkpoint, from which the signed note can be had again:
//!
//! ```text
//! checkpoint origin=ORIGIN size=SIZE root=BASE64 note=BASE64
//! ```
//!
//! To a server it goes as RFC 5424 has it, over UDP (RFC 5426) or TCP with counted octets
//! (RFC 6587); to the system's socket in the older form that `syslog(3)` writes.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Zoned;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket, UnixDatagram};
use tokio::time::timeout;

use crate::event::Timestamp;
use crate::log::SignedCheckpoint;

/// Facility "log audit" (13), severity "notice" (5).
const PRIORITY: u8 = 13 * 8 + 5;

/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the system's own log listens.
const SOCKET: &str = "/dev/log";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Syslog {
    Local(PathBuf),
    Udp(String),
    Tcp(String),
}

impl Syslog {
    pub(super) async fn send(&self, checkpoint: &SignedCheckpoint) -> io::Result<()> {
        let head = checkpoint.head();
        let message = format!(
            "checkpoint origin={} size={} root={} note={}",
            head.origin,
            head.size,
            STANDARD.encode(head.root),
            STANDARD.encode(checkpoint.to_string())
        );
        match timeout(PATIENCE, self.write(&message)).await {
            Ok(sent) => sent,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the log took too long")),
        }
    }

    async fn write(&self, message: &str) -> io::Result<()> {
        let pid = std::process::id();
        let remote = || {
            let now = Timestamp::now();
            format!("<{PRIORITY}>1 {now} - annals {pid} checkpoint - {message}")
        };
        match self {
            Self::Local(path) => {
                let now = Zoned::now().strftime("%b %e %H:%M:%S").to_string();
                let line = format!("<{PRIORITY}>{now} annals[{pid}]: {message}");
                UnixDatagram::unbound()?.send_to(line.as_bytes(), path).await?;
            }
            Self::Udp(server) => {
                let mut addresses = tokio::net::lookup_host(server).await?;
                let address = addresses.next().ok_or_else(|| {
                    io::Error::new(io::ErrorKind::NotFound, "its name has no address")
                })?;
                let here = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                UdpSocket::bind(here).await?.send_to(remote().as_bytes(), address).await?;
            }
            Self::Tcp(server) => {
                let mut stream = TcpStream::connect(server).await?;
                let line = remote();
                stream.write_all(format!("{} {line}", line.len()).as_bytes()).await?;
                stream.shutdown().await?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Syslog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "syslog:{}", path.display()),
            Self::Udp(server) => write!(f, "syslog://{server}"),
            Self::Tcp(server) => write!(f, "syslog+tcp://{server}"),
        }
    }
}

impl FromStr for Syslog {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let server = |host: &str, port: u16| {
            let host = host.trim_end_matches('/');
            let bare = host.rsplit_once(']').map_or(host, |(_, behind)| behind);
            match bare.rsplit_once(':') {
                _ if host.is_empty() => Err(format!("{text:?} names no log server")),
                Some((_, given)) if given.parse::<u16>().is_ok() => Ok(host.to_owned()),
                Some(_) => Err(format!("{text:?} has no port behind its colon")),
                None => Ok(format!("{host}:{port}")),
            }
        };
        if let Some(host) = text.strip_prefix("syslog+tcp://") {
            return server(host, 601).map(Self::Tcp);
        }
        if let Some(host) = text.strip_prefix("syslog://") {
            return server(host, 514).map(Self::Udp);
        }
        match text.strip_prefix("syslog:") {
            Some("") => Ok(Self::Local(PathBuf::from(SOCKET))),
            Some(path) => Ok(Self::Local(PathBuf::from(path))),
            None => Err(format!(
                "{text:?} is no log server: use syslog:, syslog://HOST or syslog+tcp://HOST"
            )),
        }
    }
}
