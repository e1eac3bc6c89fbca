//! What a struct asks to be recorded.

use std::collections::HashMap;

use syn::ext::IdentExt;
use syn::{Data, DeriveInput, Field, Fields, Ident, Type};

use crate::attribute::{Given, ON_FIELD, ON_STRUCT};
use crate::faults::Faults;
use crate::name::{CASES, Case};

/// Bytes of an entity's type, at most; `annals::event::MAX_TEXT_BYTES`.
const MAX_ENTITY_BYTES: usize = 255;

/// The key of Annals' own marks, which no field may have.
const MARK: &str = "$annals";

/// A struct that can be audited.
pub(crate) struct Model<'a> {
    pub(crate) entity: String,
    pub(crate) fields: Vec<AuditedField<'a>>,
}

/// One field of it.
pub(crate) struct AuditedField<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) ty: &'a Type,
    pub(crate) is_id: bool,
    pub(crate) recorded: Recorded,
}

/// How a field is recorded.
pub(crate) enum Recorded {
    Not,
    Redacted(String),
    Personal(String),
    Plain(String),
}

impl<'a> Model<'a> {
    /// Reads a struct; names everything that is wrong with it.
    pub(crate) fn read(input: &'a DeriveInput) -> syn::Result<Self> {
        let mut faults = Faults::default();
        let given = Given::read(&input.attrs, &ON_STRUCT, &mut faults);
        let entity = entity(input, &given, &mut faults);
        let case = case(&given, &mut faults);
        let Some(named) = named_fields(input, &mut faults) else {
            return faults.or(Self { entity, fields: Vec::new() });
        };
        let mut fields = Vec::new();
        let mut unreadable = false;
        for (field, ident) in named {
            let given = Given::read(&field.attrs, &ON_FIELD, &mut faults);
            unreadable |= given.unreadable;
            fields.push(AuditedField {
                ident,
                ty: &field.ty,
                is_id: given.meta("id").is_some(),
                recorded: recorded(ident, &given, case, &mut faults),
            });
        }
        if !unreadable && !fields.iter().any(|field| field.is_id) {
            let what = format!(
                "`{}` has no id; mark the field that identifies it, or each of them, with #[auditable(id)]",
                input.ident
            );
            faults.at(&input.ident, what);
        }
        check_unique(&fields, &mut faults);
        faults.or(Self { entity, fields })
    }
}

fn entity(input: &DeriveInput, given: &Given, faults: &mut Faults) -> String {
    let Some(literal) = given.text("entity") else {
        return Case::Snake.write(&input.ident.unraw().to_string());
    };
    let entity = literal.value();
    if entity.is_empty() {
        faults.at(literal, "the entity's type must not be empty");
    }
    if entity.contains(':') {
        faults.at(literal, "the entity's type must not hold a ':', which ends the type in TYPE:ID");
    }
    if entity.contains('\0') {
        faults.at(literal, "the entity's type must not hold a NUL character, which no index can");
    }
    if entity.len() > MAX_ENTITY_BYTES {
        let what = format!(
            "the entity's type is {} bytes long, over the limit of {MAX_ENTITY_BYTES}",
            entity.len()
        );
        faults.at(literal, what);
    }
    entity
}

fn case(given: &Given, faults: &mut Faults) -> Option<Case> {
    let literal = given.text("rename_all")?;
    let asked = literal.value();
    let case = CASES.iter().find(|(name, _)| *name == asked).map(|(_, case)| *case);
    if case.is_none() {
        let known: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
        faults.at(literal, format!("unknown case; known are {}", known.join(", ")));
    }
    case
}

fn named_fields<'a>(
    input: &'a DeriveInput,
    faults: &mut Faults,
) -> Option<impl Iterator<Item = (&'a Field, &'a Ident)> + use<'a>> {
    const INSTEAD: &str = "Auditable can be derived for structs with named fields only";
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => {
                return Some(
                    fields.named.iter().filter_map(|field| Some((field, field.ident.as_ref()?))),
                );
            }
            Fields::Unnamed(fields) => {
                let what = format!(
                    "{INSTEAD}: the fields of a tuple struct have no names to record them under"
                );
                faults.at(fields, what);
            }
            Fields::Unit => faults.at(&input.ident, format!("{INSTEAD}: this one has no fields")),
        },
        Data::Enum(data) => {
            let what = format!("{INSTEAD}, not for an enum; implement annals::Auditable by hand");
            faults.at(data.enum_token, what);
        }
        Data::Union(data) => faults.at(data.union_token, format!("{INSTEAD}, not for a union")),
    }
    None
}

fn recorded(ident: &Ident, given: &Given, case: Option<Case>, faults: &mut Faults) -> Recorded {
    let plain = ident.unraw().to_string();
    let name = match given.text("rename") {
        Some(literal) => literal.value(),
        None => case.map_or_else(|| plain.clone(), |case| case.write(&plain)),
    };
    if let Some(literal) = given.text("rename") {
        if name.is_empty() {
            faults.at(literal, "the name of a field must not be empty");
        }
        if name == MARK {
            faults.at(
                literal,
                format!("the name {MARK:?} is reserved for the marks that Annals writes"),
            );
        }
    }
    match (given.meta("skip"), given.meta("redact")) {
        (Some(_), Some(redact)) => {
            faults.at(
                redact,
                format!("`{plain}` is skipped, so there is nothing to redact; keep one of the two"),
            );
        }
        (None, Some(redact)) if given.meta("id").is_some() => {
            let what = format!(
                "`{plain}` is an id, which every event names, so it cannot be redacted; `skip` keeps it out of the values"
            );
            faults.at(redact, what);
        }
        _ => {}
    }
    if let Some(personal) = given.meta("personal") {
        let instead = [("skip", "skipped"), ("redact", "redacted")];
        for (_, done) in instead.iter().filter(|(key, _)| given.meta(key).is_some()) {
            let what =
                format!("`{plain}` is {done}, so there is nothing to seal; keep one of the two");
            faults.at(personal, what);
        }
        if given.meta("id").is_some() {
            let what = format!(
                "`{plain}` is an id, which every event names, so it cannot be sealed; `skip` keeps it out of the values"
            );
            faults.at(personal, what);
        }
    }
    match (given.meta("skip"), given.meta("rename")) {
        (Some(_), Some(rename)) => {
            faults.at(
                rename,
                format!("`{plain}` is skipped, so it has no name; keep one of the two"),
            );
            Recorded::Not
        }
        (Some(_), None) => Recorded::Not,
        _ if given.meta("redact").is_some() => Recorded::Redacted(name),
        _ if given.meta("personal").is_some() => Recorded::Personal(name),
        _ => Recorded::Plain(name),
    }
}

fn check_unique(fields: &[AuditedField<'_>], faults: &mut Faults) {
    let mut first: HashMap<&str, &Ident> = HashMap::new();
    for field in fields {
        let (Recorded::Plain(name) | Recorded::Redacted(name) | Recorded::Personal(name)) =
            &field.recorded
        else {
            continue;
        };
        match first.get(name.as_str()) {
            Some(other) => {
                let what = format!(
                    "`{}` is recorded as {name:?}, and so is `{other}`; rename one of the two",
                    field.ident
                );
                faults.at(field.ident, what);
            }
            None => drop(first.insert(name, field.ident)),
        }
    }
}
