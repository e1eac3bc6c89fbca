//! The cookies of those who have signed in.

use std::time::Duration;

use annals::access::Token;
use axum::http::{HeaderMap, HeaderValue, header};

/// The cookies of those who have signed in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cookies {
    /// Whether they travel over TLS alone.
    secure: bool,
}

impl Cookies {
    pub(crate) fn new(secure: bool) -> Self {
        Self { secure }
    }

    /// With the prefix, browsers take it over TLS and of this very host alone.
    fn name(self) -> &'static str {
        if self.secure { "__Host-annals-session" } else { "annals-session" }
    }

    /// What a request shows.
    pub(crate) fn shown(self, headers: &HeaderMap) -> Option<Token> {
        self.value(headers, self.name())?.parse().ok()
    }

    /// The value of a cookie; nobody is believed who sends two.
    pub(crate) fn value<'a>(self, headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        let lines =
            headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
        let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
        let mut values =
            pairs.filter(|(known, _)| known.trim() == name).map(|(_, value)| value.trim());
        match (values.next(), values.next()) {
            (Some(value), None) => Some(value),
            _ => None,
        }
    }

    /// Gives the browser a session.
    pub(crate) fn give(self, token: &Token, lasts: Duration) -> Option<HeaderValue> {
        self.set(self.name(), &token.to_secret_text(), "/", lasts)
    }

    /// Takes it back.
    pub(crate) fn take(self) -> Option<HeaderValue> {
        self.set(self.name(), "", "/", Duration::ZERO)
    }

    /// Gives the browser something. Its scripts do not see it, and other sites' pages send it
    /// along with nothing but links.
    pub(crate) fn set(
        self,
        name: &str,
        value: &str,
        path: &str,
        lasts: Duration,
    ) -> Option<HeaderValue> {
        let secure = if self.secure { "; Secure" } else { "" };
        let text = format!(
            "{name}={value}; Path={path}; Max-Age={}; HttpOnly; SameSite=Lax{secure}",
            lasts.as_secs()
        );
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}
