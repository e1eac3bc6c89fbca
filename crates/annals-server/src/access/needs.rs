//! What each request needs, as the API's description says.

use std::collections::HashMap;

use annals::access::Scope;
use axum::http::Method;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{OpenApi, PathItem};

/// The name of the keys in the description.
pub(crate) const SCHEME: &str = "key";

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: it is for everybody.
    Nothing,
    /// A key with this scope.
    Scope(Scope),
    /// Such a key, or to come from this machine.
    NearOr(Scope),
}

/// What each request needs, by path and method.
#[derive(Debug)]
pub(crate) struct Needs(HashMap<String, Vec<(Method, Need)>>);

impl Needs {
    pub(crate) fn described_by(api: &OpenApi) -> Self {
        let paths = api.paths.paths.iter();
        Self(paths.map(|(path, item)| (path.clone(), needs(item))).collect())
    }

    /// # Errors
    /// The methods there are, if this is not one of them.
    pub(super) fn of(&self, method: &Method, path: &str) -> Result<Need, String> {
        // Who may see the body may see that it is there.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let needs = self.0.get(path).map(Vec::as_slice).unwrap_or_default();
        let found = needs.iter().find(|(described, _)| described == method);
        found.map(|(_, need)| *need).ok_or_else(|| {
            let methods: Vec<&str> = needs.iter().map(|(method, _)| method.as_str()).collect();
            methods.join(", ")
        })
    }
}

fn needs(item: &PathItem) -> Vec<(Method, Need)> {
    let methods = [
        (Method::GET, &item.get),
        (Method::POST, &item.post),
        (Method::PUT, &item.put),
        (Method::PATCH, &item.patch),
        (Method::DELETE, &item.delete),
    ];
    let described = methods
        .into_iter()
        .filter_map(|(method, operation)| Some((method, need(operation.as_ref()?)?)));
    described.collect()
}

/// What an operation says that it needs; `None` if it does not say it in our words, and
/// nobody is to be let in.
fn need(operation: &Operation) -> Option<Need> {
    let security = serde_json::to_value(operation.security.as_ref()?).ok()?;
    let scope = |with: &serde_json::Value| {
        let [scope] = with.get(SCHEME)?.as_array()?.as_slice() else { return None };
        scope.as_str()?.parse().ok()
    };
    let is_none =
        |with: &serde_json::Value| with.as_object().is_some_and(serde_json::Map::is_empty);
    match security.as_array()?.as_slice() {
        [none] if is_none(none) => Some(Need::Nothing),
        [key] => scope(key).map(Need::Scope),
        [none, key] if is_none(none) => scope(key).map(Need::NearOr),
        _ => None,
    }
}
