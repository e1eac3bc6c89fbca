//! Writes the implementation.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{DeriveInput, Generics, Type, WhereClause};

use crate::model::{AuditedField, Model, Recorded};

/// The implementation of `annals::Auditable`.
pub(crate) fn expand(input: &DeriveInput, model: &Model<'_>) -> TokenStream {
    let ident = &input.ident;
    let entity = &model.entity;
    let id = entity_id(model);
    let fields = model.fields.iter().filter_map(record);
    let where_clause = bounds(&input.generics, model);
    let (impl_generics, type_generics, _) = input.generics.split_for_impl();
    quote! {
        #[automatically_derived]
        #[allow(deprecated)]
        impl #impl_generics ::annals::Auditable for #ident #type_generics #where_clause {
            const ENTITY_TYPE: &'static str = #entity;

            fn entity_id(&self) -> ::std::string::String {
                #id
            }

            fn fields(&self, fields: &mut ::annals::change::Fields) {
                #(#fields)*
            }
        }
    }
}

fn entity_id(model: &Model<'_>) -> TokenStream {
    let ids: Vec<_> = model.fields.iter().filter(|field| field.is_id).collect();
    match ids.as_slice() {
        [field] => {
            let ident = field.ident;
            quote_spanned!(at(field.ty)=> ::std::string::ToString::to_string(&self.#ident))
        }
        several => {
            let parts = several.iter().map(|field| {
                let ident = field.ident;
                quote_spanned!(at(field.ty)=> &self.#ident as &dyn ::std::fmt::Display)
            });
            quote!(::annals::event::composite_id([#(#parts),*]))
        }
    }
}

fn record(field: &AuditedField<'_>) -> Option<TokenStream> {
    let ident = field.ident;
    let (method, name) = match &field.recorded {
        Recorded::Not => return None,
        Recorded::Plain(name) => (quote!(add), name),
        Recorded::Redacted(name) => (quote!(redact), name),
        Recorded::Personal(name) => (quote!(personal), name),
    };
    // The value alone has the field's place, so that a type which cannot be
    // serialized is reported there.
    let value = quote_spanned!(at(field.ty)=> &self.#ident);
    Some(quote!(fields.#method(#name, #value);))
}

/// Where a type stands, with names resolved as in our own code: a struct that a
/// macro wrote has names of its own.
fn at(ty: &Type) -> Span {
    Span::call_site().located_at(ty.span())
}

/// The struct's own bounds, and for each field whose type depends on a
/// parameter what its use here asks of it.
fn bounds(generics: &Generics, model: &Model<'_>) -> Option<WhereClause> {
    let types = generics.type_params().map(|parameter| parameter.ident.to_string());
    let consts = generics.const_params().map(|parameter| parameter.ident.to_string());
    let parameters: Vec<String> = types.chain(consts).collect();
    let mut generics = generics.clone();
    for field in &model.fields {
        if !mentions(field.ty.to_token_stream(), &parameters) {
            continue;
        }
        let ty = field.ty;
        let predicates = &mut generics.make_where_clause().predicates;
        if field.is_id {
            predicates.push(syn::parse_quote!(#ty: ::std::fmt::Display));
        }
        if !matches!(field.recorded, Recorded::Not) {
            predicates.push(syn::parse_quote!(#ty: ::annals::change::Serialize));
        }
    }
    generics.where_clause
}

fn mentions(tokens: TokenStream, parameters: &[String]) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => parameters.iter().any(|parameter| ident == parameter),
        TokenTree::Group(group) => mentions(group.stream(), parameters),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}
