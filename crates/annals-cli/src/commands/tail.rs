//! `annals tail`: follow new events.

use std::time::Duration;

use annals::seal::Opener;
use annals::store::{Store, Stored};
use clap::Args;

use super::query::{Reveal, Row, open, readable};
use crate::failure::Failure;
use crate::render::line::{Clock, line};
use crate::session::Session;
use crate::signals::Signals;

/// How often to look for new events.
const PAUSE: Duration = Duration::from_millis(200);

/// Events to read at a time.
const WINDOW: usize = 500;

/// Follow new events
#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// Begin with this many of the latest events
    #[arg(short = 'n', long, default_value_t = 10, value_name = "N")]
    lines: u64,
    #[command(flatten)]
    reveal: Reveal,
}

impl Tail {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        let mut signals = Signals::listen()?;
        if let Some(remote) = session.remote() {
            session.here_only("--reveal", self.reveal.is_wanted())?;
            let following = remote.follow(self.lines, |stored| show(session, stored));
            return tokio::select! {
                _ = signals.next() => Ok(()),
                ended = following => ended,
            };
        }
        let store = session.store().await?;
        let from = store.stats().await?.size.saturating_sub(self.lines);
        let opener = self.reveal.opener(session, &store).await?;
        tokio::select! {
            _ = signals.next() => Ok(()),
            ended = follow(session, &*store, opener.as_ref(), from) => ended,
        }
    }
}

fn show(session: &Session, stored: &Stored) -> Result<(), Failure> {
    match session.out.json() {
        true => session.out.object(&Row::of(stored)?),
        false => session.out.line(readable(stored, |event| line(event, Clock::Date))),
    }
}

/// Positions are given without gaps and never change, so the next one to read is
/// all there is to remember.
async fn follow(
    session: &Session,
    store: &dyn Store,
    opener: Option<&Opener>,
    mut from: u64,
) -> Result<(), Failure> {
    loop {
        let mut window = store.window(from, WINDOW).await?;
        open(opener, &mut window).await?;
        for stored in &window {
            show(session, stored)?;
            from = stored.position + 1;
        }
        if window.is_empty() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}
