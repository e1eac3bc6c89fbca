//! A message's properties as the fields of an event.
//!
//! Both serializers' messages are JSON here. What cannot be the field that its name
//! says, such as a list where a text belongs, goes to the metadata with the rest.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{Field, Mapping};
use crate::event::{Object, Text, Timestamp};
use crate::foreign::Zone;

/// The properties of one message.
pub(super) struct Found<'a> {
    properties: Vec<Property<'a>>,
}

struct Property<'a> {
    name: Cow<'a, str>,
    value: &'a RawValue,
    field: Option<(Field, usize)>,
    /// Whether the event has it.
    used: bool,
}

/// Old and new values, as JSON objects.
#[derive(Default)]
pub(super) struct Values {
    pub(super) old: Option<String>,
    pub(super) new: Option<String>,
}

impl<'a> Found<'a> {
    pub(super) fn of(object: &'a Object, mapping: &Mapping) -> Self {
        let property = |(name, value): (Cow<'a, str>, &'a RawValue)| {
            let field = mapping.field(&name);
            Property { name, value, field, used: false }
        };
        Self { properties: object.fields().into_iter().map(property).collect() }
    }

    /// The property that is a field, if it has a value.
    fn find(&mut self, field: Field) -> Option<&mut Property<'a>> {
        let candidates = self.properties.iter_mut().filter_map(|property| match property.field {
            Some((its, rank)) if its == field && property.value.get() != "null" => {
                Some((rank, property))
            }
            _ => None,
        });
        candidates.min_by_key(|(rank, _)| *rank).map(|(_, property)| property)
    }

    /// Whether a field has a value.
    pub(super) fn has(&mut self, field: Field) -> bool {
        let told = self.find(field).and_then(|property| text(property.value));
        told.is_some_and(|told| !told.text.is_empty())
    }

    /// A field that is a text.
    pub(super) fn text(&mut self, field: Field) -> Option<Text> {
        let property = self.find(field)?;
        let found = text(property.value)?;
        property.used = found.whole;
        Some(Cow::Owned(found.text))
    }

    /// A field that is a name, which an empty text is not.
    pub(super) fn name(&mut self, field: Field) -> Option<Text> {
        self.text(field).filter(|text| !text.is_empty())
    }

    /// When it happened, if the message says so.
    pub(super) fn time(&mut self, zone: &Zone) -> Result<Option<Timestamp>, String> {
        let Some(property) = self.find(Field::OccurredAt) else { return Ok(None) };
        let time =
            time(property.value.get(), zone).map_err(|why| format!("{}: {why}", property.name))?;
        property.used = true;
        Ok(Some(time))
    }

    /// Old and new values: as two properties, or as one of changes.
    pub(super) fn values(&mut self, action: &str) -> Values {
        let mut values =
            Values { old: self.object(Field::OldValues), new: self.object(Field::NewValues) };
        if values.old.is_some() || values.new.is_some() {
            return values;
        }
        let Some(property) = self.find(Field::Changes) else { return values };
        if let Some(changes) = changes(property.value, action) {
            property.used = true;
            values = changes;
        }
        values
    }

    fn object(&mut self, field: Field) -> Option<String> {
        let property = self.find(field)?;
        property.used = is_empty(property.value) || property.value.get().starts_with('{');
        let filled = property.used && !is_empty(property.value);
        filled.then(|| property.value.get().to_owned())
    }

    /// What no field has, as the event's metadata.
    pub(super) fn rest(&self, class: &str) -> String {
        let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
        let mut out = format!("{{\"symfony\":{{\"class\":{}", quoted(class));
        let mut separator = ",\"properties\":{";
        for property in self.properties.iter().filter(|property| !property.used) {
            // A null of a field that the event has not is no more than that.
            if property.field.is_some() && property.value.get() == "null" {
                continue;
            }
            out.push_str(&format!(
                "{separator}{}:{}",
                quoted(&property.name),
                property.value.get()
            ));
            separator = ",";
        }
        out.push_str(if separator == "," { "}}}" } else { "}}" });
        out
    }

    /// Says that a field which an event must have is none of the properties.
    pub(super) fn missing(&self, field: &str) -> String {
        let names: Vec<&str> =
            self.properties.iter().map(|property| &*property.name).take(20).collect();
        format!(
            "no property is the event's {field}; it has {}, and symfony.map says which is which",
            names.join(", ")
        )
    }
}

/// A value as text.
struct Told {
    text: String,
    /// Whether that is all of it.
    whole: bool,
}

/// A text, a number, or an object that is one value (an id of a class of its own) or
/// has an `id`.
fn text(value: &RawValue) -> Option<Told> {
    let raw = value.get();
    match raw.as_bytes().first()? {
        b'"' => {
            let text: String = serde_json::from_str(raw).ok()?;
            Some(Told { text, whole: true })
        }
        b'{' => {
            let object = Object::from_checked(raw.to_owned()).ok()?;
            let fields = object.fields();
            let inner = match fields.as_slice() {
                [(_, only)] => Some(*only),
                many => many.iter().find(|(name, _)| name == "id").map(|(_, id)| *id),
            };
            let inner = text(inner?)?;
            Some(Told { whole: fields.len() == 1 && inner.whole, ..inner })
        }
        b'[' | b'n' => None,
        _ => Some(Told { text: raw.to_owned(), whole: true }),
    }
}

