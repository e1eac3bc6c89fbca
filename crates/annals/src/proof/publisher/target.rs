//! Where a checkpoint is published.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::syslog::Syslog;
use crate::command;
use crate::error::{Error, ErrorKind, Result};
use crate::log::SignedCheckpoint;
use crate::proof::durable::replace;
use crate::proof::http::Http;
use crate::url::without_secrets;

/// Where a checkpoint is published.
///
/// | text | what |
/// |---|---|
/// | `file:PATH` | a file that is replaced whole each time |
/// | `exec:COMMAND` | a command of the shell, with the checkpoint on its input; it must end with status 0 |
/// | `http://…`, `https://…` | a POST; anything but 2xx is a failure |
/// | `syslog:`, `syslog:PATH` | the system's log, at `/dev/log` or that socket |
/// | `syslog://HOST[:PORT]` | a log server, UDP, port 514 |
/// | `syslog+tcp://HOST[:PORT]` | a log server, TCP, port 601 |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    File(PathBuf),
    Command(String),
    Http(String),
    Syslog(Syslog),
}

impl Target {
    pub(super) async fn publish(&self, http: &Http, checkpoint: &SignedCheckpoint) -> Result<()> {
        let note = checkpoint.to_string();
        let published = match &self.0 {
            Kind::File(path) => {
                let path = path.clone();
                let write = move || replace(&path, note.as_bytes());
                match tokio::task::spawn_blocking(write).await {
                    Ok(written) => written.map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                }
            }
            Kind::Command(command) => {
                command::run(command, note.as_bytes(), &mut Vec::new(), 0).await
            }
            Kind::Http(url) => match http.post(url.clone(), note).await {
                Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
                Ok(answer) => Err(answer.said()),
                Err(found) => Err(found),
            },
            Kind::Syslog(syslog) => {
                syslog.send(checkpoint).await.map_err(|error| error.to_string())
            }
        };
        published.map_err(|found| {
            let size = checkpoint.head().size;
            let doing = format!("publish the checkpoint of size {size} to {self}");
            Error::new(ErrorKind::Away, doing, found)
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::File(path) => write!(f, "file:{}", path.display()),
            Kind::Command(command) => write!(f, "exec:{command}"),
            Kind::Http(url) => f.write_str(&without_secrets(url)),
            Kind::Syslog(syslog) => syslog.fmt(f),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kind = match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Kind::File(PathBuf::from(path)),
            Some(("exec", command)) if !command.trim().is_empty() => {
                Kind::Command(command.to_owned())
            }
            Some(("http" | "https", rest)) if rest.starts_with("//") => Kind::Http(text.to_owned()),
            Some(("syslog" | "syslog+tcp", _)) => Kind::Syslog(text.parse()?),
            _ => {
                return Err(format!(
                    "{:?} is nowhere to publish to: use file:PATH, exec:COMMAND, https://…, syslog: \
                     or syslog://HOST",
                    without_secrets(text)
                ));
            }
        };
        Ok(Self(kind))
    }
}
