//! The faults of one struct, reported together.

use std::fmt;

use quote::ToTokens;

/// Collects errors, each with the tokens that it is about.
#[derive(Default)]
pub(crate) struct Faults(Option<syn::Error>);

impl Faults {
    /// Adds a fault at `tokens`.
    pub(crate) fn at(&mut self, tokens: impl ToTokens, what: impl fmt::Display) {
        self.add(syn::Error::new_spanned(tokens, what));
    }

    /// Adds a fault that was found elsewhere.
    pub(crate) fn add(&mut self, fault: syn::Error) {
        match &mut self.0 {
            Some(faults) => faults.combine(fault),
            None => self.0 = Some(fault),
        }
    }

    /// `value` if there were no faults.
    pub(crate) fn or<T>(self, value: T) -> syn::Result<T> {
        self.0.map_or(Ok(value), Err)
    }
}
