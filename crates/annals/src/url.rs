//! URLs of backends, as messages show them.

/// A URL without the password in its authority, and without the values of query
/// parameters that hold secrets.
#[must_use]
pub fn without_secrets(url: &str) -> String {
    let (address, query) = match url.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (url, None),
    };
    let mut shown = hide_password(address);
    if let Some(query) = query {
        let hidden = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) if is_secret(name) => format!("{name}=***"),
            _ => pair.to_owned(),
        });
        shown.push('?');
        shown.push_str(&hidden.collect::<Vec<_>>().join("&"));
    }
    shown
}

fn hide_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return address.to_owned();
    };
    // A password may hold an unescaped '@' or '/', so everything up to the last
    // '@' counts as the user's part.
    let Some((user, host)) = rest.rsplit_once('@') else {
        return address.to_owned();
    };
    match user.split_once(':') {
        Some((name, _)) => format!("{scheme}://{name}:***@{host}"),
        None => address.to_owned(),
    }
}

fn is_secret(parameter: &str) -> bool {
    let name = parameter.to_ascii_lowercase();
    // Where a secret is kept is none.
    if name.ends_with("_file") {
        return false;
    }
    ["password", "passwd", "pwd", "secret", "token", "key"].iter().any(|word| {
        // `key=` alone names a Redis list; `api_key=` is a secret.
        name.contains(word) && name != "key"
    })
}
