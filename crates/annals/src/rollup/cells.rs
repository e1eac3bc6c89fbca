//! What is counted, and its bytes.
//!
//! A part of the counts is of one day and one tenant, and in this form:
//!
//! ```text
//! part   = 0x01 cells terms{5} cell*
//! terms  = number (length bytes)*          of types, actions, outcomes, services, actors
//! cell   = hour type action outcome service actor events
//! ```
//!
//! All numbers are LEB128 of unsigned integers. A term stands for its number in its list,
//! from 1 on; 0 is none. Cells are in ascending order, and none is there twice.

use std::collections::{BTreeMap, HashMap};

use crate::error::{Error, ErrorKind, Result};
use crate::store::Record;

/// The first byte of a part.
const VERSION: u8 = 1;

/// What a term is of. In the order in which a part lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Type,
    Action,
    Outcome,
    Service,
    Actor,
}

/// How many kinds there are.
pub(super) const KINDS: usize = 5;

/// What a cell counts: an hour of the day, and a number of a term for each [`Kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Cell {
    pub(super) hour: u8,
    pub(super) terms: [u32; KINDS],
}

/// The numbers of terms.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    numbers: HashMap<String, u32>,
    texts: Vec<String>,
}

impl Terms {
    /// The number of a term, given to it if it has none.
    pub(super) fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        self.texts.push(text.to_owned());
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.numbers.insert(text.to_owned(), number);
        number
    }

    /// The texts, from number 1 on.
    pub(super) fn texts(&self) -> &[String] {
        &self.texts
    }
}

/// Counts of one day and one tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct Cells {
    terms: [Terms; KINDS],
    counts: HashMap<Cell, u64>,
}

impl Cells {
    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.counts.len() as u64
    }

    /// Counts an event of the day.
    pub(super) fn count(&mut self, record: &Record) {
        let mut of = |kind: Kind, text: Option<&str>| {
            text.map_or(0, |text| self.terms[kind as usize].number(text))
        };
        let actor = actor_term(record.actor_type(), record.actor_id());
        let terms = [
            of(Kind::Type, Some(record.entity_type())),
            of(Kind::Action, Some(record.action())),
            of(Kind::Outcome, Some(record.outcome())),
            of(Kind::Service, record.service()),
            of(Kind::Actor, actor.as_deref()),
        ];
        let hour = record.occurred_at.as_micros() / 3_600_000_000 % 24;
        let cell = Cell { hour: u8::try_from(hour).unwrap_or(0), terms };
        *self.counts.entry(cell).or_default() += 1;
    }

    /// Adds what a part says.
    pub(super) fn add(&mut self, part: &[u8]) -> Result<()> {
        let part = Part::read(part)?;
        let mut numbers: [Vec<u32>; KINDS] = Default::default();
        for ((terms, texts), numbers) in self.terms.iter_mut().zip(&part.terms).zip(&mut numbers) {
            numbers.push(0);
            numbers.extend(texts.iter().map(|text| terms.number(text)));
        }
        part.each(|mut cell, events| {
            for (term, numbers) in cell.terms.iter_mut().zip(&numbers) {
                *term = numbers[*term as usize];
            }
            *self.counts.entry(cell).or_default() += events;
        })
    }

    /// The part that says this.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        push(&mut out, self.len());
        for terms in &self.terms {
            push(&mut out, terms.texts.len() as u64);
            for text in &terms.texts {
                push(&mut out, text.len() as u64);
                out.extend_from_slice(text.as_bytes());
            }
        }
        let sorted: BTreeMap<_, _> = self.counts.iter().collect();
        for (cell, events) in sorted {
            out.push(cell.hour);
            cell.terms.iter().for_each(|term| push(&mut out, u64::from(*term)));
            push(&mut out, *events);
        }
        out
    }
}

/// A part that is read.
#[derive(Debug)]
pub(super) struct Part<'a> {
    cells: u64,
    pub(super) terms: [Vec<&'a str>; KINDS],
    rest: Bytes<'a>,
}

impl<'a> Part<'a> {
    pub(super) fn read(part: &'a [u8]) -> Result<Self> {
        Self::parse(part).ok_or_else(damaged)
    }

    fn parse(part: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes(part);
        if bytes.byte()? != VERSION {
            return None;
        }
        let cells = bytes.number()?;
        let mut terms: [Vec<&str>; KINDS] = Default::default();
        for terms in &mut terms {
            for _ in 0..bytes.number()? {
                terms.push(bytes.text()?);
            }
        }
        Some(Self { cells, terms, rest: bytes })
    }

    /// Looks at each cell; its terms are numbers of [`Self::terms`], from 1 on.
    pub(super) fn each(&self, mut look: impl FnMut(Cell, u64)) -> Result<()> {
        let mut bytes = Bytes(self.rest.0);
        for _ in 0..self.cells {
            let (cell, events) = self.cell(&mut bytes).ok_or_else(damaged)?;
            look(cell, events);
        }
        if bytes.0.is_empty() { Ok(()) } else { Err(damaged()) }
    }

