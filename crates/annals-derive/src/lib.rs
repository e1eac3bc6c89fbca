//! `#[derive(Auditable)]`: see `annals::Auditable` for what it is for.
//!
//! Three steps, each in its module: `attribute` reads one `#[auditable(…)]`,
//! `model` makes of the whole struct what is to be recorded, and `expand`
//! writes the implementation. Each collects its faults, so that one compilation
//! names all that is wrong with a struct.

mod attribute;
mod expand;
mod faults;
mod model;
mod name;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `annals::Auditable` for a struct with named fields.
///
/// On the struct:
///
/// - `#[auditable(entity = "product")]`: the entity's type. Without it, the
///   struct's name in snake_case.
/// - `#[auditable(rename_all = "camelCase")]`: how the recorded names of all
///   fields are written that have no `rename` of their own; also `PascalCase`,
///   `snake_case`, `SCREAMING_SNAKE_CASE` and `kebab-case`.
///
/// On a field:
///
/// - `id`: identifies the entity; its type implements `Display`. Of several,
///   the id is made by `annals::event::composite_id` in the order of the fields.
///   An id is recorded as a value too, unless it is skipped.
/// - `skip`: is not recorded.
/// - `redact`: only that it changed is recorded, never a value.
/// - `personal`: is sealed by the worker under the key of the event's subject, which can
///   be erased.
/// - `rename = "name"`: is recorded under another name.
///
/// What is recorded implements `serde::Serialize`. Two values are the same if
/// their JSON is: a `HashMap` in another order is no change, a `HashSet` in
/// another order is one (use a `BTreeSet`), and a NaN is recorded as null.
#[proc_macro_derive(Auditable, attributes(auditable))]
pub fn derive_auditable(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    model::Model::read(&input)
        .map_or_else(syn::Error::into_compile_error, |model| expand::expand(&input, &model))
        .into()
}
