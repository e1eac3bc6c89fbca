//! `annals export-log DIR`: the log as files that any web server can serve.

use std::path::PathBuf;

use annals::proof;
use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::render::size::{count, plural};
use crate::session::Session;

/// Write the log's signed head and its hashes as files that any web server can serve
///
/// The files are those of C2SP tlog-tiles. They hold hashes and no events: anyone may see
/// them, and whoever keeps a copy can tell when the log was altered. Run it again into the
/// same directory, and only what is new is written.
#[derive(Debug, Args)]
pub(crate) struct ExportLog {
    /// Where to write them
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl ExportLog {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let exported = proof::export(&session.store().await?, &self.directory).await?;
        if session.out.json() {
            return session.out.object(&json!({ "size": exported.size, "tiles": exported.tiles }));
        }
        session.out.line(format!(
            "wrote a log of {} to {}: {} new",
            plural(exported.size, "event"),
            self.directory.display(),
            match exported.tiles {
                1 => "1 tile".to_owned(),
                tiles => format!("{} tiles", count(tiles)),
            },
        ))
    }
}
