//! What is wrong with an event, in words.

use std::fmt::{self, Write as _};

use super::json::{JsonFault, MAX_FAULTS};

/// Everything that is wrong with an event, by field; the first 20 faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFault {
    faults: Vec<(String, String)>,
}

impl EventFault {
    /// Keeps the first [`MAX_FAULTS`] faults, and says so if there are more.
    pub(super) fn from_list(mut faults: Vec<(String, String)>) -> Result<(), Self> {
        if faults.is_empty() {
            return Ok(());
        }
        if faults.len() > MAX_FAULTS {
            faults.truncate(MAX_FAULTS);
            faults.push((String::new(), "and more".to_owned()));
        }
        for (field, what) in &mut faults {
            bound(field);
            bound(what);
        }
        Err(Self { faults })
    }

    pub(crate) fn single(field: impl Into<String>, what: impl Into<String>) -> Self {
        let (mut field, mut what) = (field.into(), what.into());
        bound(&mut field);
        bound(&mut what);
        Self { faults: vec![(field, what)] }
    }

    /// Each field's name and what is wrong with it.
    #[must_use]
    pub fn faults(&self) -> &[(String, String)] {
        &self.faults
    }
}

impl fmt::Display for EventFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (field, what)) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            if !field.is_empty() {
                write_visibly(f, field)?;
                f.write_str(": ")?;
            }
            write_visibly(f, what)?;
        }
        Ok(())
    }
}

impl std::error::Error for EventFault {}

/// Cuts a text that may quote what was sent, however long that was.
fn bound(text: &mut String) {
    const KEPT: usize = 600;
    if let Some((cut, _)) = text.char_indices().nth(KEPT) {
        text.truncate(cut);
        text.push('…');
    }
}

/// Writes a text that a stranger may have chosen: what a terminal would obey, or
/// what would turn the direction of writing, is escaped.
fn write_visibly(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for character in text.chars() {
        let obeyed = character.is_control()
            || matches!(
                character,
                '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            );
        if obeyed {
            write!(f, "{}", character.escape_default())?;
        } else {
            f.write_char(character)?;
        }
    }
    Ok(())
}

/// Bytes that are not an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError(String);

impl DecodeError {
    pub(crate) fn json(error: &serde_json::Error) -> Self {
        Self(error.to_string())
    }

    pub(crate) fn field(name: &str, what: impl fmt::Display) -> Self {
        Self(format!("{name}: {what}"))
    }

    pub(super) fn value(fault: &JsonFault) -> Self {
        Self(fault.to_string())
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an event: ")?;
        write_visibly(f, &self.0)
    }
}

impl std::error::Error for DecodeError {}
