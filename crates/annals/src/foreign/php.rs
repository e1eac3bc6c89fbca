//! PHP's serialize format, read into a tree of values and never into objects.
//!
//! What is read was written by somebody else's program and may be anything: no class
//! is looked up, no code is chosen by what a name says, depth and number of values are
//! bounded, and the time is linear in the bytes. References (`R`, `r`) stay references
//! to the value that they mean; [`Document::json`] follows them, but never into itself,
//! and gives up at a number of bytes.
//!
//! ```text
//! N;   b:1;   i:42;   d:0.1;   s:3:"abc";   S:3:"\61bc";
//! a:1:{KEY VALUE}   O:8:"stdClass":1:{NAME VALUE}   E:9:"Suit:Spad";
//! C:1:"X":2:{..}    R:2;   r:2;
//! ```
//!
//! A private property is named `\0Class\0name`, a protected one `\0*\0name`. Values are
//! numbered from 1 as they come, keys and `R` not counted; a reference says the number.
//! Strings are bytes. The format has no specification; this follows PHP's source,
//! `ext/standard/var.c` and `var_unserializer.re`.

mod date;
mod json;
mod reader;
mod writer;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

pub use date::Date;
pub use writer::{Rewriting, base64, from_base64, write_text};

/// How deep arrays and objects may nest.
pub const MAX_DEPTH: usize = 128;

/// Values in one text, at most.
pub const MAX_VALUES: usize = 100_000;

/// What was read: the values in the order in which they stand.
#[derive(Clone, Debug)]
pub struct Document<'a> {
    input: &'a [u8],
    nodes: Vec<Node<'a>>,
    /// The node of each number.
    slots: Vec<Index>,
    /// Where references stand, and the number that they say.
    references: Vec<(Range<usize>, usize)>,
}

/// The place of a value in its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index(u32);

/// A value, and where it stands.
#[derive(Clone, Debug)]
struct Node<'a> {
    value: Value<'a>,
    /// Its bytes in the input.
    bytes: Range<usize>,
    /// Values numbered before it and before its end.
    slots: Range<usize>,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `N`
    Null,
    /// `b`
    Bool(bool),
    /// `i`
    Int(i64),
    /// `d`, as it was written: `0.1`, `1.0E-7`, `INF`.
    Float(&'a str),
    /// `s` and `S`
    Text(Cow<'a, [u8]>),
    /// `a`
    Array(Vec<(Key<'a>, Index)>),
    /// `O`
    Object {
        /// The class, without a leading backslash.
        class: &'a [u8],
        /// Its properties; those of an object that serializes itself may have numbers.
        properties: Vec<(Key<'a>, Index)>,
    },
    /// `E`
    Enum {
        /// The class.
        class: &'a [u8],
        /// The case's name; its value is not written.
        case: &'a [u8],
    },
    /// `C`: an object in a format of its own.
    Opaque {
        /// The class.
        class: &'a [u8],
        /// What it wrote.
        data: &'a [u8],
    },
    /// `R` and `r`
    Reference(Index),
}

/// The key of an element, or a property's name as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// A number.
    Int(i64),
    /// A text.
    Text(Cow<'a, [u8]>),
}

/// Elements of an array, or properties of an object.
pub type Elements<'a> = [(Key<'a>, Index)];

impl Key<'_> {
    /// The class that a private property belongs to.
    fn owner(&self) -> Option<&[u8]> {
        let Self::Text(text) = self else { return None };
        let end = text.strip_prefix(b"\0")?.iter().position(|byte| *byte == 0)? + 1;
        Some(&text[1..end]).filter(|owner| *owner != b"*")
    }

    /// The property's name, without the class that may see it.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Int(number) => Cow::Owned(number.to_string()),
            Self::Text(text) => {
                let hidden = text.strip_prefix(b"\0");
                let name = hidden.and_then(|rest| {
                    let end = rest.iter().position(|byte| *byte == 0)?;
                    rest.get(end + 1..)
                });
                String::from_utf8_lossy(name.unwrap_or(text))
            }
        }
    }
}

/// Why a text is none of PHP's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The byte at which it was seen.
    pub offset: usize,
    /// What should have stood there.
    pub expected: String,
    /// What stood there.
    pub found: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, expected, found } = self;
        write!(f, "at byte {offset}: expected {expected}, found {found}")
    }
}

impl std::error::Error for Fault {}

impl<'a> Document<'a> {
    /// Reads one serialized value.
    ///
    /// # Errors
    /// The first byte that is not as it must be, or the bound that was reached.
    pub fn read(input: &'a [u8]) -> Result<Self, Fault> {
        reader::read(input)
    }

    /// The outermost value.
    #[must_use]
    pub fn root(&self) -> Index {
        Index(0)
    }

    /// A value, as it stands.
    #[must_use]
    pub fn value(&self, index: Index) -> &Value<'a> {
        &self.node(index).value
    }

    /// A value, or the one that a reference means.
    #[must_use]
    pub fn resolved(&self, index: Index) -> &Value<'a> {
        self.value(self.target(index))
    }

    /// Where a chain of references ends. A reference only ever means an earlier value.
    pub(crate) fn target(&self, mut index: Index) -> Index {
        while let Value::Reference(earlier) = self.value(index) {
            index = *earlier;
        }
        index
    }

    /// The class and properties of an object.
    #[must_use]
    pub fn object(&self, index: Index) -> Option<(&'a [u8], &Elements<'a>)> {
        match self.resolved(index) {
            Value::Object { class, properties } => Some((*class, properties)),
            _ => None,
        }
    }

    /// The elements of an array.
    #[must_use]
    pub fn array(&self, index: Index) -> Option<&Elements<'a>> {
        match self.resolved(index) {
            Value::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// An object's property; a parent's private one only if it has none itself.
    #[must_use]
    pub fn property(&self, object: Index, name: &str) -> Option<Index> {
        let (class, properties) = self.object(object)?;
        let named = || properties.iter().filter(|(key, _)| key.name() == name);
        let own = named().find(|(key, _)| key.owner().is_none_or(|owner| owner == class));
        own.or_else(|| named().next()).map(|(_, index)| *index)
    }

    /// A text, if it is one, and UTF-8.
    #[must_use]
    pub fn text(&self, index: Index) -> Option<&str> {
        match self.resolved(index) {
            Value::Text(text) => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }

    fn node(&self, index: Index) -> &Node<'a> {
        // Every index was given out by the reader of this document.
        &self.nodes[index.0 as usize]
    }
}

impl Index {
    fn of(place: usize) -> Self {
        // The number of values is bounded.
        Self(u32::try_from(place).unwrap_or(u32::MAX))
    }
}
