//! Lua scripts: each is one step that nobody sees half of.

use std::sync::OnceLock;
use std::time::Duration;

use redis::{Arg, Cmd, RedisError, RedisResult, ToRedisArgs, Value};

use super::link::Link;

/// A script, known to servers by the hash of its text.
pub(crate) struct Script {
    text: &'static str,
    hash: OnceLock<String>,
}

impl Script {
    pub(crate) const fn new(text: &'static str) -> Self {
        Self { text, hash: OnceLock::new() }
    }

    /// A call of it with its keys, to which its arguments are added.
    pub(crate) fn on(&'static self, keys: &[&str]) -> Call {
        let hash = self.hash.get_or_init(|| redis::Script::new(self.text).get_hash().to_owned());
        let mut command = redis::cmd("EVALSHA");
        command.arg(hash).arg(keys.len()).arg(keys);
        Call { text: self.text, command }
    }
}

/// A script with its keys and arguments.
pub(crate) struct Call {
    text: &'static str,
    command: Cmd,
}

impl Call {
    /// Adds an argument, or several: texts, bytes or numbers.
    pub(crate) fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        self.command.arg(argument);
        self
    }

    pub(super) async fn run(self, link: &mut Link) -> RedisResult<Value> {
        match self.command.query_async(link).await {
            Err(error) if is_unknown(&error) => self.in_full().query_async(link).await,
            answer => answer,
        }
    }

    /// Runs it, and answers what it said and how many replicas have what it wrote.
    pub(super) async fn run_confirmed(
        self,
        link: &mut Link,
        replicas: u32,
        wait: Duration,
    ) -> RedisResult<Value> {
        let confirmed = |command: Cmd| {
            let mut pipeline = redis::pipe();
            pipeline.add_command(command);
            let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            pipeline.cmd("WAIT").arg(replicas).arg(wait);
            pipeline
        };
        match confirmed(self.command.clone()).query_async(link).await {
            Err(error) if is_unknown(&error) => confirmed(self.in_full()).query_async(link).await,
            answer => answer,
        }
    }

    /// The same with the script's text, which the server then knows.
    fn in_full(&self) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(self.text);
        for argument in self.command.args_iter().skip(2) {
            if let Arg::Simple(bytes) = argument {
                command.arg(bytes);
            }
        }
        command
    }
}

fn is_unknown(error: &RedisError) -> bool {
    error.kind() == redis::ErrorKind::Server(redis::ServerErrorKind::NoScript)
}