/// RFC 3339; `2026-11-22 01:36:19` of the application's zone; a day; seconds or
/// milliseconds since 1970; or an object with such a `timestamp`.
fn time(raw: &str, zone: &Zone) -> Result<Timestamp, String> {
    let none = || format!("expected a time, found {}", crate::event::abbreviate(raw));
    match raw.as_bytes().first() {
        Some(b'"') => {
            let text: String = serde_json::from_str(raw).map_err(|_| none())?;
            let digits = text.strip_prefix('@').unwrap_or(&text);
            if !digits.is_empty()
                && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
            {
                return time(digits, zone);
            }
            if text.len() == 10 {
                return zone.read(&format!("{text} 00:00:00"));
            }
            zone.read(&text)
        }
        Some(b'{') => {
            let object = Object::from_checked(raw.to_owned()).map_err(|_| none())?;
            if let Some(number) = object.get::<Box<RawValue>>("timestamp") {
                return time(number.get(), zone);
            }
            match object.get::<String>("timezone") {
                Some(zone) => Err(format!("the time zone {zone} is not known on this machine")),
                None => Err(none()),
            }
        }
        Some(b'0'..=b'9') => unix(raw).ok_or_else(none),
        _ => Err(none()),
    }
}

/// Seconds since 1970 with their fraction, to the digit; or milliseconds, which such a
/// number is from 1973 on.
fn unix(number: &str) -> Option<Timestamp> {
    const MILLIS_FROM: i64 = 100_000_000_000;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: i64 = whole.parse().ok()?;
    let mut micros = 0;
    for place in 0..6 {
        let digit = fraction.as_bytes().get(place).copied().unwrap_or(b'0');
        micros = micros * 10 + i64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
    }
    if whole >= MILLIS_FROM {
        return Timestamp::from_micros(whole.checked_mul(1000)?.checked_add(micros / 1000)?);
    }
    Timestamp::from_micros(whole * 1_000_000 + micros)
}

/// PHP writes an array without elements as `[]`, whatever its keys would be.
fn is_empty(value: &RawValue) -> bool {
    matches!(value.get(), "[]" | "{}" | "null")
}

/// The keys of a pair.
const PAIRS: [(&str, &str); 3] = [("old", "new"), ("before", "after"), ("from", "to")];

/// `{field: [old, new]}`, `{field: {old: …, new: …}}` or `{old: {…}, new: {…}}`. `None`
/// for any other shape.
fn changes(value: &RawValue, action: &str) -> Option<Values> {
    if is_empty(value) {
        return Some(Values::default());
    }
    let object = Object::from_checked(value.get().to_owned()).ok()?;
    if let Some((old, new)) = named_pair(&object)
        && [old, new].iter().all(|side| is_empty(side) || side.get().starts_with('{'))
    {
        let side = |side: &RawValue| (!is_empty(side)).then(|| side.get().to_owned());
        return Some(Values { old: side(old), new: side(new) });
    }
    let (mut olds, mut news) = (String::from("{"), String::from("{"));
    let (mut any_old, mut any_new) = (false, false);
    for (index, (name, value)) in object.fields().into_iter().enumerate() {
        let (old, new) = pair(value)?;
        let comma = if index == 0 { "" } else { "," };
        let name = serde_json::to_string(&name).ok()?;
        olds.push_str(&format!("{comma}{name}:{old}"));
        news.push_str(&format!("{comma}{name}:{new}"));
        any_old |= old != "null";
        any_new |= new != "null";
    }
    olds.push('}');
    news.push('}');
    // What was created had no values before, and what was deleted has none after.
    let action = action.to_ascii_lowercase();
    let says = |words: [&str; 2]| words.iter().any(|word| action.contains(word));
    Some(Values {
        old: (any_old || !says(["creat", "insert"])).then_some(olds),
        new: (any_new || !says(["delet", "remov"])).then_some(news),
    })
}

/// The two sides of one field's change.
fn pair(value: &RawValue) -> Option<(String, String)> {
    if value.get().starts_with('[') {
        let sides: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
        let [old, new] = sides.as_slice() else { return None };
        return Some((old.get().to_owned(), new.get().to_owned()));
    }
    let object = Object::from_checked(value.get().to_owned()).ok()?;
    named_pair(&object).map(|(old, new)| (old.get().to_owned(), new.get().to_owned()))
}

fn named_pair(object: &Object) -> Option<(&RawValue, &RawValue)> {
    let fields = object.fields();
    let [(first, _), (second, _)] = fields.as_slice() else { return None };
    let is = |(old, new): &&(&str, &str)| {
        (first == old && second == new) || (first == new && second == old)
    };
    let (old, _) = PAIRS.iter().find(is)?;
    let (mut fields, turned) = (fields.iter().map(|(_, value)| *value), first != old);
    let (first, second) = (fields.next()?, fields.next()?);
    Some(if turned { (second, first) } else { (first, second) })
}
