//! Follows a server's events, and goes on where it was when the connection ends.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use annals::store::Stored;
use tokio::sync::mpsc;

use super::Remote;
use super::store::Row;
use crate::failure::Failure;
use crate::render::style::WARN;

/// How long to wait before connecting again.
const PAUSE: Duration = Duration::from_secs(1);

/// Events that wait to be shown.
const WAITING: usize = 1_000;

/// How one connection ended.
enum End {
    /// Nobody wants to see more.
    Unwanted,
    /// The connection ended.
    Cut,
    /// The server refused.
    Refused(Failure),
}

impl Remote {
    /// Shows each new event, the last `lines` first, for ever.
    pub(crate) async fn follow(
        &self,
        lines: u64,
        mut show: impl FnMut(&Stored) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (sender, mut events) = mpsc::channel(WAITING);
        let remote = self.clone();
        let following = tokio::task::spawn_blocking(move || remote.listen(lines, &sender));
        while let Some(row) = events.recv().await {
            show(&Row::stored(row)?)?;
        }
        following.await.unwrap_or_else(|error| Err(Failure::failed(error)))
    }

    fn listen(&self, lines: u64, events: &mpsc::Sender<Row>) -> Result<(), Failure> {
        let mut last = None;
        let mut begun = false;
        loop {
            match self.connection(lines, &mut last, &mut begun, events) {
                End::Unwanted => return Ok(()),
                End::Refused(failure) => return Err(failure),
                // A server that was never there is told of at once.
                End::Cut if !begun => {
                    return Err(Failure::failed(format!("ask {}: it is not there", self.url))
                        .hint("check that the server runs, and its URL"));
                }
                End::Cut => {
                    let told = format!("{WARN}warning:{WARN:#} the connection ended; going on");
                    crate::out::Out::new(false).note(told);
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    fn connection(
        &self,
        lines: u64,
        last: &mut Option<u64>,
        begun: &mut bool,
        events: &mpsc::Sender<Row>,
    ) -> End {
        let asked = self.agent.get(format!("{}/v1/tail", self.url));
        let asked = asked.header("Authorization", format!("Bearer {}", self.key));
        let asked = match *last {
            Some(last) => asked.header("Last-Event-ID", last.to_string()),
            None => asked.query("last", lines.to_string()),
        };
        let Ok(mut answer) = asked.call() else { return End::Cut };
        if answer.status().as_u16() != 200 {
            let status = answer.status().as_u16();
            let body = answer.body_mut().read_to_vec().unwrap_or_default();
            let refused = self.right(super::Answer { status, body });
            // A server that is going down or coming up is asked again.
            return match refused {
                Err(failure) if status < 500 || !*begun => End::Refused(failure),
                _ => End::Cut,
            };
        }
        *begun = true;
        let mut id = None;
        for line in BufReader::new(answer.body_mut().as_reader()).lines() {
            let Ok(line) = line else { return End::Cut };
            if let Some(given) = line.strip_prefix("id: ") {
                id = given.parse().ok();
            } else if let Some(data) = line.strip_prefix("data: ") {
                let Ok(row) = serde_json::from_str(data) else { return End::Cut };
                if events.blocking_send(row).is_err() {
                    return End::Unwanted;
                }
            } else if line.is_empty() {
                *last = id.or(*last);
            }
        }
        End::Cut
    }
}
