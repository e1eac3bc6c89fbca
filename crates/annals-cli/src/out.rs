//! What goes to stdout.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::failure::Failure;

/// Stdout: text for people, whose colours vanish in a pipe, or JSON for
/// machines, one object a line, which passes as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    json: bool,
}

impl Out {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether machines read it.
    pub(crate) fn json(self) -> bool {
        self.json
    }

    /// Whether a person looks at it.
    pub(crate) fn is_terminal(self) -> bool {
        !self.json && io::stdout().is_terminal()
    }

    /// Prints a line for people.
    pub(crate) fn line(self, text: impl Display) -> Result<(), Failure> {
        Ok(writeln!(anstream::stdout().lock(), "{text}")?)
    }

    /// Prints text for people that ends its own lines.
    pub(crate) fn text(self, text: impl Display) -> Result<(), Failure> {
        Ok(write!(anstream::stdout().lock(), "{text}")?)
    }

    /// Prints one object on a line.
    pub(crate) fn object(self, object: &impl Serialize) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(object).map_err(io::Error::from)?;
        line.push(b'\n');
        let mut stdout = io::stdout().lock();
        stdout.write_all(&line)?;
        Ok(stdout.flush()?)
    }

    /// Prints a remark on stderr, out of the way of whatever reads the output.
    pub(crate) fn note(self, text: impl Display) {
        // A remark that nobody can read is no reason to fail.
        let _ = writeln!(anstream::stderr().lock(), "{text}");
    }
}
