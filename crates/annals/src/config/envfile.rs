//! An application's own `.env`: variables as phpdotenv and its like read them.
//!
//! `NAME=value`, with or without `export`; values in double quotes may hold escapes
//! and, like those without quotes, `${NAME}`; those in single quotes are taken as they
//! stand. `#` begins a comment at the start of a line, or behind a blank.

use std::path::Path;

use super::fault::{Fault, Origin};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of such a file, at most.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A file of variables, not yet looked into.
#[derive(Clone, Debug)]
pub struct EnvFile {
    /// Its name, for messages.
    pub name: String,
    /// What stands in it.
    pub text: String,
}

/// One variable, and where it was set.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) origin: Origin,
}

impl EnvFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when it is not there, cannot be read, is no text or is over
    /// a megabyte.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let wrong = |found: String| {
            Error::new(ErrorKind::Usage, format!("read the variables of {name}"), found)
        };
        let bytes = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
        if bytes > MAX_FILE_BYTES {
            return Err(wrong(format!("{bytes} bytes, over the limit of {MAX_FILE_BYTES}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { name, text })
    }

    /// Its variables; a line that is none is added to `faults`. What the process's
    /// `environment` sets counts in `${NAME}`, as it does for the application.
    pub(super) fn variables(
        &self,
        environment: &[(String, String)],
        faults: &mut Vec<Fault>,
    ) -> Vec<Variable> {
        let mut found: Vec<Variable> = Vec::new();
        let mut rest = self.text.as_str();
        while !rest.is_empty() {
            let line = self.text[..self.text.len() - rest.len()].matches('\n').count() + 1;
            let end = rest.find('\n').map_or(rest.len(), |end| end + 1);
            let text = rest[..end].trim();
            let assigned = text.strip_prefix("export ").unwrap_or(text);
            if text.is_empty() || text.starts_with('#') {
                rest = &rest[end..];
                continue;
            }
            let origin = Origin::File(self.name.clone(), line);
            let Some((name, _)) = assigned.split_once('=').filter(|(name, _)| is_name(name.trim()))
            else {
                faults.push(Fault::new(origin, "expected NAME=value"));
                rest = &rest[end..];
                continue;
            };
            // A value in quotes may go over several lines.
            let value = &rest[rest.find('=').map_or(0, |at| at + 1)..];
            let look_up = |wanted: &str| {
                let outside = environment.iter().find(|(name, _)| name == wanted);
                let inside = || found.iter().rfind(|one| one.name == wanted);
                outside.map(|(_, value)| value.clone()).or_else(|| Some(inside()?.value.clone()))
            };
            match read_value(value, look_up) {
                Ok((value, behind)) => {
                    let name = name.trim().to_owned();
                    found.retain(|one| one.name != name);
                    found.push(Variable { name, value, origin });
                    rest = behind.split_once('\n').map_or("", |(_, next)| next);
                }
                Err(what) => {
                    faults.push(Fault::new(origin, what));
                    rest = &rest[end..];
                }
            }
        }
        found
    }
}

fn is_name(name: &str) -> bool {
    let letter = |first: char| first.is_ascii_alphabetic() || first == '_';
    name.starts_with(letter)
        && name.chars().all(|one| letter(one) || one.is_ascii_digit() || one == '.')
}

/// Reads a value; answers it and what stands behind it.
fn read_value(
    text: &str,
    look_up: impl Fn(&str) -> Option<String>,
) -> std::result::Result<(String, &str), String> {
    let text = text.trim_start_matches([' ', '\t']);
    if let Some(inner) = text.strip_prefix('\'') {
        let end = inner.find('\'').ok_or("a ' opens a value and does not close it")?;
        return Ok((inner[..end].to_owned(), &inner[end + 1..]));
    }
    if let Some(inner) = text.strip_prefix('"') {
        let (mut value, mut letters) = (String::new(), inner.char_indices());
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => return Ok((with_names(&value, look_up), &inner[at + 1..])),
                '\\' => match letters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, 'r')) => value.push('\r'),
                    Some((_, 't')) => value.push('\t'),
                    Some((_, other)) => value.push(other),
                    None => break,
                },
                other => value.push(other),
            }
        }
        return Err("a \" opens a value and does not close it".to_owned());
    }
    let line = text.split('\n').next().unwrap_or_default();
    let comment = line.find(" #").or_else(|| line.find("\t#"));
    let value = match line.starts_with('#') {
        true => "",
        false => line[..comment.unwrap_or(line.len())].trim(),
    };
    Ok((with_names(value, look_up), &text[line.len()..]))
}

/// Puts the values of `${NAME}` in; an unknown one stays as it stands.
fn with_names(value: &str, look_up: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, behind)) = rest.split_once("${") {
        out.push_str(before);
        let named =
            behind.split_once('}').and_then(|(name, behind)| Some((look_up(name)?, behind)));
        match named {
            Some((known, behind)) => {
                out.push_str(&known);
                rest = behind;
            }
            None => {
                out.push_str("${");
                rest = behind;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let file = EnvFile { name: ".env".to_owned(), text: text.to_owned() };
        let mut faults = Vec::new();
        let found = file.variables(&[("HOST".to_owned(), "outside".to_owned())], &mut faults);
        assert_eq!(faults, []);
        found.into_iter().map(|one| (one.name, one.value)).collect()
    }

    #[test]
    fn values_are_read_as_applications_read_them() {
        let text = "# comment\nAPP_NAME=\"My \\\"Shop\\\"\"\nexport A = plain value # not this\nB='${A} #'\n\
                    C=\"${A}/${HOST}/${NOBODY}\"\nD=\nE=a#b\nF=null\nG=\"two\nlines\"\nA=later\nH=${A}\n\tI=#\r\n";
        let wanted = [
            ("APP_NAME", "My \"Shop\""),
            ("B", "${A} #"),
            ("C", "plain value/outside/${NOBODY}"),
            ("D", ""),
            ("E", "a#b"),
            ("F", "null"),
            ("G", "two\nlines"),
            ("A", "later"),
            ("H", "later"),
            ("I", ""),
        ];
        assert_eq!(read(text), wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_is_no_variable_is_named_by_its_line() {
        let text = "A=1\nnonsense\nB=\"open\nC=3\n=x\n";
        let file = EnvFile { name: ".env".to_owned(), text: text.to_owned() };
        let mut faults = Vec::new();
        let found = file.variables(&[], &mut faults);
        assert_eq!(found.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["A", "C"]);
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                ".env:2: expected NAME=value",
                ".env:3: a \" opens a value and does not close it",
                ".env:5: expected NAME=value",
            ]
        );
    }
}
