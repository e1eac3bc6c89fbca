//! Reads the `#[auditable(…)]` attributes of one struct or field.

use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Lit, LitStr, Meta, Token};

use crate::faults::Faults;

/// The keys known in one place, and what each takes.
pub(crate) struct Known {
    /// "on a field", for messages.
    pub(crate) place: &'static str,
    /// Each key, and an example of its value if it takes one.
    pub(crate) keys: &'static [(&'static str, Option<&'static str>)],
}

/// What stands on a struct.
pub(crate) const ON_STRUCT: Known = Known {
    place: "on a struct",
    keys: &[("entity", Some("\"product\"")), ("rename_all", Some("\"camelCase\""))],
};

/// What stands on a field.
pub(crate) const ON_FIELD: Known = Known {
    place: "on a field",
    keys: &[
        ("id", None),
        ("skip", None),
        ("redact", None),
        ("personal", None),
        ("rename", Some("\"name\"")),
    ],
};

/// The attributes that were given in one place, each once.
pub(crate) struct Given {
    entries: Vec<(&'static str, Meta, Option<LitStr>)>,
    /// Whether an attribute could not be read at all, so that what is missing
    /// may have been in it.
    pub(crate) unreadable: bool,
}

impl Given {
    /// Reads all `#[auditable(…)]` among `attributes`.
    pub(crate) fn read(attributes: &[Attribute], known: &Known, faults: &mut Faults) -> Self {
        let mut given = Self { entries: Vec::new(), unreadable: false };
        for attribute in attributes {
            if !attribute.path().is_ident("auditable") {
                continue;
            }
            match &attribute.meta {
                Meta::List(list) => {
                    match list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated) {
                        Ok(metas) => {
                            for meta in metas {
                                given.entry(meta, known, faults);
                            }
                        }
                        Err(fault) => {
                            given.unreadable = true;
                            faults.add(fault);
                        }
                    }
                }
                _ => {
                    given.unreadable = true;
                    let what = format!("expected #[auditable(…)] with {}", known.names());
                    faults.at(attribute, what);
                }
            }
        }
        given
    }

    fn entry(&mut self, meta: Meta, known: &Known, faults: &mut Faults) {
        let found = known.keys.iter().find(|(key, _)| meta.path().is_ident(key));
        let Some((key, example)) = found else {
            let path = meta.path();
            let written = quote::quote!(#path).to_string().replace(' ', "");
            let what = format!(
                "unknown attribute `{written}`; known {} are {}",
                known.place,
                known.names()
            );
            return faults.at(path, what);
        };
        if self.meta(key).is_some() {
            return faults.at(&meta, format!("`{key}` is given twice"));
        }
        let text = match (example, &meta) {
            (None, Meta::Path(_)) => None,
            (None, _) => {
                self.unreadable = true;
                return faults.at(&meta, format!("`{key}` takes no value"));
            }
            (Some(_), Meta::NameValue(pair)) if text_of(&pair.value).is_some() => {
                text_of(&pair.value).cloned()
            }
            (Some(example), _) => {
                let what = format!("`{key}` needs a text, such as {key} = {example}");
                return faults.at(&meta, what);
            }
        };
        self.entries.push((key, meta, text));
    }

    /// The attribute with that key, as it was written.
    pub(crate) fn meta(&self, key: &str) -> Option<&Meta> {
        self.entries.iter().find(|(known, ..)| *known == key).map(|(_, meta, _)| meta)
    }

    /// The text that was given for that key.
    pub(crate) fn text(&self, key: &str) -> Option<&LitStr> {
        self.entries.iter().find(|(known, ..)| *known == key).and_then(|(_, _, text)| text.as_ref())
    }
}

impl Known {
    fn names(&self) -> String {
        let mut names = String::new();
        for (index, (key, example)) in self.keys.iter().enumerate() {
            let separator = match index {
                0 => "",
                last if last + 1 == self.keys.len() => " and ",
                _ => ", ",
            };
            let value = example.map(|example| format!(" = {example}")).unwrap_or_default();
            names.push_str(&format!("{separator}`{key}{value}`"));
        }
        names
    }
}

fn text_of(value: &Expr) -> Option<&LitStr> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text),
        _ => None,
    }
}
