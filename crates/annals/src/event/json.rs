//! The JSON that an event may carry: checked and made compact in one pass.
//!
//! Numbers and strings pass to the byte, so that an integer beyond 64 bits or a
//! decimal with many places is stored as it was sent. What a later reader could
//! not read, or could read in two ways, is refused: deep nesting, a key that
//! stands twice in one object, a number beyond a double's range, invalid
//! Unicode escapes, and objects that look like Annals' own marks.

use std::collections::HashSet;
use std::fmt;

use super::object::Mark;

/// How deep arrays and objects may nest.
pub const MAX_DEPTH: usize = 64;

/// Faults of one text that are named, at most.
pub(crate) const MAX_FAULTS: usize = 20;

/// The key of the object that stands for a value which is not the plain value.
pub(crate) const MARK: &str = "$annals";

/// What is wrong with a JSON text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonFault {
    /// The value's place, such as `new_values.lines[3].price`; empty for the whole.
    pub path: String,
    /// What was found, and what is allowed.
    pub what: String,
}

impl JsonFault {
    fn new(what: impl Into<String>) -> Self {
        Self { path: String::new(), what: what.into() }
    }

    /// The fault as seen from one level further out.
    #[must_use]
    pub fn under(mut self, segment: &str) -> Self {
        self.path = match self.path.chars().next() {
            None => segment.to_owned(),
            Some('[') => format!("{segment}{}", self.path),
            Some(_) => format!("{segment}.{}", self.path),
        };
        self
    }
}

impl fmt::Display for JsonFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.what)
        } else {
            write!(f, "{}: {}", self.path, self.what)
        }
    }
}

/// Checks one JSON value and appends it to `out` without white space. What is
/// JSON and yet not allowed goes to `faults`, [`MAX_FAULTS`] of them, so that a
/// sender learns of all at once.
///
/// # Errors
/// The place where it stops to be JSON, or nests too deep.
pub(crate) fn compact(
    text: &str,
    out: &mut String,
    faults: &mut Vec<JsonFault>,
) -> Result<(), JsonFault> {
    let mut scan = Scan { text, at: 0, out, captured: false, faults };
    scan.value(0)?;
    scan.end()
}

/// As [`compact`], for values that an application captured: any object with a
/// `$annals` key is refused, since only Annals writes its marks.
///
/// # Errors
/// The first fault and its place.
pub(crate) fn compact_captured(text: &str, out: &mut String) -> Result<(), JsonFault> {
    let mut faults = Vec::new();
    let mut scan = Scan { text, at: 0, out, captured: true, faults: &mut faults };
    scan.value(0)?;
    scan.end()?;
    faults.into_iter().next().map_or(Ok(()), Err)
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
    out: &'a mut String,
    captured: bool,
    faults: &'a mut Vec<JsonFault>,
}

