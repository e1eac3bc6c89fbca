//! A value of PHP's as JSON, as Symfony's serializer would write it.
//!
//! An array with the keys 0, 1, 2, … is an array, any other an object; an object is
//! the object of its properties, whoever may see them; an enum is its case's name,
//! since its value is not written; a date is a text of RFC 3339; what is not UTF-8 is `{"base64":"…"}`; INF and NAN are
//! texts. Where a value would contain itself stands `"*RECURSION*"`, as in `print_r`.

use std::collections::{HashMap, HashSet};

use super::{Document, Index, Key, Value};

/// What stands for a value within itself.
const RECURSION: &str = "\"*RECURSION*\"";

/// How deep the JSON may nest: what an event can hold, less where it is put.
const MAX_NESTING: usize = 48;

impl Document<'_> {
    /// The value as compact JSON of at most so many bytes.
    ///
    /// # Errors
    /// If it has more, or nests deeper than an event may.
    pub fn json(&self, index: Index, most: usize) -> Result<String, String> {
        let mut writer = Writer { document: self, out: String::new(), most, open: Vec::new() };
        writer.value(index)?;
        Ok(writer.out)
    }
}

struct Writer<'d, 'a> {
    document: &'d Document<'a>,
    out: String,
    most: usize,
    /// The values that the next one stands in.
    open: Vec<Index>,
}

impl Writer<'_, '_> {
    fn value(&mut self, index: Index) -> Result<(), String> {
        if self.out.len() > self.most {
            return Err(format!("has more than {} bytes as JSON", self.most));
        }
        let index = self.document.target(index);
        match self.document.value(index) {
            Value::Null | Value::Reference(_) => self.out.push_str("null"),
            Value::Bool(true) => self.out.push_str("true"),
            Value::Bool(false) => self.out.push_str("false"),
            Value::Int(number) => self.out.push_str(&number.to_string()),
            Value::Float(text) => self.float(text),
            Value::Text(text) => self.text(text),
            Value::Enum { case, .. } => self.text(case),
            Value::Opaque { class, data } => {
                self.out.push_str("{\"class\":");
                self.text(class);
                self.out.push_str(",\"data\":");
                self.text(data);
                self.out.push('}');
            }
            Value::Array(elements) => self.elements(index, elements, is_list(elements), b"")?,
            Value::Object { class, properties } => match self.document.date(index) {
                Some(date) if properties.len() == 3 => self.text(date.to_string().as_bytes()),
                _ => self.elements(index, properties, false, class)?,
            },
        }
        Ok(())
    }

    fn elements(
        &mut self,
        index: Index,
        elements: &[(Key<'_>, Index)],
        list: bool,
        class: &[u8],
    ) -> Result<(), String> {
        if self.open.contains(&index) {
            self.out.push_str(RECURSION);
            return Ok(());
        }
        if self.open.len() >= MAX_NESTING {
            return Err(format!("nests deeper than {MAX_NESTING} levels"));
        }
        self.open.push(index);
        self.out.push(if list { '[' } else { '{' });
        let mut names = Names::of(class, elements);
        for (place, (key, value)) in elements.iter().enumerate() {
            if place > 0 {
                self.out.push(',');
            }
            if !list {
                let name = names.unique(key);
                self.text(name.as_bytes());
                self.out.push(':');
            }
            self.value(*value)?;
        }
        self.out.push(if list { ']' } else { '}' });
        self.open.pop();
        Ok(())
    }

    fn float(&mut self, text: &str) {
        // Written by PHP: 0.1, 1, -0, 1.0E-7, 1.0E+25.
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => {
                let plain = text.strip_prefix('+').unwrap_or(text);
                match serde_json::from_str::<&serde_json::value::RawValue>(plain) {
                    Ok(raw) if plain.contains(['.', 'e', 'E']) => self.out.push_str(raw.get()),
                    Ok(raw) => {
                        self.out.push_str(raw.get());
                        self.out.push_str(".0");
                    }
                    // Such as `.5` or `1.`, which PHP reads and never writes.
                    Err(_) => self.out.push_str(&format!("{number:?}")),
                }
            }
            _ => self.text(text.as_bytes()),
        }
    }

    fn text(&mut self, text: &[u8]) {
        match std::str::from_utf8(text) {
            // A text can always be written.
            Ok(text) => self.out.push_str(&serde_json::to_string(text).unwrap_or_default()),
            Err(_) => {
                self.out.push_str("{\"base64\":\"");
                self.out.push_str(&super::writer::base64(text));
                self.out.push_str("\"}");
            }
        }
    }
}

fn is_list(elements: &[(Key<'_>, Index)]) -> bool {
    let mut expected = 0;
    elements.iter().all(|(key, _)| {
        let fits = *key == Key::Int(expected);
        expected += 1;
        fits
    })
}

/// The names of one object's keys: a parent's and a child's private properties may
/// have the same, and a key that is not UTF-8 may look like another.
#[derive(Default)]
struct Names {
    /// Each, and how many more of it there were.
    taken: HashMap<String, u32>,
    /// Of an object that also has a parent's private properties: the others.
    own: HashSet<String>,
    class: Vec<u8>,
}

impl Names {
    /// An object's own properties have their names before a parent's private ones do.
    fn of(class: &[u8], elements: &[(Key<'_>, Index)]) -> Self {
        let mut names = Self::default();
        let of_a_parent = |key: &Key<'_>| key.owner().is_some_and(|owner| owner != class);
        if elements.iter().any(|(key, _)| of_a_parent(key)) {
            let own = elements.iter().filter(|(key, _)| !of_a_parent(key));
            names.own = own.map(|(key, _)| key.name().into_owned()).collect();
            names.class = class.to_vec();
        }
        names
    }

    fn unique(&mut self, key: &Key<'_>) -> String {
        let name = key.name().into_owned();
        let owner = key.owner().filter(|owner| *owner != self.class);
        let free = owner.is_none() || !self.own.contains(&name);
        if free && self.take(&name) {
            return name;
        }
        // With the class that it belongs to, which makes it another.
        let name = match key {
            Key::Text(text) => {
                String::from_utf8_lossy(text).trim_start_matches('\0').replace('\0', "::")
            }
            Key::Int(_) => name,
        };
        if self.take(&name) {
            return name;
        }
        loop {
            let times = self.taken.entry(name.clone()).or_default();
            *times += 1;
            let numbered = format!("{name}#{}", *times + 1);
            if self.take(&numbered) {
                return numbered;
            }
        }
    }

    fn take(&mut self, name: &str) -> bool {
        let free = !self.taken.contains_key(name);
        if free {
            self.taken.insert(name.to_owned(), 0);
        }
        free
    }
}
