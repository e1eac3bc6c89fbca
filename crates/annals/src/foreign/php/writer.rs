//! Changing a few elements of what was serialized, and leaving the rest to the byte.
//!
//! Values are numbered as they come, so that an element which is put in or taken out
//! gives another number to every value behind it; the references are changed to match.

use std::ops::Range;

use super::{Document, Index, Key};

/// Appends `s:LENGTH:"BYTES";`.
pub fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(format!("s:{}:\"", text.len()).as_bytes());
    out.extend_from_slice(text);
    out.extend_from_slice(b"\";");
}

/// Elements of arrays that are to be put in or taken out.
#[derive(Debug)]
pub struct Rewriting<'d, 'a> {
    document: &'d Document<'a>,
    edits: Vec<Edit>,
}

#[derive(Debug)]
struct Edit {
    /// The bytes that go.
    bytes: Range<usize>,
    /// What comes in their place.
    text: Vec<u8>,
    /// The numbers that go.
    slots: Range<usize>,
    /// How many come in their place.
    added: usize,
}

impl<'d, 'a> Rewriting<'d, 'a> {
    /// Of a document, nothing yet.
    #[must_use]
    pub fn of(document: &'d Document<'a>) -> Self {
        Self { document, edits: Vec::new() }
    }

    /// Changes an array: takes out those elements for which `keep` says no, and puts
    /// `added` behind the others: serialized keys and values, and how many values with
    /// numbers each of them has.
    ///
    /// Once for each array, and not within an element that is taken out.
    pub fn array(
        &mut self,
        array: Index,
        keep: impl Fn(&Key<'_>) -> bool,
        added: &[(Vec<u8>, usize)],
    ) {
        let array = self.document.target(array);
        let elements = self.document.array(array).unwrap_or_default();
        let node = self.document.node(array);
        let kept = elements.iter().filter(|(key, _)| keep(key)).count();
        // `a:COUNT:{` before the first key, `}` behind the last value.
        let written = &self.document.input[node.bytes.clone()];
        let Some(brace) = written.iter().position(|byte| *byte == b'{') else { return };
        let first = node.bytes.start + brace + 1;
        let none = node.slots.start + 1;
        let count = format!("a:{}:{{", kept + added.len()).into_bytes();
        self.edits.push(Edit {
            bytes: node.bytes.start..first,
            text: count,
            slots: none..none,
            added: 0,
        });
        let mut key_starts = first;
        for (key, value) in elements {
            let element = self.document.node(*value);
            if !keep(key) {
                self.edits.push(Edit {
                    bytes: key_starts..element.bytes.end,
                    text: Vec::new(),
                    slots: element.slots.clone(),
                    added: 0,
                });
            }
            key_starts = element.bytes.end;
        }
        let end = node.bytes.end - 1;
        self.edits.push(Edit {
            bytes: end..end,
            text: added.iter().flat_map(|(text, _)| text).copied().collect(),
            slots: node.slots.end..node.slots.end,
            added: added.iter().map(|(_, slots)| slots).sum(),
        });
    }

    /// The changed text.
    ///
    /// # Errors
    /// If a value that stays refers to one that goes.
    pub fn write(mut self) -> Result<Vec<u8>, String> {
        self.edits.sort_by_key(|edit| (edit.bytes.start, edit.bytes.end));
        let gone =
            |at: usize| self.edits.iter().any(|edit| edit.bytes.start <= at && at < edit.bytes.end);
        let mut changed = Vec::new();
        for (bytes, said) in &self.document.references {
            if gone(bytes.start) {
                continue;
            }
            let number = self.renumbered(*said)?;
            if number != *said {
                let letter = char::from(self.document.input[bytes.start]);
                changed.push(Edit {
                    bytes: bytes.clone(),
                    text: format!("{letter}:{number};").into_bytes(),
                    slots: 0..0,
                    added: 0,
                });
            }
        }
        self.edits.extend(changed);
        self.edits.sort_by_key(|edit| (edit.bytes.start, edit.bytes.end));
        let mut out = Vec::with_capacity(self.document.input.len() + 512);
        let mut copied = 0;
        for edit in &self.edits {
            out.extend_from_slice(&self.document.input[copied..edit.bytes.start]);
            out.extend_from_slice(&edit.text);
            copied = edit.bytes.end;
        }
        out.extend_from_slice(&self.document.input[copied..]);
        Ok(out)
    }

    /// The number that a value has afterwards.
    fn renumbered(&self, said: usize) -> Result<usize, String> {
        let place = said - 1;
        let (mut more, mut fewer) = (0, 0);
        for edit in &self.edits {
            if edit.slots.contains(&place) {
                return Err(format!("value {said} is to go, and another refers to it"));
            }
            if edit.slots.end <= place {
                more += edit.added;
                fewer += edit.slots.len();
            }
        }
        Ok(said + more - fewer)
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 with padding (RFC 4648, section 4), as PHP writes it.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |place: usize| u32::from(chunk.get(place).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place) & 63) as usize;
            out.push(if place > chunk.len() { '=' } else { char::from(ALPHABET[sextet]) });
        }
    }
    out
}

/// Reads base64 as PHP's `base64_decode` does: what is not of the alphabet is passed
/// over. `None` if the padding cannot be right.
#[must_use]
pub fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    const VALUES: [u8; 256] = {
        let mut values = [255; 256];
        let mut place = 0;
        while place < 64 {
            values[ALPHABET[place] as usize] = place as u8;
            place += 1;
        }
        values
    };
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text {
        let value = VALUES[usize::from(*byte)];
        if value < 64 {
            bits = bits << 6 | u32::from(value);
            count += 1;
            if count == 4 {
                out.extend_from_slice(&bits.to_be_bytes()[1..]);
                (bits, count) = (0, 0);
            }
        }
    }
    match count {
        0 => {}
        2 => out.push((bits >> 4).to_be_bytes()[3]),
        3 => out.extend_from_slice(&(bits >> 2).to_be_bytes()[2..]),
        _ => return None,
    }
    Some(out)
}
