//! A Redis server, or a cluster of them: reached through a few connections, on a
//! thread of its own.
//!
//! Shared by the transports. All of a server's work runs on that thread's small
//! runtime, so that it serves callers under any executor, and callers whose own
//! runtime has ended; a call that its caller gave up is finished all the same.
//! Commands of all callers go through one connection side by side; what waits has
//! another. Each call ends in a bounded time, and a connection that has ended is
//! opened again by the next one.

mod explain;
mod link;
mod promises;
mod script;
mod settings;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, FromRedisValue};

use crate::error::{Error, ErrorKind, Result};
use crate::runtime::Runtime;
use crate::url::without_secrets;
use explain::explain;
use link::{Asking, Lane, Links};
pub use promises::Promises;
pub(crate) use script::{Call, Script};
use settings::Settings;

/// The first version whose scripts say what they may do.
const FIRST_VERSION: u32 = 7;

/// The connections to one server.
pub(crate) struct Server {
    links: Arc<Links>,
    url: String,
    what: &'static str,
    runtime: Runtime,
}

impl Server {
    /// The server of a `redis://` or `rediss://` URL (a backend's word may follow the
    /// scheme: `redis+list://`), to which the first call connects. `what` it is for
    /// goes into messages: "the transport". The parameters in `own` are kept for the
    /// backend ([`Server::option`]).
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a URL that cannot be understood.
    pub(crate) fn new(url: &str, what: &'static str, own: &[&str]) -> Result<Self> {
        let shown = without_secrets(url);
        let doing = format!("open {what} {shown}");
        let settings = Settings::of(url, &doing, own)?;
        let runtime = Runtime::start("annals-redis")
            .map_err(|error| Error::new(ErrorKind::Away, doing, format!("no thread: {error}")))?;
        Ok(Self { links: Arc::new(Links::new(settings)), url: shown, what, runtime })
    }

    /// Sees to it that the server can serve us.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if it is too old; otherwise why it cannot be reached.
    pub(crate) async fn check(&self) -> Result<()> {
        let version = self.info("connect to", "redis_version").await?.unwrap_or_default();
        let major = version.split('.').next().and_then(|major| major.parse().ok());
        match major {
            Some(..FIRST_VERSION) => {
                let found = format!("the server is Redis {version}");
                Err(Error::new(ErrorKind::Usage, self.doing("open"), found)
                    .hint("use Redis 7 or newer, or Valkey"))
            }
            _ => Ok(()),
        }
    }

    /// What the server says of itself under a name; of a cluster, what one node says.
    pub(crate) async fn info(
        &self,
        doing: &'static str,
        name: &'static str,
    ) -> Result<Option<String>> {
        let info: redis::Value = self.command(doing, redis::cmd("INFO")).await?;
        Ok(first_line(&info, &format!("{name}:")))
    }

    /// What is being done with it, for messages: "open the transport …".
    pub(crate) fn doing(&self, what: &str) -> String {
        format!("{what} {} {}", self.what, self.url)
    }

    /// The server's URL, without password.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A parameter of the URL that is the backend's.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        let mut options = self.links.settings.options.iter();
        options.find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether it is a cluster, where all keys of a script share a hash tag.
    pub(crate) fn cluster(&self) -> bool {
        self.links.settings.cluster()
    }

    /// Runs a command. An error is told as having happened while `doing` something.
    pub(crate) async fn command<T>(&self, doing: &'static str, command: Cmd) -> Result<T>
    where
        T: FromRedisValue + Send + 'static,
    {
        self.call(doing, Lane::Calls, Duration::ZERO, Asking::Command(command)).await
    }

    /// Runs a script; its text follows only if the server does not know it.
    pub(crate) async fn script<T>(&self, doing: &'static str, call: Call) -> Result<T>
    where
        T: FromRedisValue + Send + 'static,
    {
        self.call(doing, Lane::Calls, Duration::ZERO, Asking::Script(call)).await
    }

    /// Runs a script, and waits at most `wait` until so many replicas have what it
    /// wrote; answers how many have. Not in a cluster, where that is the server's to
    /// ask for.
    pub(crate) async fn confirmed<T>(
        &self,
        doing: &'static str,
        call: Call,
        replicas: u32,
        wait: Duration,
    ) -> Result<(T, u32)>
    where
        T: FromRedisValue + Send + 'static,
    {
        let asking = Asking::Confirmed { call, replicas, wait };
        self.call(doing, Lane::Confirming, wait, asking).await
    }

    /// Runs a command that the server answers when something has come, `wait` later
    /// at the latest, on a connection that only such commands use.
    pub(crate) async fn wait_for<T>(
        &self,
        doing: &'static str,
        command: Cmd,
        wait: Duration,
    ) -> Result<T>
    where
        T: FromRedisValue + Send + 'static,
    {
        self.call(doing, Lane::Reading, wait, Asking::Command(command)).await
    }

    async fn call<T>(
        &self,
        doing: &'static str,
        lane: Lane,
        beyond: Duration,
        asking: Asking,
    ) -> Result<T>
    where
        T: FromRedisValue + Send + 'static,
    {
        let links = Arc::clone(&self.links);
        let work = async move { links.ask(lane, beyond, asking).await };
        let answer = match self.runtime.spawn(work).await {
            Ok(answer) => answer,
            Err(_) => {
                let what = "its thread has stopped";
                let doing = format!("use {}", self.url);
                return Err(Error::new(ErrorKind::Closed, doing, what));
            }
        };
        answer
            .and_then(|value| Ok(redis::from_redis_value(value)?))
            .map_err(|error| explain(format!("{doing} {}", self.url), error))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The rest of the first line that begins so, in what one server or all of a
/// cluster's say.
fn first_line(info: &redis::Value, name: &str) -> Option<String> {
    match info {
        redis::Value::Map(all) => all.iter().find_map(|(_, one)| first_line(one, name)),
        redis::Value::BulkString(text) => {
            let text = String::from_utf8_lossy(text);
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(|rest| rest.trim().to_owned())
        }
        redis::Value::VerbatimString { text, .. } => {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(|rest| rest.trim().to_owned())
        }
        _ => None,
    }
}
