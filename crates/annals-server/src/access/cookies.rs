//! The cookies of those who have signed in.

use std::time::Duration;

use annals::access::Token;
use axum::http::{HeaderMap, HeaderValue, header};

/// The name of a session.
const SESSION: &str = "annals-session";

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
    fn name(self, name: &str) -> String {
        format!("{}{name}", if self.secure { "__Host-" } else { "" })
    }

    /// The session that a request shows.
    pub(crate) fn shown(self, headers: &HeaderMap) -> Option<Token> {
        self.value(headers, SESSION)?.parse().ok()
    }

    /// What a request shows under that name; nobody is believed who shows two.
    pub(crate) fn value<'a>(self, headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        let name = self.name(name);
        let lines = headers.get_all(header::COOKIE).into_iter();
        let pairs = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';'));
        let mut values = pairs
            .filter_map(|pair| pair.split_once('='))
            .filter(|(known, _)| known.trim() == name)
            .map(|(_, value)| value.trim());
        match (values.next(), values.next()) {
            (Some(value), None) => Some(value),
            _ => None,
        }
    }

    /// Gives the browser a session.
    pub(crate) fn give(self, token: &Token, lasts: Duration) -> Option<HeaderValue> {
        self.set(SESSION, &token.to_secret_text(), lasts)
    }

    /// Takes it back.
    pub(crate) fn take(self) -> Option<HeaderValue> {
        self.set(SESSION, "", Duration::ZERO)
    }

    /// Gives the browser something. Its scripts do not see it, and other sites' pages send it
    /// along with nothing but links.
    pub(crate) fn set(self, name: &str, value: &str, lasts: Duration) -> Option<HeaderValue> {
        let secure = if self.secure { "; Secure" } else { "" };
        let text = format!(
            "{}={value}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{secure}",
            self.name(name),
            lasts.as_secs()
        );
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}
