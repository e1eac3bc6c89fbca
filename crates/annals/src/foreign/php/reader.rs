//! The reader: one pass over the bytes.

use std::borrow::Cow;

use super::{Document, Fault, Index, Key, MAX_DEPTH, MAX_VALUES, Node, Value};

pub(super) fn read(input: &[u8]) -> Result<Document<'_>, Fault> {
    let document = Document { input, nodes: Vec::new(), slots: Vec::new(), references: Vec::new() };
    let mut reader = Reader { input, at: 0, document, opaque: false };
    reader.value(0)?;
    if reader.at < input.len() {
        return Err(reader.expected("nothing more"));
    }
    Ok(reader.document)
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    document: Document<'a>,
    /// Whether an object in a format of its own came by: how many values it numbered
    /// is not known.
    opaque: bool,
}

impl<'a> Reader<'a> {
    fn expected(&self, what: impl Into<String>) -> Fault {
        let found = match self.input.get(self.at) {
            None => "the end".to_owned(),
            Some(byte) => format!("{:?}", char::from(*byte)),
        };
        Fault { offset: self.at, expected: what.into(), found }
    }

    /// A fault of what begins at `offset`.
    fn fault(offset: usize, expected: impl Into<String>, found: impl Into<String>) -> Fault {
        Fault { offset, expected: expected.into(), found: found.into() }
    }

    fn byte(&mut self, wanted: u8) -> Result<(), Fault> {
        if self.input.get(self.at) != Some(&wanted) {
            return Err(self.expected(format!("{:?}", char::from(wanted))));
        }
        self.at += 1;
        Ok(())
    }

