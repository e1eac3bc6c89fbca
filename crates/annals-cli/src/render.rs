//! What people see: lines, diffs and tables.
//!
//! Every function gives text with colours in it, which [`crate::out::Out`] takes
//! away again where nobody looks. Whatever comes out of an event is hostile and
//! passes through [`shown()`].

pub(crate) mod diff;
pub(crate) mod line;
mod shown;
pub(crate) mod size;
pub(crate) mod style;
pub(crate) mod table;
mod value;

#[cfg(test)]
mod tests;

pub(crate) use shown::shown;
pub(crate) use value::value;
