//! What each request needs, as the API's description says.

use std::collections::HashMap;

use annals::access::Scope;
use axum::http::Method;
use serde_json::Value;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{OpenApi, PathItem};

/// The name of the keys in the description.
pub(crate) const KEY: &str = "key";

/// The name of the sessions of people in the description.
pub(crate) const SESSION: &str = "session";

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: it is for everybody.
    Nothing,
    /// To be let in.
    Right(Right),
}

/// Who is let in, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Right {
    /// Programs of this machine, without anything.
    pub(super) near: bool,
    /// Who shows a key.
    pub(super) by_key: bool,
    /// Who has signed in.
    pub(super) by_session: bool,
    /// Who may do this; if there is none, whoever is known.
    pub(super) scope: Option<Scope>,
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
    let (mut near, mut ways) = (false, Vec::new());
    for way in security.as_array()? {
        let way: Vec<(&String, &Value)> = way.as_object()?.iter().collect();
        match way.as_slice() {
            [] => near = true,
            [(name, scopes)] => ways.push((name.as_str(), scope(scopes)?)),
            _ => return None,
        }
    }
    let Some((_, scope)) = ways.first().copied() else {
        return near.then_some(Need::Nothing);
    };
    let known = ways.iter().all(|(name, of)| [KEY, SESSION].contains(name) && *of == scope);
    let by = |wanted| ways.iter().any(|(name, _)| *name == wanted);
    let (by_key, by_session) = (by(KEY), by(SESSION));
    known.then_some(Need::Right(Right { near, by_key, by_session, scope }))
}

/// The scope that is named, or none.
#[expect(clippy::option_option, reason = "no scope is not the same as one that is none of ours")]
fn scope(scopes: &Value) -> Option<Option<Scope>> {
    match scopes.as_array()?.as_slice() {
        [] => Some(None),
        [scope] => scope.as_str()?.parse().ok().map(Some),
        _ => None,
    }
}
