//! What changed: the fields of a value, and the difference of two.

mod plain;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

// What the derive's output bounds type parameters with.
#[doc(hidden)]
pub use serde::Serialize;
use serde_json::value::RawValue;

use crate::event::{
    Entity, Event, EventFault, MARK, Object, PERSONAL_AFTER, PERSONAL_BEFORE, REDACTED, Text,
    compact_captured, is_verbatim,
};

/// A type whose changes are recorded. Derive it, or write it by hand where the
/// fields are not known when compiling.
///
/// ```
/// use annals::Auditable;
///
/// #[derive(Auditable)]
/// #[auditable(entity = "product")]
/// struct Product {
///     #[auditable(id)]
///     id: i64,
///     name: String,
///     #[auditable(rename = "unit_price")]
///     price: i64,
///     #[auditable(redact)]
///     supplier_code: String,
///     #[auditable(personal)]
///     made_by: String,
///     #[auditable(skip)]
///     views: u64,
/// }
/// ```
pub trait Auditable {
    /// The entity's type.
    const ENTITY_TYPE: &'static str;

    /// The entity's id; of several parts, see [`crate::event::composite_id`].
    fn entity_id(&self) -> String;

    /// Names each field that is recorded, and shows its value.
    fn fields(&self, fields: &mut Fields);

    /// Type and id together.
    fn entity(&self) -> Entity {
        Entity { kind: Cow::Borrowed(Self::ENTITY_TYPE), id: Some(Cow::Owned(self.entity_id())) }
    }
}

impl<T: Auditable + ?Sized> Auditable for &T {
    const ENTITY_TYPE: &'static str = T::ENTITY_TYPE;

    fn entity_id(&self) -> String {
        (**self).entity_id()
    }

    fn fields(&self, fields: &mut Fields) {
        (**self).fields(fields);
    }
}

/// The fields of one value as JSON, in the order they were named.
#[derive(Debug, Default)]
pub struct Fields {
    /// `"name":value`, with commas between: what an object holds, so that
    /// neighbours are taken over in one piece.
    json: Vec<u8>,
    entries: Vec<Entry>,
    fault: Option<EventFault>,
}

#[derive(Debug)]
struct Entry {
    name: Text,
    /// Where its name begins.
    start: usize,
    value: Range<usize>,
    shown: Shown,
    /// Whether [`diff`] found another value, or none, on the other side.
    differs: bool,
}

/// What of a value is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Plain,
    Redacted,
    Personal,
}

/// What a thread keeps for later, at most: bytes and fields of each of two values.
const SPARE_BYTES: usize = 16 * 1024;
const SPARE_FIELDS: usize = 256;

thread_local! {
    /// Two values of the events before, whose memory serves the next ones.
    static SPARE: RefCell<Vec<Fields>> = const { RefCell::new(Vec::new()) };
}

impl Fields {
    /// The fields that `value` names.
    pub fn of<T: Auditable + ?Sized>(value: &T) -> Self {
        // `None` while the thread ends.
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
        let mut fields = spare.unwrap_or_default();
        value.fields(&mut fields);
        fields
    }

