//! `annals.toml`, with the line of every value.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Origin};
use super::load::Layer;
use super::rules;
use super::setting::{SETTINGS, Setting};
use super::suggest::closest;
use super::value::Given;
use crate::error::{Error, ErrorKind, Result};
use crate::retention::Policy;

/// The rules of retention, which are no settings: tables, and any number of them.
const RULES: &str = "retention.rule";

/// Bytes of a configuration file, at most.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A configuration file, not yet looked into.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// Its name, for messages.
    pub name: String,
    /// What stands in it.
    pub text: String,
}

impl ConfigFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when it is not there, cannot be read, is no text or
    /// is over a megabyte.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let wrong = |found: String| {
            Error::new(ErrorKind::Usage, format!("read the configuration {name}"), found)
        };
        let bytes = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
        if bytes > MAX_FILE_BYTES {
            return Err(wrong(format!("{bytes} bytes, over the limit of {MAX_FILE_BYTES}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { name, text })
    }

    /// What the file sets, and its rules of retention; what it sets wrongly is added to
    /// `faults`.
    pub(super) fn layer(&self, faults: &mut Vec<Fault>) -> (Layer, Policy) {
        let (layer, policy) = (Vec::new(), Policy::default());
        let mut read = Reader { file: self, broken: Vec::new(), layer, policy, faults };
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        for error in errors {
            let line = read.line(error.span().map_or(0, |span| span.start));
            read.broken.push(line);
            let fault = Fault::new(
                read.at(line),
                format!("not TOML: {}", error.message().replace('\n', ", ")),
            );
            read.faults.push(fault);
        }
        read.table("", table.get_ref());
        (read.layer, read.policy)
    }
}

struct Reader<'a> {
    file: &'a ConfigFile,
    /// Lines that are not TOML; what the parser makes of them is not reported.
    broken: Vec<usize>,
    layer: Layer,
    policy: Policy,
    faults: &'a mut Vec<Fault>,
}

impl Reader<'_> {
    fn line(&self, offset: usize) -> usize {
        line_of(self.file, offset)
    }

    fn at(&self, line: usize) -> Origin {
        Origin::File(self.file.name.clone(), line)
    }

    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let line = self.line(name.span().start);
            if self.broken.contains(&line) {
                continue;
            }
            let key = if prefix.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{prefix}.{}", name.get_ref())
            };
            match (Setting::find(&key), value.get_ref()) {
                (Some(setting), value) => {
                    let origin = self.at(line);
                    self.layer.push((setting, origin, given(value)));
                }
                (None, DeValue::Array(tables)) if key == RULES => {
                    let file = self.file;
                    let at = |offset| Origin::File(file.name.clone(), line_of(file, offset));
                    self.policy = rules::policy(tables, &at, self.faults);
                }
                (None, DeValue::Table(inner)) if is_section(&key) => self.table(&key, inner),
                (None, value) => self.unknown(&key, line, value),
            }
        }
    }

    fn unknown(&mut self, key: &str, line: usize, value: &DeValue<'_>) {
        let what = if is_section(key) {
            let example =
                SETTINGS.iter().find(|setting| setting.key.starts_with(&format!("{key}.")));
            let example = example.map_or("", |setting| setting.key);
            format!("`{key}` is a section, not a setting; write [{key}], or set `{example}`")
        } else if let (DeValue::Table(_), Some(section)) = (value, closest(key, sections())) {
            format!("unknown section [{key}]; did you mean [{section}]?")
        } else {
            match closest(key, SETTINGS.iter().map(|setting| setting.key)).or_else(|| moved(key)) {
                Some(near) => format!("unknown setting `{key}`; did you mean `{near}`?"),
                None => format!("unknown setting `{key}`; `annals config` lists them all"),
            }
        };
        let origin = self.at(line);
        self.faults.push(Fault::new(origin, what));
    }
}

fn line_of(file: &ConfigFile, offset: usize) -> usize {
    let before = &file.text.as_bytes()[..offset.min(file.text.len())];
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The setting of another section that has the same last name.
fn moved(key: &str) -> Option<&'static str> {
    let last = key.rsplit('.').next()?;
    SETTINGS.iter().map(|setting| setting.key).find(|known| known.rsplit('.').next() == Some(last))
}

fn sections() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().filter_map(|setting| setting.key.split_once('.')).map(|(section, _)| section)
}

fn is_section(key: &str) -> bool {
    sections().any(|section| section == key)
}

fn given(value: &DeValue<'_>) -> Given {
    match value {
        DeValue::String(text) => Given::Text(text.to_string()),
        DeValue::Integer(number) => Given::Number(number.to_string()),
        DeValue::Array(list) => {
            let text = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
                DeValue::String(text) => Ok(text.to_string()),
                other => Err(format!("a list that holds {}", describe(other))),
            };
            match list.iter().map(text).collect() {
                Ok(texts) => Given::Texts(texts),
                Err(found) => Given::Other(found),
            }
        }
        other => Given::Other(describe(other)),
    }
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(time) => format!("the time {time}"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
