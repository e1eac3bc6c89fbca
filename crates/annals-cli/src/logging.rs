//! What is told on stderr while a command works.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::{Global, LogFormat};
use crate::failure::Failure;
use crate::progress::BesideBar;

/// Starts logging: warnings, with `-v` batches, with `-vv` events.
pub(crate) fn start(global: &Global) -> Result<(), Failure> {
    let level = match global.verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let targets = Targets::new().with_default(LevelFilter::WARN).with_target("annals", level);
    let registry = tracing_subscriber::registry().with(targets);
    let started = match global.log_format {
        LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(|| BesideBar);
            registry.with(layer).try_init()
        }
        LogFormat::Text => {
            let colours = io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            let layer = tracing_subscriber::fmt::layer()
                .with_ansi(colours)
                .with_target(false)
                .with_writer(|| BesideBar);
            registry.with(layer).try_init()
        }
    };
    started.map_err(|error| Failure::failed(format!("start logging: {error}")))
}
