//! The command `annals`: takes events in, works the queue, reads the trail and
//! looks after it.

mod args;
mod ask;
mod commands;
mod demo;
mod failure;
mod keeper;
mod lines;
mod logging;
mod out;
mod progress;
mod remote;
mod render;
mod session;
mod signals;
mod when;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::failure::Failure;
use crate::session::Session;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::failed(format!("start: {error}")).report(),
    };
    let outcome = runtime.block_on(run(cli));
    // Nothing that still waits, such as a read of stdin, may hold up the exit.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    logging::start(&cli.global)?;
    let session = Session::open(&cli)?;
    Box::pin(commands::run(cli.command, session)).await
}
