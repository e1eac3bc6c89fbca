//! What stands between a test and its server.

use std::fmt;
use std::io::{self, Write};

/// Why a test has no server.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// Its programs are not on this machine, and cannot be installed.
    Missing(String),
    /// They are, and did not do what they were asked to.
    Broken(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Missing(why) | Self::Broken(why)) = self;
        f.write_str(why)
    }
}

impl std::error::Error for Trouble {}

/// What went wrong once the programs were there.
impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self::Broken(why)
    }
}

impl From<Trouble> for String {
    fn from(trouble: Trouble) -> Self {
        trouble.to_string()
    }
}

/// What a test does without its server: nothing, and it says why. With `CI` set
/// that is a failure, since there nothing may be skipped unseen.
///
/// # Panics
/// If the server's programs are there and it does not run; with `CI` set, also if
/// they are not to be had.
pub fn required<T>(server: Result<T, Trouble>) -> Option<T> {
    match server {
        Ok(server) => Some(server),
        Err(Trouble::Missing(why)) if std::env::var_os("CI").is_none() => {
            skip(&why);
            None
        }
        Err(trouble) => panic!("a server is not to be had: {trouble}"),
    }
}

/// Says that a test is skipped, past the harness, which keeps to itself what a test
/// that passes has printed.
pub(crate) fn skip(why: &str) {
    let _ = writeln!(io::stderr(), "skipped: {why}");
}