    /// Leaves what it has allocated to the thread's next [`Fields::of`].
    fn recycle(mut self) {
        if self.json.capacity() > SPARE_BYTES || self.entries.capacity() > SPARE_FIELDS {
            return;
        }
        self.json.clear();
        self.entries.clear();
        self.fault = None;
        // While the thread ends it is simply dropped.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < 2 {
                spare.push(self);
            }
        });
    }

    /// Adds a field. A value that cannot be written as JSON (a map whose keys
    /// are not text), or a name that was added before, makes the event fail when
    /// it is recorded.
    pub fn add<T: Serialize + ?Sized>(&mut self, name: impl Into<Text>, value: &T) {
        self.push(name.into(), value, Shown::Plain);
    }

    /// Adds a field of which only the fact that it changed is recorded.
    pub fn redact<T: Serialize + ?Sized>(&mut self, name: impl Into<Text>, value: &T) {
        self.push(name.into(), value, Shown::Redacted);
    }

    /// Adds a field that is personal data of the event's subject, or where it has none,
    /// of the entity: a worker seals it before it is stored, and refuses the event if it
    /// has no master key. Until then the queue holds it in clear.
    pub fn personal<T: Serialize + ?Sized>(&mut self, name: impl Into<Text>, value: &T) {
        self.push(name.into(), value, Shown::Personal);
    }

    fn push<T: Serialize + ?Sized>(&mut self, name: Text, value: &T, shown: Shown) {
        let before = self.json.len();
        match self.write(&name, value) {
            Ok((start, value)) => {
                self.entries.push(Entry { name, start, value, shown, differs: false });
            }
            Err(what) => {
                self.json.truncate(before);
                // What is wrong with a value may quote it.
                let what = match shown {
                    Shown::Plain => what,
                    _ => "cannot be written as JSON".to_owned(),
                };
                self.fault.get_or_insert(EventFault::single(name, what));
            }
        }
    }

    /// Writes a field; answers where its name begins, and where its value stands.
    fn write<T: Serialize + ?Sized>(
        &mut self,
        name: &str,
        value: &T,
    ) -> Result<(usize, Range<usize>), String> {
        if name == MARK {
            return Err("is the key that is reserved for the marks that Annals writes".to_owned());
        }
        if self.entries.iter().any(|entry| entry.name == name) {
            return Err("is named twice".to_owned());
        }
        if !self.json.is_empty() {
            self.json.push(b',');
        }
        let start = self.json.len();
        push_name(name, &mut self.json);
        self.json.push(b':');
        let value_start = self.json.len();
        if plain::write(value, &mut self.json) {
            return Ok((start, value_start..self.json.len()));
        }
        serde_json::to_writer(&mut self.json, value)
            .map_err(|error| format!("cannot be written as JSON: {error}"))?;
        if !is_plain(&self.json[value_start..]) {
            let mut compact = String::new();
            let text = std::str::from_utf8(&self.json[value_start..]).unwrap_or_default();
            compact_captured(text, &mut compact).map_err(|fault| fault.to_string())?;
            self.json.truncate(value_start);
            self.json.extend_from_slice(compact.as_bytes());
        }
        Ok((start, value_start..self.json.len()))
    }

    fn value(&self, entry: &Entry) -> &[u8] {
        &self.json[entry.value.clone()]
    }

    /// Marks the fields that `there` names not at all or with another value;
    /// answers whether there are any.
    fn mark_against(&mut self, there: &Self) -> bool {
        let mut any = false;
        for entry in &mut self.entries {
            let other = there.entries.iter().find(|other| other.name == entry.name);
            let value = &self.json[entry.value.clone()];
            entry.differs = other.is_none_or(|other| !same(value, there.value(other)));
            any |= entry.differs;
        }
        any
    }

    fn object<'a>(&'a self, entries: impl Iterator<Item = &'a Entry>) -> Object {
        let mut text = Vec::with_capacity(self.json.len() + 64);
        text.push(b'{');
        // What is taken over next, in one piece.
        let mut piece = 0..0;
        for entry in entries {
            let (start, end) = match entry.shown {
                Shown::Plain => (entry.start, entry.value.end),
                _ => (entry.start, entry.value.start),
            };
            if piece.end + 1 == start && !piece.is_empty() {
                piece.end = end;
            } else {
                text.extend_from_slice(&self.json[piece]);
                if text.len() > 1 {
                    text.push(b',');
                }
                piece = start..end;
            }
            if entry.shown != Shown::Plain {
                text.extend_from_slice(&self.json[piece]);
                piece = 0..0;
            }
            match entry.shown {
                Shown::Plain => {}
                Shown::Redacted => text.extend_from_slice(REDACTED.as_bytes()),
                Shown::Personal => {
                    text.extend_from_slice(PERSONAL_BEFORE.as_bytes());
                    text.extend_from_slice(self.value(entry));
                    text.extend_from_slice(PERSONAL_AFTER.as_bytes());
                }
            }
        }
        text.extend_from_slice(&self.json[piece]);
        text.push(b'}');
        Object::from_writer(text)
    }

    /// All fields as an object.
    ///
    /// # Errors
    /// The first field that could not be written.
    pub fn into_object(mut self) -> Result<Object, EventFault> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let object = self.object(self.entries.iter());
        self.recycle();
        Ok(object)
    }
}

/// Appends a field's name as JSON.
fn push_name(name: &str, out: &mut Vec<u8>) {
    if is_verbatim(name.as_bytes()) {
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.push(b'"');
    } else {
        // A text always can be written.
        let _ = serde_json::to_writer(out, name);
    }
}

/// Whether a value that `serde_json` wrote needs no further check: a word, a text
/// without escapes, or a number without exponent. Others may nest too deep, name
/// a key twice, look like a mark of ours, or hold raw text of the application's.
fn is_plain(json: &[u8]) -> bool {
    match json {
        [b'"', text @ .., b'"'] => is_verbatim(text) || !text.contains(&b'\\'),
        [b't' | b'f' | b'n', ..] => true,
        number => number.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'.')),
    }
}