    /// What stands before the next `end`, which is passed over.
    fn until(&mut self, end: u8, what: &str) -> Result<&'a str, Fault> {
        // Numbers are short; a float has at most some 330 characters.
        let window = &self.input[self.at..self.input.len().min(self.at + 400)];
        let found = window.iter().position(|byte| *byte == end);
        let text = found.and_then(|length| std::str::from_utf8(&window[..length]).ok());
        let text = text.ok_or_else(|| self.expected(what))?;
        self.at += text.len() + 1;
        Ok(text)
    }

    fn number<T: std::str::FromStr>(&mut self, end: u8, what: &str) -> Result<T, Fault> {
        let start = self.at;
        let text = self.until(end, what)?;
        text.parse().map_err(|_| Self::fault(start, what, format!("{text:?}")))
    }

    /// `LENGTH:"BYTES"`
    fn quoted(&mut self) -> Result<&'a [u8], Fault> {
        let start = self.at;
        let length: usize = self.number(b':', "a length")?;
        self.byte(b'"')?;
        let text = self.at.checked_add(length).and_then(|end| self.input.get(self.at..end));
        let text = text.ok_or_else(|| {
            let left = self.input.len() - self.at;
            Self::fault(start, format!("a text of {length} bytes"), format!("{left} bytes"))
        })?;
        self.at += length;
        self.byte(b'"')?;
        Ok(text)
    }

    /// `LENGTH:"BYTES"` of `S`, in which `\61` is one byte.
    fn escaped(&mut self) -> Result<Vec<u8>, Fault> {
        let start = self.at;
        let length: usize = self.number(b':', "a length")?;
        self.byte(b'"')?;
        let mut text = Vec::with_capacity(length.min(self.input.len() - self.at));
        while text.len() < length {
            let Some(byte) = self.input.get(self.at) else {
                return Err(Self::fault(start, format!("a text of {length} bytes"), "the end"));
            };
            if *byte == b'\\' {
                let digits = self.input.get(self.at + 1..self.at + 3);
                let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
                let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                text.push(value.ok_or_else(|| self.expected("\\ and two hexadecimal digits"))?);
                self.at += 3;
            } else {
                text.push(*byte);
                self.at += 1;
            }
        }
        self.byte(b'"')?;
        Ok(text)
    }

    /// A value. Answers where it is kept.
    fn value(&mut self, depth: usize) -> Result<Index, Fault> {
        let start = self.at;
        if depth > MAX_DEPTH {
            let found = format!("more than {MAX_DEPTH} levels");
            return Err(Self::fault(start, "less nesting", found));
        }
        if self.document.nodes.len() >= MAX_VALUES {
            return Err(Self::fault(start, format!("at most {MAX_VALUES} values"), "more"));
        }
        let Some(kind) = self.input.get(self.at).copied() else {
            return Err(self.expected("a value"));
        };
        let index = Index::of(self.document.nodes.len());
        let before = self.document.slots.len();
        let node = Node { value: Value::Null, bytes: start..start, slots: before..before };
        self.document.nodes.push(node);
        // A reference with `R` is the value that it means, and has no number of its own.
        if kind != b'R' {
            self.document.slots.push(index);
        }
        self.at += 1;
        let value = if kind == b'N' {
            self.byte(b';')?;
            Value::Null
        } else {
            if self.input.get(self.at) != Some(&b':') {
                self.at = start;
                return Err(self.expected("a value"));
            }
            self.at += 1;
            self.of_kind(kind, start, before, depth)?
        };
        let after = self.document.slots.len();
        self.document.nodes[index.0 as usize] =
            Node { value, bytes: start..self.at, slots: before..after };
        Ok(index)
    }

    fn of_kind(
        &mut self,
        kind: u8,
        start: usize,
        before: usize,
        depth: usize,
    ) -> Result<Value<'a>, Fault> {
        Ok(match kind {
            b'b' => match self.number::<u8>(b';', "0 or 1")? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                other => return Err(Self::fault(start + 2, "0 or 1", other.to_string())),
            },
            b'i' => Value::Int(self.number(b';', "a whole number of 64 bits")?),
            b'd' => Value::Float(self.float()?),
            b's' => {
                let text = self.quoted()?;
                self.byte(b';')?;
                Value::Text(Cow::Borrowed(text))
            }
            b'S' => {
                let text = self.escaped()?;
                self.byte(b';')?;
                Value::Text(Cow::Owned(text))
            }
            b'a' => Value::Array(self.elements(depth)?),
            b'O' => {
                let class = self.quoted()?;
                self.byte(b':')?;
                Value::Object { class: plain(class), properties: self.elements(depth)? }
            }
            b'E' => {
                let text = self.quoted()?;
                self.byte(b';')?;
                let colon = text.iter().rposition(|byte| *byte == b':');
                let Some(colon) = colon else {
                    return Err(Self::fault(start, "an enum's Class:Case", "no colon"));
                };
                Value::Enum { class: plain(&text[..colon]), case: &text[colon + 1..] }
            }
            b'C' => self.opaque()?,
            b'R' | b'r' => {
                let said: usize = self.number(b';', "the number of a value")?;
                self.refer(start, said, before)?
            }
            _ => {
                self.at = start;
                return Err(self.expected("a value"));
            }
        })
    }

    /// What a reference means: one of the values before it.
    fn refer(&mut self, start: usize, said: usize, before: usize) -> Result<Value<'a>, Fault> {
        if self.opaque {
            let found = "one behind an object that serialized itself";
            return Err(Self::fault(start, "no reference", found));
        }
        let meant = said.checked_sub(1).filter(|place| *place < before);
        let meant = meant.and_then(|place| self.document.slots.get(place));
        let Some(meant) = meant.copied() else {
            let found = format!("one to value {said}, and there are {before}");
            return Err(Self::fault(start, "a reference to an earlier value", found));
        };
        self.document.references.push((start..self.at, said));
        // Straight to the value, so that no chain of references is ever walked twice.
        Ok(Value::Reference(self.document.target(meant)))
    }

    fn float(&mut self) -> Result<&'a str, Fault> {
        let start = self.at;
        let text = self.until(b';', "a number")?;
        let named = matches!(text, "INF" | "-INF" | "NAN");
        let digits = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        if named || (digits && text.parse::<f64>().is_ok()) {
            return Ok(text);
        }
        Err(Self::fault(start, "a number", format!("{text:?}")))
    }

    /// `COUNT:{KEY VALUE …}`
    fn elements(&mut self, depth: usize) -> Result<Vec<(Key<'a>, Index)>, Fault> {
        let count: usize = self.number(b':', "a number of elements")?;
        self.byte(b'{')?;
        // An element has at least six bytes: `i:0;N;`.
        let left = self.input.len() - self.at;
        let mut elements = Vec::with_capacity(count.min(left / 6).min(MAX_VALUES));
        for _ in 0..count {
            let key = self.key()?;
            elements.push((key, self.value(depth + 1)?));
        }
        self.byte(b'}')?;
        Ok(elements)
    }

    fn key(&mut self) -> Result<Key<'a>, Fault> {
        let kind = self.input.get(self.at..self.at + 2);
        let key = match kind {
            Some(b"i:") => {
                self.at += 2;
                return self.number(b';', "a whole number of 64 bits").map(Key::Int);
            }
            Some(b"s:") => {
                self.at += 2;
                Key::Text(Cow::Borrowed(self.quoted()?))
            }
            Some(b"S:") => {
                self.at += 2;
                Key::Text(Cow::Owned(self.escaped()?))
            }
            _ => return Err(self.expected("a key")),
        };
        self.byte(b';')?;
        Ok(key)
    }

    /// `LENGTH:"CLASS":LENGTH:{BYTES}`
    fn opaque(&mut self) -> Result<Value<'a>, Fault> {
        let class = self.quoted()?;
        self.byte(b':')?;
        let start = self.at;
        let length: usize = self.number(b':', "a length")?;
        self.byte(b'{')?;
        let data = self.at.checked_add(length).and_then(|end| self.input.get(self.at..end));
        let data = data.ok_or_else(|| Self::fault(start, format!("{length} bytes"), "fewer"))?;
        self.at += length;
        self.byte(b'}')?;
        self.opaque = true;
        Ok(Value::Opaque { class: plain(class), data })
    }
}

/// A class without the backslash that it may begin with.
fn plain(class: &[u8]) -> &[u8] {
    class.strip_prefix(b"\\").unwrap_or(class)
}