    fn cell(&self, bytes: &mut Bytes<'_>) -> Option<(Cell, u64)> {
        let hour = bytes.byte().filter(|hour| *hour < 24)?;
        let mut terms = [0; KINDS];
        for (term, texts) in terms.iter_mut().zip(&self.terms) {
            *term = u32::try_from(bytes.number()?).ok()?;
            if *term as usize > texts.len() {
                return None;
            }
        }
        Some((Cell { hour, terms }, bytes.number()?))
    }
}

fn damaged() -> Error {
    let found = "they are not in the form that this program writes";
    Error::new(ErrorKind::Damaged, "read the counts of events", found)
        .hint("a newer Annals may have written them: use that one or a newer one")
}

/// Bytes that are read from their beginning.
#[derive(Clone, Copy, Debug)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

fn push(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or(0));
}

/// An actor as one term: the type, a NUL, `=` and the id, of which any may be missing; no
/// indexed text holds a NUL.
pub(super) fn actor_term(kind: Option<&str>, id: Option<&str>) -> Option<String> {
    match (kind, id) {
        (None, None) => None,
        (Some(kind), None) => Some(format!("{kind}\0")),
        (None, Some(id)) => Some(format!("={id}")),
        (Some(kind), Some(id)) => Some(format!("{kind}\0={id}")),
    }
}

/// The type and the id of an actor's term.
pub(super) fn actor_of(term: &str) -> (Option<&str>, Option<&str>) {
    match term.split_once('\0') {
        Some((kind, id)) => (Some(kind), id.strip_prefix('=')),
        None => (None, term.strip_prefix('=')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Actor, Event};

    fn record(action: &'static str, at: &str, actor: Option<Actor>) -> Record {
        let event = Event::new(action, crate::Entity::new("product", 42));
        let mut event = event.occurred_at(at.parse().unwrap());
        event.actor = actor;
        event.context.service = Some("shop".into());
        Record::decode(event.encode().unwrap()).unwrap()
    }

    fn sample() -> Cells {
        let mut cells = Cells::default();
        let jo = || Some(Actor::new("user", 7));
        for (action, at, actor) in [
            ("created", "2026-11-22T10:00:00Z", jo()),
            ("updated", "2026-11-22T10:59:59.999999Z", jo()),
            ("updated", "2026-11-22T10:10:00Z", jo()),
            ("updated", "2026-11-22T23:00:00Z", None),
        ] {
            cells.count(&record(action, at, actor));
        }
        cells
    }

    #[test]
    fn a_part_of_version_1_is_these_bytes() {
        let expected = concat!(
            "0103",                               // version, cells
            "010770726f64756374",                 // product
            "0207637265617465640775706461746564", // created, updated
            "010773756363657373",                 // success
            "010473686f70",                       // shop
            "010775736572003d37",                 // user 7
            "0a010101010101",                     // at 10, created: one
            "0a010201010102",                     // updated: two
            "17010201010001",                     // at 23, by nobody
        );
        let hex: String = sample().encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
    }

    #[test]
    fn parts_add_up_whatever_their_numbers() {
        let mut other = Cells::default();
        other.count(&record("updated", "2026-11-22T10:30:00Z", Some(Actor::new("user", 7))));
        other.count(&record("deleted", "2026-11-22T10:30:00Z", None));
        let mut both = other.clone();
        both.add(&sample().encode()).unwrap();
        let mut found = Vec::new();
        let part = both.encode();
        let part = Part::read(&part).unwrap();
        part.each(|cell, events| {
            let term = |kind: Kind| match cell.terms[kind as usize] {
                0 => None,
                number => Some(part.terms[kind as usize][number as usize - 1]),
            };
            let actor = term(Kind::Actor).map(actor_of);
            found.push((cell.hour, term(Kind::Action).unwrap(), actor, events));
        })
        .unwrap();
        found.sort_unstable();
        let jo = Some((Some("user"), Some("7")));
        let wanted = [
            (10, "created", jo, 1),
            (10, "deleted", None, 1),
            (10, "updated", jo, 3),
            (23, "updated", None, 1),
        ];
        assert_eq!(found, wanted);
        assert_eq!(both.len(), 4);
    }

    #[test]
    fn what_is_no_part_is_refused_and_read_by_nobody() {
        let part = sample().encode();
        for cut in 0..part.len() {
            let read = Part::read(&part[..cut]).and_then(|part| part.each(|_, _| ()));
            assert_eq!(read.unwrap_err().kind(), ErrorKind::Damaged, "cut at {cut}");
        }
        for at in 0..part.len() {
            for bit in 0..8 {
                let mut altered = part.clone();
                altered[at] ^= 1 << bit;
                // It may be another one, and must not be a panic.
                let _ = Part::read(&altered).and_then(|part| part.each(|_, _| ()));
            }
        }
        let longer = [&part[..], b"\0"].concat();
        assert!(Part::read(&longer).unwrap().each(|_, _| ()).is_err());
    }

    #[test]
    fn actors_are_told_apart_by_what_they_lack() {
        let texts = [None, Some(""), Some("7"), Some("=7")];
        for kind in texts {
            for id in texts {
                match actor_term(kind, id) {
                    Some(term) => assert_eq!(actor_of(&term), (kind, id)),
                    None => assert_eq!((kind, id), (None, None)),
                }
            }
        }
    }
}