impl<'a> Scan<'a> {
    /// Takes a fault down that does not keep the rest from being read.
    fn fault(&mut self, fault: JsonFault) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(fault);
        }
    }

    /// Reads a value that stands at `segment`, which its faults then name.
    fn value_at(&mut self, segment: &dyn Fn() -> String, depth: usize) -> Result<(), JsonFault> {
        let before = self.faults.len();
        let read = self.value(depth);
        for fault in self.faults.iter_mut().skip(before) {
            *fault = std::mem::replace(fault, JsonFault::new("")).under(&segment());
        }
        read.map_err(|fault| fault.under(&segment()))
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expected(&self, what: &str) -> JsonFault {
        let found = match self.text[self.at..].chars().next() {
            None => "the end".to_owned(),
            Some(character) => format!("{character:?}"),
        };
        JsonFault::new(format!("not JSON: expected {what} at byte {}, found {found}", self.at))
    }

    fn end(&mut self) -> Result<(), JsonFault> {
        self.skip_space();
        if self.at < self.text.len() {
            return Err(self.expected("nothing more"));
        }
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<(), JsonFault> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => Err(self.expected("a value")),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), JsonFault> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.expected("a value"));
        }
        self.at += word.len();
        self.out.push_str(word);
        Ok(())
    }

    fn enter(&mut self, depth: usize, open: char) -> Result<(), JsonFault> {
        if depth > MAX_DEPTH {
            return Err(JsonFault::new(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.at += 1;
        self.out.push(open);
        self.skip_space();
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<(), JsonFault> {
        self.enter(depth, '[')?;
        let mut count = 0;
        while self.peek() != Some(b']') {
            if count > 0 {
                self.comma("',' or ']'")?;
            }
            self.value_at(&|| format!("[{count}]"), depth)?;
            self.skip_space();
            count += 1;
        }
        self.at += 1;
        self.out.push(']');
        Ok(())
    }

    fn comma(&mut self, expected: &str) -> Result<(), JsonFault> {
        if self.peek() != Some(b',') {
            return Err(self.expected(expected));
        }
        self.at += 1;
        self.out.push(',');
        self.skip_space();
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), JsonFault> {
        let start = self.out.len();
        self.enter(depth, '{')?;
        let mut keys = Keys::default();
        let mut count = 0;
        let mut marked = false;
        while self.peek() != Some(b'}') {
            if count > 0 {
                self.comma("',' or '}'")?;
            }
            if self.peek() != Some(b'"') {
                return Err(self.expected("a key in double quotes"));
            }
            let key = unescape(self.string()?);
            count += 1;
            marked |= key == MARK;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.expected("':'"));
            }
            self.at += 1;
            self.out.push(':');
            self.value_at(&|| abbreviate(&key), depth)?;
            self.skip_space();
            let place = abbreviate(&key);
            if !keys.insert(key) {
                self.fault(JsonFault::new("the key stands twice in one object").under(&place));
            }
        }
        self.at += 1;
        self.out.push('}');
        if marked && !self.is_mark(count, start) {
            let what = format!("the key \"{MARK}\" is reserved for the marks that Annals writes");
            self.fault(JsonFault::new(what));
        }
        Ok(())
    }

    /// Whether the object that begins at `start` of what was written is a mark.
    fn is_mark(&self, keys: usize, start: usize) -> bool {
        if self.captured || keys != 1 {
            return false;
        }
        let written = &self.out[start..];
        match serde_json::from_str::<super::object::Marked>(written).map(|marked| marked.mark) {
            Ok(Mark::Redacted | Mark::Truncated { .. } | Mark::Hmac { .. }) => true,
            Ok(Mark::Personal) => super::personal::personal_value(written).is_some(),
            // What is sealed is sealed by a worker alone.
            Ok(Mark::Sealed | Mark::Erased) | Err(_) => false,
        }
    }

    /// Reads a string and copies it; answers what stands between its quotes.
    fn string(&mut self) -> Result<&'a str, JsonFault> {
        let open = self.at;
        let bytes = self.text.as_bytes();
        self.at += 1;
        loop {
            match bytes.get(self.at) {
                None => return Err(JsonFault::new("not JSON: a string has no end")),
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(0..=0x1f) => {
                    return Err(self.expected("no control character in a string (escape it)"));
                }
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        self.out.push_str(&self.text[open..self.at]);
        Ok(&self.text[open + 1..self.at - 1])
    }

    fn escape(&mut self) -> Result<(), JsonFault> {
        match self.text.as_bytes().get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                let lone = "a whole pair of surrogates";
                match self.hex4(self.at)? {
                    0xd800..=0xdbff => {
                        let second = self.at + 6;
                        let follows = self.text.as_bytes().get(second..second + 2) == Some(b"\\u");
                        if !follows || !(0xdc00..=0xdfff).contains(&self.hex4(second)?) {
                            return Err(self.expected(lone));
                        }
                        self.at += 12;
                    }
                    0xdc00..=0xdfff => return Err(self.expected(lone)),
                    _ => self.at += 6,
                }
                Ok(())
            }
            _ => Err(self.expected("an escape that JSON knows")),
        }
    }

    /// The four hexadecimal digits of the `\u` escape that begins at `at`.
    fn hex4(&self, at: usize) -> Result<u32, JsonFault> {
        self.text
            .get(at + 2..at + 6)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .ok_or_else(|| self.expected("\\u and four hexadecimal digits"))
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<(), JsonFault> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let leading_zero = self.peek() == Some(b'0');
        let count = self.digits();
        if count == 0 || (leading_zero && count > 1) {
            return Err(self.expected("a number"));
        }
        let mut whole = true;
        if self.peek() == Some(b'.') {
            whole = false;
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.expected("a digit"));
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            whole = false;
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            if self.digits() == 0 {
                return Err(self.expected("a digit"));
            }
        }
        let number = &self.text[start..self.at];
        let fits = (whole && number.len() < 19) || number.parse::<f64>().is_ok_and(f64::is_finite);
        if !fits {
            self.fault(JsonFault::new(format!(
                "the number {} is beyond what a 64-bit float holds (about 1.8e308)",
                abbreviate(number)
            )));
        }
        self.out.push_str(number);
        Ok(())
    }
}

