//! Finding the columns of an encoded event without reading the rest of it into
//! anything.
//!
//! A worker looks at every event, and what it needs are eight short texts. This
//! walks over the JSON once, checks that it is JSON, and notes where they stand.
//! It knows the plain case only: compact, each field once and of its type, no escapes
//! of digits in the texts that are columns. Whatever else comes is left to serde,
//! which also says what is wrong with it; what is accepted here, serde accepts.

use super::json::{MAX_DEPTH, first_special};

/// Where a text stands, in bytes; from 0 to 0 if there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// The columns, in the order of [`Skimmed`].
#[derive(Clone, Copy)]
pub(crate) enum Column {
    Id,
    OccurredAt,
    Action,
    Outcome,
    EntityType,
    EntityId,
    ActorType,
    ActorId,
    Tenant,
    RequestId,
    Service,
}

/// How many columns there are.
pub(crate) const COLUMNS: usize = 11;

/// Where the columns stand.
pub(crate) type Skimmed = [Span; COLUMNS];

/// Finds the columns of a plain event, and says which of them have escapes: one bit
/// each, the lowest for the first. `None` if it is not plain, or no event.
pub(crate) fn skim(text: &str) -> Option<(Skimmed, u16)> {
    u32::try_from(text.len()).ok()?;
    let found = Skimmed::default();
    let mut skim = Skim { bytes: text.as_bytes(), at: 0, found, escaped: 0, seen: 0 };
    skim.fields(Skim::field)?;
    (skim.at == skim.bytes.len()).then_some((skim.found, skim.escaped))
}

struct Skim<'a> {
    bytes: &'a [u8],
    at: usize,
    found: Skimmed,
    escaped: u16,
    /// The objects with columns that were met, one bit each.
    seen: u8,
}

impl<'a> Skim<'a> {
    fn field(&mut self, key: &[u8]) -> Option<()> {
        match key {
            b"id" => self.column(Column::Id),
            b"occurred_at" => self.column(Column::OccurredAt),
            b"action" => self.column(Column::Action),
            b"outcome" => self.column(Column::Outcome),
            b"tenant" => self.column(Column::Tenant),
            b"entity" => self.once(1, |skim, key| match key {
                b"type" => skim.column(Column::EntityType),
                b"id" => skim.column(Column::EntityId),
                _ => skim.value(2),
            }),
            b"actor" => self.once(2, |skim, key| match key {
                b"type" => skim.column(Column::ActorType),
                b"id" => skim.column(Column::ActorId),
                _ => skim.value(2),
            }),
            b"context" => self.once(4, |skim, key| match key {
                b"request_id" => skim.column(Column::RequestId),
                b"service" => skim.column(Column::Service),
                _ => skim.value(2),
            }),
            _ => self.value(1),
        }
    }

    /// Reads an object that may stand there once.
    fn once(&mut self, bit: u8, field: fn(&mut Self, &[u8]) -> Option<()>) -> Option<()> {
        if self.seen & bit != 0 {
            return None;
        }
        self.seen |= bit;
        self.fields(field)
    }

    /// Notes where a text stands.
    fn column(&mut self, column: Column) -> Option<()> {
        let start = self.at + 1;
        let special = first_special(self.bytes, start)?;
        self.string()?;
        if special != self.at - 1 {
            self.escaped |= 1 << column as u16;
        }
        let span = &mut self.found[column as usize];
        if *span != Span::default() {
            return None;
        }
        *span = Span { start: u32::try_from(start).ok()?, end: u32::try_from(self.at - 1).ok()? };
        Some(())
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, expected: u8) -> Option<()> {
        (self.peek()? == expected).then(|| self.at += 1)
    }

    /// Reads an object, and each value with `field`, which is told the key.
    fn fields(&mut self, field: fn(&mut Self, &[u8]) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let key = self.plain_string()?;
            self.take(b':')?;
            field(self, key)?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => break,
                _ => return None,
            }
        }
        self.at += 1;
        Some(())
    }

    /// Walks over a value that stands `depth` objects deep.
    fn value(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'"' => self.string(),
            b'{' | b'[' if depth == MAX_DEPTH => None,
            b'{' => self.members(b'}', depth + 1),
            b'[' => self.members(b']', depth + 1),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    /// Walks over the members of an object or an array.
    fn members(&mut self, end: u8, depth: usize) -> Option<()> {
        self.at += 1;
        if self.peek()? == end {
            self.at += 1;
            return Some(());
        }
        loop {
            if end == b'}' {
                self.string()?;
                self.take(b':')?;
            }
            self.value(depth)?;
            match self.peek()? {
                b',' => self.at += 1,
                found if found == end => break,
                _ => return None,
            }
        }
        self.at += 1;
        Some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    /// Reads a string without escapes; answers what stands between its quotes.
    fn plain_string(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let start = self.at;
        self.at = first_special(self.bytes, start)?;
        self.take(b'"')?;
        self.bytes.get(start..self.at - 1)
    }

    /// Walks over any string.
    fn string(&mut self) -> Option<()> {
        self.take(b'"')?;
        loop {
            self.at = first_special(self.bytes, self.at)?;
            match self.peek()? {
                b'"' => break,
                b'\\' => match self.bytes.get(self.at + 1)? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
                    // Pairs of surrogates are serde's.
                    _ => return None,
                },
                _ => return None,
            }
        }
        self.at += 1;
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        self.at += usize::from(self.peek()? == b'-');
        let leading_zero = self.peek()? == b'0';
        let digits = self.digits()?;
        if leading_zero && digits > 1 {
            return None;
        }
        if self.peek()? == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek()?, b'e' | b'E') {
            self.at += 1;
            self.at += usize::from(matches!(self.peek()?, b'+' | b'-'));
            self.digits()?;
        }
        Some(())
    }

    /// Walks over digits, at least one; answers how many.
    fn digits(&mut self) -> Option<usize> {
        let start = self.at;
        while self.peek()?.is_ascii_digit() {
            self.at += 1;
        }
        (self.at > start).then_some(self.at - start)
    }
}
