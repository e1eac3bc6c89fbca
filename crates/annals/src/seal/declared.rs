//! Which fields are personal though nobody marked them.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, ErrorKind, Result};

/// Texts of an event that may be declared personal, and their pointers. They are about
/// the actor, not about the subject.
const TEXTS: [(&str, &str); 3] = [
    ("actor.name", "/actor/name"),
    ("context.ip", "/context/ip"),
    ("context.user_agent", "/context/user_agent"),
];

/// Fields that are declared personal, for events that come in without marks.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// Fields by the type of their entity.
    fields: HashMap<String, HashSet<String>>,
    texts: Vec<&'static str>,
}

impl Declared {
    /// From names like `customer.email`: the entity's type, and the field as its name
    /// stands in old and new values, behind the last dot. `actor.name`, `context.ip` and
    /// `context.user_agent` are those texts of every event.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a name without a dot.
    pub fn of<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Result<Self> {
        let mut declared = Self::default();
        for name in names {
            let name = name.as_ref();
            if let Some((_, pointer)) = TEXTS.iter().find(|(text, _)| *text == name) {
                declared.texts.push(pointer);
                continue;
            }
            match name.rsplit_once('.') {
                Some((entity, field)) if !entity.is_empty() && !field.is_empty() => {
                    let fields = declared.fields.entry(entity.to_owned()).or_default();
                    // As a pointer over JSON's text has it.
                    let text = serde_json::Value::from(field).to_string();
                    let key = text[1..text.len() - 1].replace('~', "~0").replace('/', "~1");
                    fields.insert(key);
                }
                _ => {
                    let doing = format!("declare the field {name:?} personal");
                    return Err(Error::new(ErrorKind::Usage, doing, "it names no entity's type")
                        .hint("write TYPE.FIELD such as customer.email"));
                }
            }
        }
        Ok(declared)
    }

    /// The fields of entities of this type.
    pub(super) fn fields(&self, entity_type: &str) -> Option<&HashSet<String>> {
        self.fields.get(entity_type)
    }

    /// The texts, as pointers.
    pub(super) fn texts(&self) -> &[&'static str] {
        &self.texts
    }

    /// Whether an entity of this type may have personal fields.
    pub(super) fn concerns(&self, entity_type: &str) -> bool {
        !self.texts.is_empty() || self.fields.contains_key(entity_type)
    }
}
