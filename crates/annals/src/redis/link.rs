//! A connection, and those that a server's backends share.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, Pipeline, RedisError, RedisFuture, RedisResult, RetryMethod, Value};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::script::Call;
use super::settings::Settings;

/// A connection to a server or to a cluster, on which many calls are under way at
/// once.
#[derive(Clone)]
pub(super) enum Link {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// Which connection a call is made on: one that waits holds up those behind it.
#[derive(Clone, Copy)]
pub(super) enum Lane {
    /// What is answered at once.
    Calls,
    /// What the server answers when something has come.
    Reading,
    /// What it answers when its replicas have.
    Confirming,
}

/// What is asked.
pub(super) enum Asking {
    Command(Cmd),
    Script(Call),
    /// And how many replicas have it, at most `wait` later.
    Confirmed {
        call: Call,
        replicas: u32,
        wait: Duration,
    },
}

impl Asking {
    async fn on(self, link: &mut Link) -> RedisResult<Value> {
        match self {
            Self::Command(command) => command.query_async(link).await,
            Self::Script(call) => call.run(link).await,
            Self::Confirmed { call, replicas, wait } => {
                call.run_confirmed(link, replicas, wait).await
            }
        }
    }
}

/// The connections of one server, one a lane, opened when they are first used and
/// again after each that ended.
pub(super) struct Links {
    pub(super) settings: Settings,
    lanes: [Mutex<Opened>; 3],
}

#[derive(Default)]
struct Opened {
    link: Option<Link>,
    /// How many there have been, so that only the one that failed is closed.
    number: u64,
}

impl Links {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, lanes: Default::default() }
    }

    /// Asks on a lane's connection, in the time of a call and `beyond`.
    pub(super) async fn ask(
        &self,
        lane: Lane,
        beyond: Duration,
        asking: Asking,
    ) -> RedisResult<Value> {
        let (mut link, number) = self.open(lane).await?;
        let patience = self.settings.response_timeout.saturating_add(beyond);
        let answer = timeout(patience, asking.on(&mut link)).await;
        let answer = answer.unwrap_or_else(|_| Err(no_answer(patience)));
        if let Err(error) = &answer
            && is_over(error)
        {
            let mut opened = self.lanes[lane as usize].lock().await;
            if opened.number == number {
                opened.link = None;
            }
        }
        answer
    }

    async fn open(&self, lane: Lane) -> RedisResult<(Link, u64)> {
        let mut opened = self.lanes[lane as usize].lock().await;
        if let Some(link) = &opened.link {
            return Ok((link.clone(), opened.number));
        }
        let within = self.settings.connect_timeout;
        let link =
            timeout(within, self.settings.connect()).await.map_err(|_| no_answer(within))??;
        opened.number += 1;
        opened.link = Some(link.clone());
        Ok((link, opened.number))
    }
}

/// Whether another connection may do better: to a server that is there again, or to
/// the one that is the primary now.
fn is_over(error: &RedisError) -> bool {
    use redis::{ErrorKind, ServerErrorKind};
    error.is_io_error()
        || matches!(
            error.retry_method(),
            RetryMethod::Reconnect | RetryMethod::ReconnectFromInitialConnections
        )
        || matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::ReadOnly) | ErrorKind::ClusterConnectionNotFound
        )
        || error.code() == Some("NOAUTH")
}

fn no_answer(within: Duration) -> RedisError {
    let text = format!("no answer within {within:?}");
    std::io::Error::new(std::io::ErrorKind::TimedOut, text).into()
}
