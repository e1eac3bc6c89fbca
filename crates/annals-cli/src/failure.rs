//! How a command ends that did not do what it was asked: one line that says
//! what happened, one hint, and the exit status.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use annals::config::Faults;
use annals::{Error, ErrorKind};

use crate::render::shown;
use crate::render::style::{BAD, HINT};

/// Something failed.
const FAILED: u8 = 1;
/// The command was used wrongly.
const USAGE: u8 = 2;
/// `doctor` or `verify` found something wrong.
const FOUND_WRONG: u8 = 3;

/// Why a command ends without having done all it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    /// Each becomes one `error:` line; none if all has been said already.
    messages: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    /// Something went wrong.
    pub(crate) fn failed(message: impl Display) -> Self {
        Self { status: FAILED, messages: vec![message.to_string()], hint: None }
    }

    /// The command was called wrongly.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self { status: USAGE, messages: vec![message.to_string()], hint: None }
    }

    /// It was done in part, and what was not has been named already.
    pub(crate) fn partly() -> Self {
        Self { status: FAILED, messages: Vec::new(), hint: None }
    }

    /// Something is wrong with what was looked at, and has been named already.
    pub(crate) fn found_wrong() -> Self {
        Self { status: FOUND_WRONG, messages: Vec::new(), hint: None }
    }

    /// With what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What to do about it.
    pub(crate) fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Says it on stderr, and gives the exit status.
    pub(crate) fn report(&self) -> ExitCode {
        let mut stderr = anstream::stderr().lock();
        // There is nowhere left to complain to if stderr is gone.
        let _ = self.write(&mut stderr);
        ExitCode::from(self.status)
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        for message in &self.messages {
            writeln!(to, "{BAD}error:{BAD:#} {}", shown(message))?;
        }
        match &self.hint {
            Some(hint) => writeln!(to, "{HINT}hint:{HINT:#} {}", shown(hint)),
            None => Ok(()),
        }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.messages.join("; "))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = if error.kind() == ErrorKind::Usage { USAGE } else { FAILED };
        let message = format!("{}: {}", error.doing(), error.found());
        Self { status, messages: vec![message], hint: error.advice().map(str::to_owned) }
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        let messages = faults.list().iter().map(ToString::to_string).collect();
        Self { status: USAGE, messages, hint: None }
    }
}

impl From<io::Error> for Failure {
    /// An error of writing the output. A reader that left, such as `head`, has
    /// what it wanted, and that is no failure.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { status: 0, messages: Vec::new(), hint: None };
        }
        Self::failed(format!("write the output: {error}"))
    }
}
