//! What to try next.

use std::env;
use std::path::Path;

use annals::Entity;

use crate::failure::Failure;
use crate::render::style::{BOLD, DIM, HINT};
use crate::session::{DEFAULT_FILE, Session};

/// Prints commands that work as they stand, on the data that the demo left.
pub(super) fn suggest(session: &Session, product: &Entity) -> Result<(), Failure> {
    let (program, flags) = (program(), flags(session));
    let history = format!("history {product}");
    let tries = [
        (history.as_str(), "all that happened to it"),
        ("query --actor user:7", "what Jo Doe did"),
        ("query --outcome denied", "who tried what they may not"),
        ("query --changed price --since 5m", "the latest changes of prices"),
        ("stats", "what queue and store hold"),
        ("tail", "new events as they come; run the demo again beside it"),
    ];
    session.out.line(format!("\n{BOLD}Try next{BOLD:#}\n"))?;
    let width = tries.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    for (command, what) in tries {
        let gap = width - command.len();
        session.out.line(format!(
            "  {HINT}{program} {command}{flags}{HINT:#}{:gap$}   {DIM}{what}{DIM:#}",
            ""
        ))?;
    }
    Ok(())
}

/// How this command was called: through cargo, which tells so, or by its name.
fn program() -> String {
    if env::var_os("CARGO").is_some() {
        return "cargo run --release --".to_owned();
    }
    env::args().next().map_or_else(|| "annals".to_owned(), |name| quoted(&name))
}

/// The flags without which the commands would look elsewhere.
fn flags(session: &Session) -> String {
    let mut flags = String::new();
    if session.config.data_dir != Path::new("annals-data") {
        flags.push_str(" --data-dir ");
        flags.push_str(&quoted(&session.config.data_dir.to_string_lossy()));
    }
    if session.file != Path::new(DEFAULT_FILE) {
        flags.push_str(" --config ");
        flags.push_str(&quoted(&session.file.to_string_lossy()));
    }
    flags
}

/// As a POSIX shell reads it as one word.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,~".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("target/release/annals"), "target/release/annals");
        assert_eq!(quoted("my data"), "'my data'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
