//! What long tests came to, in docs/testing.md.
//!
//! A test leaves `target/test-outcomes/NAME.json`: an object with the texts
//! `test`, `date` and `outcome`. Each becomes a row of the table.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::root;

const BEGIN: &str = "<!-- outcomes: written by `cargo xtask test --full` -->\n";
const END: &str = "<!-- end of outcomes -->\n";

/// Forgets those of earlier runs.
pub(crate) fn forget() -> Result<(), String> {
    match fs::remove_dir_all(folder()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", folder().display()))
        }
        _ => Ok(()),
    }
}

/// Replaces the table.
pub(crate) fn write() -> Result<(), String> {
    let page = root().join("docs/testing.md");
    let text = read(&page)?;
    let (before, rest) =
        text.split_once(BEGIN).ok_or("docs/testing.md has no place for outcomes")?;
    let (_, after) = rest.split_once(END).ok_or("docs/testing.md: the outcomes have no end")?;
    let table = table(&folder())?;
    fs::write(&page, format!("{before}{BEGIN}{table}{END}{after}"))
        .map_err(|error| format!("{}: {error}", page.display()))
}

fn table(folder: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let files: std::io::Result<Vec<_>> = fs::read_dir(folder).map_err(failed)?.collect();
    let mut paths: Vec<PathBuf> = files.map_err(failed)?.iter().map(fs::DirEntry::path).collect();
    paths.sort();
    let mut table = "| test | date | outcome |\n|---|---|---|\n".to_owned();
    for path in paths {
        let outcome: Value = serde_json::from_str(&read(&path)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let text = |name: &str| outcome[name].as_str().unwrap_or("?").to_owned();
        table.push_str(&format!("| {} | {} | {} |\n", text("test"), text("date"), text("outcome")));
    }
    Ok(table)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Leaves what something of ours came to, as a test does.
pub(crate) fn leave(name: &str, test: &str, outcome: &str) -> Result<(), String> {
    let path = folder().join(format!("{name}.json"));
    let date = crate::machine::today();
    let line = serde_json::json!({ "test": test, "date": date, "outcome": outcome });
    fs::create_dir_all(folder())
        .and_then(|()| fs::write(&path, format!("{line}\n")))
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn folder() -> PathBuf {
    target().join("test-outcomes")
}

/// The target folder of the tests.
pub(crate) fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    root().join(target.unwrap_or_else(|| "target".into()))
}
