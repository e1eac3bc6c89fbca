//! URLs of backends: as messages show them, and the options that they bear.

/// The parameters behind a URL's `?`.
#[derive(Clone, Debug)]
pub(crate) struct Options<'a> {
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    address: &'a str,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Options<'a> {
    /// Those of a URL.
    pub(crate) fn of(url: &'a str) -> Self {
        let (_address, query) = url.split_once('?').unwrap_or((url, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
        Self {
            #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
            address: _address,
            pairs,
        }
    }

    /// The text of one, as it stands there.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// Takes one out; `%XX` stands for a byte. Of several, the last counts.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let value = self.pairs.iter().rfind(|(known, _)| *known == name)?.1;
        self.pairs.retain(|(known, _)| *known != name);
        Some(unescaped(value))
    }

    /// Leaves out all but some.
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    pub(crate) fn only(mut self, keep: impl Fn(&str) -> bool) -> Self {
        self.pairs.retain(|(name, _)| keep(name));
        self
    }

    /// The URL with the options that are left.
    #[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
    pub(crate) fn into_url(self) -> String {
        let mut url = self.address.to_owned();
        for (index, (name, value)) in self.pairs.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(&format!("{name}={value}"));
        }
        url
    }
}

/// Text with `%XX` read as bytes; what is no such escape stays as it is.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let escaped = (*first == b'%')
            .then(|| std::str::from_utf8(others.get(..2)?).ok())
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = &rest[if escaped.is_some() { 3 } else { 1 }..];
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

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
