//! `annals init`: a commented annals.toml.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;

use annals::config::template;
use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::render::shown;
use crate::session::Session;

/// Write a commented annals.toml
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Overwrite a file that is there
    #[arg(long)]
    force: bool,
}

impl Init {
    pub(crate) fn run(&self, session: &Session) -> Result<(), Failure> {
        let name = session.file.display().to_string();
        let mut options = OpenOptions::new();
        // The URLs in it may hold passwords one day.
        options.write(true).mode(0o600);
        if self.force {
            options.create(true).truncate(true);
        } else {
            options.create_new(true);
        }
        let written =
            options.open(&session.file).and_then(|mut file| file.write_all(template().as_bytes()));
        written.map_err(|error| {
            let failure = Failure::failed(format!("write {name}: {error}"));
            match error.kind() {
                ErrorKind::AlreadyExists => {
                    failure.hint("--force overwrites it; --config FILE names another")
                }
                _ => failure,
            }
        })?;
        if session.out.json() {
            return session.out.object(&json!({ "written": name }));
        }
        session.out.line(format!("wrote {}; nothing in it is set until you edit it", shown(&name)))
    }
}
