//! `annals config`: every setting, its value and where it came from.

use annals::config::Origin;
use clap::Args;
use serde_json::json;

use super::retention::described;
use crate::failure::Failure;
use crate::render::shown;
use crate::render::style::{BOLD, DIM};
use crate::render::table::Table;
use crate::session::Session;

/// Show every setting, its value and where it came from
#[derive(Debug, Args)]
pub(crate) struct Config {}

impl Config {
    pub(crate) fn run(&self, session: &Session) -> Result<(), Failure> {
        if session.out.json() {
            for resolved in &session.config.settings {
                session.out.object(&json!({
                    "key": resolved.setting.key,
                    "value": resolved.value,
                    "origin": resolved.origin.to_string(),
                    "variable": resolved.setting.variable(),
                }))?;
            }
            for rule in session.config.retention.policy.rules() {
                session.out.object(&json!({
                    "key": "retention.rule",
                    "value": described(rule),
                    "origin": session.file.display().to_string(),
                }))?;
            }
            return Ok(());
        }
        let mut table = Table::new(&["SETTING", "VALUE", "FROM"]);
        for resolved in &session.config.settings {
            let style = if resolved.origin == Origin::Default { DIM } else { BOLD };
            let value = resolved.value.as_deref().unwrap_or("(not set)");
            let origin = resolved.origin.to_string();
            table.styled(style, [resolved.setting.key, &shown(value), &shown(&origin)]);
        }
        let file = session.file.display().to_string();
        for rule in session.config.retention.policy.rules() {
            table.styled(BOLD, ["retention.rule", &shown(&described(rule)), &shown(&file)]);
        }
        session.out.text(table)
    }
}
