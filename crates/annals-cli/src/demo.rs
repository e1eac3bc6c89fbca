//! `annals demo`: a sample application drives everything for a few seconds.

use clap::Args;

use crate::failure::Failure;
use crate::session::Session;

/// Watch a sample application being audited
#[derive(Debug, Args)]
pub(crate) struct Demo {}

impl Demo {
    #[expect(clippy::unused_async, reason = "the demo is written beside this")]
    pub(crate) async fn run(&self, _session: &Session) -> Result<(), Failure> {
        Err(Failure::failed("the demo is not in this build yet"))
    }
}
