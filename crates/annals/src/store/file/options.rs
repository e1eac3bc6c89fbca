//! The options of a `file:` URL.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// Where events go, and when a new file begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOptions {
    /// The current file.
    pub path: PathBuf,
    /// When a new file begins.
    pub rotate: Rotate,
    /// Which rotated files stay.
    pub keep: Keep,
    /// Whether rotated files are compressed.
    pub compress: bool,
}

/// When a new file begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotate {
    /// Never.
    Never,
    /// Before a batch that would make the file larger than so many bytes.
    Size(u64),
    /// With the first batch of a day, in UTC.
    Daily,
}

/// Which rotated files stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All.
    All,
    /// So many, the newest.
    Files(usize),
    /// Those that were rotated no longer ago.
    For(Duration),
}

impl FileOptions {
    /// A file that never rotates.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), rotate: Rotate::Never, keep: Keep::All, compress: true }
    }

    /// Reads what follows `file:`: `PATH?rotate=100MB&keep=30&compress=true`. A
    /// path that begins with `//` is one of a `file:///…` URL.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] names every option that is unknown or wrong.
    pub fn parse(location: &str) -> Result<Self> {
        let (path, query) = location.split_once('?').unwrap_or((location, ""));
        let mut faults = Vec::new();
        let mut options = Self::new(local(path, &mut faults));
        let mut seen = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if seen.contains(&key) {
                faults.push(format!("{key}: given twice"));
            }
            seen.push(key);
            if let Err(fault) = options.set(key, value) {
                faults.push(format!("{key}: {fault}"));
            }
        }
        if !seen.contains(&"rotate") {
            for key in ["keep", "compress"].iter().filter(|key| seen.contains(key)) {
                faults.push(format!("{key}: is about rotated files, so it needs rotate as well"));
            }
        }
        if faults.is_empty() {
            return Ok(options);
        }
        let doing = format!("read file:{location}");
        Err(Error::new(ErrorKind::Usage, doing, faults.join("; "))
            .hint("such as file:var/audit.log?rotate=100MB&keep=30&compress=true"))
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "rotate" => self.rotate = rotate(value)?,
            "keep" => self.keep = keep(value)?,
            "compress" => {
                self.compress = value
                    .parse()
                    .map_err(|_| format!("expected true or false, found {value:?}"))?;
            }
            _ => return Err("unknown option; known are rotate, keep and compress".to_owned()),
        }
        Ok(())
    }
}

fn local(path: &str, faults: &mut Vec<String>) -> String {
    let local = match path.strip_prefix("//") {
        None => path,
        Some(rest) if rest.starts_with('/') => rest,
        Some(rest) => {
            faults.push(format!(
                "path: {rest:?} begins with a host; write file:///PATH or file:PATH"
            ));
            rest
        }
    };
    if local.is_empty() || local.ends_with('/') {
        faults.push(format!("path: expected the path of a file, found {local:?}"));
    }
    local.to_owned()
}

fn rotate(value: &str) -> Result<Rotate, String> {
    if value == "daily" {
        return Ok(Rotate::Daily);
    }
    bytes(value)
        .filter(|size| *size > 0)
        .map(Rotate::Size)
        .ok_or_else(|| format!("expected a size such as 100MB, or daily, found {value:?}"))
}

fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text);
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn keep(value: &str) -> Result<Keep, String> {
    let (number, unit) = split(value);
    let fault =
        || format!("expected a number of files such as 30, or an age such as 90d, found {value:?}");
    let number: u64 = number.parse().ok().filter(|number| *number > 0).ok_or_else(fault)?;
    let hours: u64 = match unit {
        "" => {
            return usize::try_from(number).map(Keep::Files).map_err(|_| fault());
        }
        "h" => 1,
        "d" => 24,
        "w" => 24 * 7,
        _ => return Err(fault()),
    };
    let seconds = number.checked_mul(hours * 3600).ok_or_else(fault)?;
    Ok(Keep::For(Duration::from_secs(seconds)))
}

/// The digits that a text begins with, and what follows them.
fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len()))
}
