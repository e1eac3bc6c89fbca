//! What changed: the fields of a value, and the difference of two.

use std::ops::Range;

use serde::Serialize;

use crate::event::{Entity, Event, EventFault, Object, REDACTED, Text, compact_captured};

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
    /// are not text) makes the event fail when it is recorded.
    pub fn add<T: Serialize + ?Sized>(&mut self, name: impl Into<Text>, value: &T) {
        self.push(name.into(), value, false);
    }

    /// Adds a field of which only the fact that it changed is recorded.
    pub fn redact<T: Serialize + ?Sized>(&mut self, name: impl Into<Text>, value: &T) {
        self.push(name.into(), value, true);
    }

    fn push<T: Serialize + ?Sized>(&mut self, name: Text, value: &T, redacted: bool) {
        let start = self.json.len();
        let written = serde_json::to_writer(&mut self.json, value)
            .map_err(|error| format!("cannot be written as JSON: {error}"))
            .and_then(|()| check(&self.json[start..]));
        if let Err(what) = written {
            self.json.truncate(start);
            self.fault.get_or_insert(EventFault::single(name.clone(), what));
            return;
        }
        self.entries.push(Entry { name, value: start..self.json.len(), redacted });
    }

    fn value(&self, entry: &Entry) -> &[u8] {
        &self.json[entry.value.clone()]
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
            text.extend_from_slice(if entry.redacted { REDACTED.as_bytes() } else { self.value(entry) });
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

/// What every reader must be able to read: no deep nesting, no mark of ours.
fn check(json: &[u8]) -> Result<(), String> {
    let opens = json.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
    let reserved = json.windows(9).any(|window| window == b"\"$annals\"");
    if opens <= crate::event::MAX_DEPTH && !reserved {
        return Ok(());
    }
    let text = std::str::from_utf8(json).unwrap_or_default();
    compact_captured(text, &mut String::new()).map_err(|fault| fault.to_string())
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
            if other.is_none_or(|other| differ(here.value(entry), there.value(other))) {
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

/// Whether two JSON texts stand for different values: a map may have written
/// its keys in another order.
fn differ(one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return false;
    }
    if one.first() != other.first() || !matches!(one.first(), Some(b'{' | b'[')) {
        return true;
    }
    let parse = serde_json::from_slice::<serde_json::Value>;
    match (parse(one), parse(other)) {
        (Ok(one), Ok(other)) => one != other,
        _ => true,
    }
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
    pub fn updated<T: Auditable + ?Sized>(before: &T, after: &T) -> Result<Option<Self>, EventFault> {
        let changed = diff(before, after)?;
        Ok(changed.map(|(old, new)| {
            Self::new("updated", after.entity()).old_values(old).new_values(new)
        }))
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
