//! What changed: the fields of a value, and the difference of two.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

// What the derive's output bounds type parameters with.
#[doc(hidden)]
pub use serde::Serialize;
use serde_json::value::RawValue;

use crate::event::{Entity, Event, EventFault, MARK, Object, REDACTED, Text, compact_captured};

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
        Entity::new(Self::ENTITY_TYPE, self.entity_id())
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
    json: Vec<u8>,
    entries: Vec<Entry>,
    fault: Option<EventFault>,
}

#[derive(Debug)]
struct Entry {
    name: Text,
    value: Range<usize>,
    redacted: bool,
}

impl Fields {
    /// The fields that `value` names.
    pub fn of<T: Auditable + ?Sized>(value: &T) -> Self {
        let mut fields = Self { json: Vec::with_capacity(256), ..Self::default() };
        value.fields(&mut fields);
        fields
    }

    /// Adds a field. A value that cannot be written as JSON (a map whose keys
    /// are not text), or a name that was added before, makes the event fail when
    /// it is recorded.
    pub fn add<T: Serialize + ?Sized>(&mut self, name: impl Into<Text>, value: &T) {
        self.push(name.into(), value, false);
    }

    /// Adds a field of which only the fact that it changed is recorded.
    pub fn redact<T: Serialize + ?Sized>(&mut self, name: impl Into<Text>, value: &T) {
        self.push(name.into(), value, true);
    }

    fn push<T: Serialize + ?Sized>(&mut self, name: Text, value: &T, redacted: bool) {
        let start = self.json.len();
        if let Err(what) = self.write(&name, value) {
            self.json.truncate(start);
            // What is wrong with a redacted value may quote it.
            let what = if redacted { "cannot be written as JSON".to_owned() } else { what };
            self.fault.get_or_insert(EventFault::single(name, what));
            return;
        }
        self.entries.push(Entry { name, value: start..self.json.len(), redacted });
    }

    fn write<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), String> {
        if name == MARK {
            return Err("is the key that is reserved for the marks that Annals writes".to_owned());
        }
        if self.entries.iter().any(|entry| entry.name == name) {
            return Err("is named twice".to_owned());
        }
        let start = self.json.len();
        serde_json::to_writer(&mut self.json, value)
            .map_err(|error| format!("cannot be written as JSON: {error}"))?;
        if !is_plain(&self.json[start..]) {
            let mut compact = String::new();
            let text = std::str::from_utf8(&self.json[start..]).unwrap_or_default();
            compact_captured(text, &mut compact).map_err(|fault| fault.to_string())?;
            self.json.truncate(start);
            self.json.extend_from_slice(compact.as_bytes());
        }
        Ok(())
    }

    fn value(&self, entry: &Entry) -> &str {
        // `serde_json` and the scanner write UTF-8 only.
        std::str::from_utf8(&self.json[entry.value.clone()]).unwrap_or_default()
    }

    fn find(&self, name: &str, hint: usize) -> Option<&Entry> {
        // Two values of one type name their fields in the same order.
        match self.entries.get(hint) {
            Some(entry) if entry.name == name => Some(entry),
            _ => self.entries.iter().find(|entry| entry.name == name),
        }
    }

    fn object<'a>(&'a self, entries: impl Iterator<Item = &'a Entry>) -> Object {
        let mut text = Vec::with_capacity(self.json.len() + 16 * self.entries.len() + 2);
        text.push(b'{');
        for entry in entries {
            if text.len() > 1 {
                text.push(b',');
            }
            // A text always can be written.
            let _ = serde_json::to_writer(&mut text, &*entry.name);
            text.push(b':');
            text.extend_from_slice(
                if entry.redacted { REDACTED } else { self.value(entry) }.as_bytes(),
            );
        }
        text.push(b'}');
        Object::from_writer(text)
    }

    /// All fields as an object.
    ///
    /// # Errors
    /// The first field that could not be written.
    pub fn into_object(self) -> Result<Object, EventFault> {
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(self.object(self.entries.iter())),
        }
    }
}

/// Whether a value that `serde_json` wrote needs no further check: a word, a text
/// without escapes, or a number without exponent. Others may nest too deep, name
/// a key twice, look like a mark of ours, or hold raw text of the application's.
fn is_plain(json: &[u8]) -> bool {
    match json.first() {
        Some(b'"') => !json.contains(&b'\\'),
        Some(b't' | b'f' | b'n') => true,
        _ => json.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'.')),
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
    let (old, new) = (Fields::of(before), Fields::of(after));
    if let Some(fault) = old.fault.as_ref().or(new.fault.as_ref()) {
        return Err(fault.clone());
    }
    let changed = |here: &Fields, there: &Fields| {
        let mut changed = Vec::with_capacity(here.entries.len());
        for (index, entry) in here.entries.iter().enumerate() {
            let other = there.find(&entry.name, index);
            if other.is_none_or(|other| !same(here.value(entry), there.value(other))) {
                changed.push(index);
            }
        }
        changed
    };
    let (gone, come) = (changed(&old, &new), changed(&new, &old));
    if gone.is_empty() && come.is_empty() {
        return Ok(None);
    }
    let pick = |fields: &Fields, which: &[usize]| {
        fields.object(which.iter().map(|index| &fields.entries[*index]))
    };
    Ok(Some((pick(&old, &gone), pick(&new, &come))))
}

/// Whether two JSON texts stand for the same value: a map may have written its
/// keys in another order. Numbers are compared as they are written, since not
/// all of them fit a float. Both were checked, so that they do not nest deep.
fn same(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    match (one.as_bytes().first(), other.as_bytes().first()) {
        (Some(b'{'), Some(b'{')) => same_objects(one, other).unwrap_or(false),
        (Some(b'['), Some(b'[')) => same_arrays(one, other).unwrap_or(false),
        _ => false,
    }
}

fn same_objects(one: &str, other: &str) -> Option<bool> {
    /// A key, borrowed where it has no escapes.
    #[derive(serde::Deserialize, PartialEq, Eq, PartialOrd, Ord)]
    struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

    let one: BTreeMap<Key<'_>, &RawValue> = serde_json::from_str(one).ok()?;
    let other: BTreeMap<Key<'_>, &RawValue> = serde_json::from_str(other).ok()?;
    let mut pairs = one.iter().zip(&other);
    Some(
        one.len() == other.len()
            && pairs.all(|(one, other)| one.0 == other.0 && same(one.1.get(), other.1.get())),
    )
}

fn same_arrays(one: &str, other: &str) -> Option<bool> {
    let one: Vec<&RawValue> = serde_json::from_str(one).ok()?;
    let other: Vec<&RawValue> = serde_json::from_str(other).ok()?;
    let mut pairs = one.iter().zip(&other);
    Some(one.len() == other.len() && pairs.all(|(one, other)| same(one.get(), other.get())))
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
        let changed = diff(before, after)?;
        Ok(changed
            .map(|(old, new)| Self::new("updated", after.entity()).old_values(old).new_values(new)))
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
