//! Lines that nobody is to see: neither on the terminal nor in the shell's history.

use std::io::{self, BufRead, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::failure::Failure;

/// Reads a line from standard input; at a terminal it asks for it, and shows nothing of it.
pub(crate) fn secret_line(prompt: &str) -> Result<String, Failure> {
    let stdin = io::stdin();
    let failed = |error: io::Error| Failure::failed(format!("read standard input: {error}"));
    let mut line = String::new();
    if stdin.is_terminal() {
        let _hidden = Hidden::begin();
        let mut stderr = anstream::stderr();
        let asked = write!(stderr, "{prompt}").and_then(|()| stderr.flush());
        asked.map_err(failed)?;
        stdin.lock().read_line(&mut line).map_err(failed)?;
        let _ = writeln!(stderr);
    } else {
        stdin.lock().read_line(&mut line).map_err(failed)?;
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// The terminal shows nothing that is typed, as long as this lives.
struct Hidden(Option<Termios>);

impl Hidden {
    fn begin() -> Self {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin).ok();
        if let Some(before) = &before {
            let mut hidden = before.clone();
            hidden.local_modes.remove(LocalModes::ECHO);
            // A terminal that cannot is one that shows it.
            let _ = tcsetattr(&stdin, OptionalActions::Now, &hidden);
        }
        Self(before)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}
