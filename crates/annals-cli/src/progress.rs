//! The progress bar of a drain, and log lines that do not tear it.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::Duration;

use annals::worker::Gauge;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::render::size::count;

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(100);

/// The bar on the terminal, if there is one.
static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// Shows on stderr how many of `waiting` events are done, until it is dropped.
pub(crate) struct Progress(());

impl Progress {
    pub(crate) fn show(waiting: u64) -> Self {
        let rate = |state: &ProgressState, to: &mut dyn std::fmt::Write| {
            // Rounded down; a rate is never negative.
            let whole = format!("{:.0}", state.per_sec()).parse().unwrap_or(0);
            let _ = write!(to, "{}/s", count(whole));
        };
        let style = ProgressStyle::with_template(
            "{bar:40} {human_pos} of {human_len} events, {rate}, {eta} left",
        );
        let bar = ProgressBar::new(waiting);
        bar.set_style(
            style.unwrap_or_else(|_| ProgressStyle::default_bar()).with_key("rate", rate),
        );
        // A command shows one bar.
        let _ = BAR.set(bar);
        Self(())
    }

    /// Moves it, and says how far there is to go.
    pub(crate) fn set(&self, position: u64, of: u64) {
        if let Some(bar) = BAR.get() {
            bar.set_length(of);
            bar.set_position(position);
        }
    }

    /// Follows a worker for ever.
    pub(crate) async fn follow(&self, gauge: &Gauge) -> Never {
        loop {
            tokio::time::sleep(TICK).await;
            let figures = gauge.read();
            if let Some(bar) = BAR.get() {
                bar.set_position(figures.stored + figures.duplicates + figures.failed);
            }
        }
    }
}

/// What is never there.
pub(crate) enum Never {}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = BAR.get() {
            bar.finish_and_clear();
        }
    }
}

/// Standard error, with the bar taken away while something is written.
pub(crate) struct BesideBar;

impl Write for BesideBar {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match BAR.get() {
            Some(bar) => bar.suspend(|| io::stderr().write(line)),
            None => io::stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