/// The fields that differ, before and after; `None` if none does.
///
/// # Errors
/// The first field that could not be written.
pub fn diff<T: Auditable + ?Sized>(
    before: &T,
    after: &T,
) -> Result<Option<(Object, Object)>, EventFault> {
    let (mut old, mut new) = (Fields::of(before), Fields::of(after));
    if let Some(fault) = old.fault.as_ref().or(new.fault.as_ref()) {
        return Err(fault.clone());
    }
    let pick = |fields: &Fields| fields.object(fields.entries.iter().filter(|entry| entry.differs));
    let changed = mark_differences(&mut old, &mut new).then(|| (pick(&old), pick(&new)));
    old.recycle();
    new.recycle();
    Ok(changed)
}

/// Marks on both sides the fields whose value is not the other side's; answers
/// whether there are any.
fn mark_differences(old: &mut Fields, new: &mut Fields) -> bool {
    let aligned = old.entries.len() == new.entries.len()
        && old.entries.iter().zip(&new.entries).all(|(old, new)| old.name == new.name);
    if !aligned {
        let gone = old.mark_against(new);
        return new.mark_against(old) || gone;
    }
    // Two values of one type name the same fields in the same order.
    let mut any = false;
    for (one, other) in old.entries.iter_mut().zip(&mut new.entries) {
        let differs = !same(&old.json[one.value.clone()], &new.json[other.value.clone()]);
        (one.differs, other.differs) = (differs, differs);
        any |= differs;
    }
    any
}

/// Whether two JSON texts stand for the same value: a map may have written its
/// keys in another order. Numbers are compared as they are written, since not
/// all of them fit a float. Both were checked, so that they do not nest deep.
fn same(one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return true;
    }
    let compare = match (one.first(), other.first()) {
        (Some(b'{'), Some(b'{')) => same_objects,
        (Some(b'['), Some(b'[')) => same_arrays,
        _ => return false,
    };
    compare(one, other).unwrap_or(false)
}

fn same_objects(one: &[u8], other: &[u8]) -> Option<bool> {
    /// A key, borrowed where it has no escapes.
    #[derive(serde::Deserialize, PartialEq, Eq, PartialOrd, Ord)]
    struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

    let one: BTreeMap<Key<'_>, &RawValue> = serde_json::from_slice(one).ok()?;
    let other: BTreeMap<Key<'_>, &RawValue> = serde_json::from_slice(other).ok()?;
    let mut pairs = one.iter().zip(&other);
    Some(
        one.len() == other.len()
            && pairs.all(|(one, other)| {
                one.0 == other.0 && same(one.1.get().as_bytes(), other.1.get().as_bytes())
            }),
    )
}

fn same_arrays(one: &[u8], other: &[u8]) -> Option<bool> {
    let one: Vec<&RawValue> = serde_json::from_slice(one).ok()?;
    let other: Vec<&RawValue> = serde_json::from_slice(other).ok()?;
    let mut pairs = one.iter().zip(&other);
    Some(
        one.len() == other.len()
            && pairs.all(|(one, other)| same(one.get().as_bytes(), other.get().as_bytes())),
    )
}

impl Event {
    /// An entity came into being, with these values.
    ///
    /// # Errors
    /// If a field cannot be written as JSON.
    pub fn created<T: Auditable + ?Sized>(value: &T) -> Result<Self, EventFault> {
        let values = Fields::of(value).into_object()?;
        Ok(Self::new("created", value.entity()).new_values(values))
    }

    /// An entity changed; `None` if no recorded field did.
    ///
    /// # Errors
    /// If a field cannot be written as JSON.
    pub fn updated<T: Auditable + ?Sized>(
        before: &T,
        after: &T,
    ) -> Result<Option<Self>, EventFault> {
        let Some((old, new)) = diff(before, after)? else { return Ok(None) };
        // Set in place: an event is large enough for its moves to be seen.
        let mut event = Self::new("updated", after.entity());
        event.old_values = Some(old);
        event.new_values = Some(new);
        Ok(Some(event))
    }

    /// An entity is gone; these were its values.
    ///
    /// # Errors
    /// If a field cannot be written as JSON.
    pub fn deleted<T: Auditable + ?Sized>(value: &T) -> Result<Self, EventFault> {
        let values = Fields::of(value).into_object()?;
        Ok(Self::new("deleted", value.entity()).old_values(values))
    }

    /// An entity is back, with these values.
    ///
    /// # Errors
    /// If a field cannot be written as JSON.
    pub fn restored<T: Auditable + ?Sized>(value: &T) -> Result<Self, EventFault> {
        let values = Fields::of(value).into_object()?;
        Ok(Self::new("restored", value.entity()).new_values(values))
    }
}