/// The keys of one object seen so far: a list while they are few.
#[derive(Default)]
struct Keys {
    few: Vec<String>,
    many: HashSet<String>,
}

impl Keys {
    const FEW: usize = 16;

    /// Adds `key`; answers whether it is the first of its name.
    fn insert(&mut self, key: String) -> bool {
        if self.few.contains(&key) {
            return false;
        }
        if self.few.len() < Self::FEW {
            self.few.push(key);
            return true;
        }
        self.many.insert(key)
    }
}

/// Whether a text stands in JSON as it is: without quotes, backslashes and
/// control characters. Looks at eight bytes at a time, since every text of every
/// event is looked at (Sean Anderson, "Bit Twiddling Hacks", "determine if a word
/// has a byte less than n").
pub(crate) fn is_verbatim(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    let last = match text.last_chunk::<8>() {
        // Some bytes are looked at twice.
        Some(last) => u64::from_ne_bytes(*last),
        None => {
            rest.iter().fold(0x2020_2020_2020_2020, |word, byte| (word << 8) | u64::from(*byte))
        }
    };
    let any = words.iter().map(|word| u64::from_ne_bytes(*word));
    any.fold(special_bytes(last), |any, word| any | special_bytes(word)) == 0
}

/// Where the first byte from `from` on stands that a string does not hold as it
/// is: a quote, a backslash or a control character.
pub(crate) fn first_special(text: &[u8], from: usize) -> Option<usize> {
    let mut rest = text.get(from..)?;
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            // The lowest bit that is set is right; higher ones may be borrowed.
            return Some(text.len() - rest.len() + special.trailing_zeros() as usize / 8);
        }
        rest = after;
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    Some(text.len() - rest.len() + rest.iter().position(is_special)?)
}

/// Not zero if one of the bytes needs escaping.
fn special_bytes(word: u64) -> u64 {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = EACH << 7;
    let below = |word: u64, least: u8| word.wrapping_sub(EACH * u64::from(least)) & !word & HIGH;
    let has = |byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
    below(word, b' ') | has(b'"') | has(b'\\')
}

/// Appends what stands for the text between the quotes of a JSON string; false if it
/// holds an escape of digits, whose pairs of surrogates are serde's.
pub(crate) fn push_unescaped(raw: &str, out: &mut String) -> bool {
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        let letter = match rest.as_bytes().get(at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            _ => return false,
        };
        out.push_str(&rest[..at]);
        out.push(letter);
        rest = &rest[at + 2..];
    }
    out.push_str(rest);
    true
}

/// What a string that [`Scan::string`] accepted stands for.
fn unescape(raw: &str) -> String {
    if !raw.contains('\\') {
        return raw.to_owned();
    }
    serde_json::from_str(&format!("\"{raw}\"")).unwrap_or_else(|_| raw.to_owned())
}

#[cfg(test)]
mod tests;

/// The first characters of a long text, for messages.
pub(crate) fn abbreviate(text: &str) -> String {
    const KEPT: usize = 40;
    match text.char_indices().nth(KEPT) {
        None => text.to_owned(),
        Some((cut, _)) => format!("{}… ({} bytes)", &text[..cut], text.len()),
    }
}
