//! Fields that an application forgot to hide.
//!
//! What a foreign queue holds was written without Annals, so its secrets are in the
//! payload already. They are redacted before the first byte is stored: a field whose
//! name is on the list, however deep it lies in the old or new values, keeps its name
//! and has a mark in the place of its value.

use crate::event::{REDACTED, end_of_string, end_of_value};

/// Names of fields that hold secrets in the tables of Laravel and Symfony
/// applications; `*` stands for any beginning.
const STANDARD: [&str; 22] = [
    "*password",
    "password_confirmation",
    "password_hash",
    "password_digest",
    "*passwd",
    "*passphrase",
    "*token",
    "*tokens",
    "*secret",
    "*secrets",
    "two_factor_recovery_codes",
    "recovery_codes",
    "backup_codes",
    "*otp",
    "totp_seed",
    "*api_key",
    "*private_key",
    "*secret_key",
    "*credentials",
    "authorization",
    "cvv",
    "cvc",
];

/// Which fields hold secrets. Letter case, `_` and `-` make no difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets {
    exact: Vec<String>,
    endings: Vec<String>,
}

impl Default for Secrets {
    /// The standard list.
    fn default() -> Self {
        Self::none().and(STANDARD)
    }
}

impl Secrets {
    /// An empty list.
    #[must_use]
    pub fn none() -> Self {
        Self { exact: Vec::new(), endings: Vec::new() }
    }

    /// Adds names; one that begins with `*` stands for every name that ends so.
    #[must_use]
    pub fn and<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        for name in names {
            let name = name.as_ref();
            match name.strip_prefix('*') {
                Some(ending) => self.endings.push(plain(ending)),
                None => self.exact.push(plain(name)),
            }
        }
        self
    }

    /// Whether a field of that name holds a secret.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        // Most names differ from a secret's in their last letter: nothing is copied.
        let rest = |ending: &String| {
            let mut letters = name.bytes().rev().filter(|byte| !matches!(byte, b'_' | b'-'));
            let ends = ending.bytes().rev().all(|wanted| {
                letters.next().is_some_and(|byte| byte.to_ascii_lowercase() == wanted)
            });
            ends.then(|| letters.next().is_some())
        };
        self.endings.iter().any(|ending| rest(ending).is_some())
            || self.exact.iter().any(|exact| rest(exact) == Some(false))
    }

    /// Compact JSON with the values of secret fields redacted; `None` if it has none.
    pub(crate) fn redacted(&self, json: &str) -> Option<String> {
        let bytes = json.as_bytes();
        let (mut out, mut copied, mut at) = (String::new(), 0, 0);
        while let Some(open) = next(bytes, at, b'"') {
            let close = end_of_string(bytes, open);
            at = close;
            // In compact JSON the string before a colon is a key.
            if bytes.get(close) != Some(&b':') || !self.hides(&json[open..close]) {
                continue;
            }
            let value = close + 1;
            at = end_of_value(bytes, value);
            if &json[value..at] != REDACTED {
                out.push_str(&json[copied..value]);
                out.push_str(REDACTED);
                copied = at;
            }
        }
        if copied == 0 {
            return None;
        }
        out.push_str(&json[copied..]);
        Some(out)
    }

    /// Whether a quoted key names a secret.
    fn hides(&self, quoted: &str) -> bool {
        match quoted.contains('\\') {
            false => self.has(&quoted[1..quoted.len() - 1]),
            true => serde_json::from_str::<String>(quoted).is_ok_and(|name| self.has(&name)),
        }
    }
}

/// A name as it is compared.
fn plain(name: &str) -> String {
    let kept = name.chars().filter(|letter| !matches!(letter, '_' | '-'));
    kept.map(|letter| letter.to_ascii_lowercase()).collect()
}

fn next(bytes: &[u8], from: usize, wanted: u8) -> Option<usize> {
    let found = bytes.get(from..)?.iter().position(|byte| *byte == wanted)?;
    Some(from + found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_by_their_names_however_they_are_written() {
        let secrets = Secrets::default().and(["iban", "*_pin"]);
        for name in [
            "password",
            "PASSWORD",
            "new_password",
            "remember_token",
            "rememberToken",
            "api-token",
            "two_factor_secret",
            "two_factor_recovery_codes",
            "stripeApiKey",
            "IBAN",
            "card_pin",
            "_token_-",
            "käse-token",
        ] {
            assert!(secrets.has(name), "{name}");
        }
        for name in [
            "name",
            "password_changed_at",
            "token_count",
            "secretary",
            "pinned",
            "description",
            "",
            "_",
            "oken",
            "my_iban",
        ] {
            assert!(!secrets.has(name), "{name}");
        }
        assert!(!Secrets::default().has("iban"));
    }

    #[test]
    fn values_are_redacted_at_any_depth_and_nothing_else_is_touched() {
        let json = r#"{"a":"password","password":"x\"},y","n":{"l":[1,{"token":[1,{"b":2}],"c":"d"}],"secret":1.5e3},"api_key":null,"passw\u006frd":true,"z":"é"}"#;
        let mark = REDACTED;
        let wanted = format!(
            r#"{{"a":"password","password":{mark},"n":{{"l":[1,{{"token":{mark},"c":"d"}}],"secret":{mark}}},"api_key":{mark},"passw\u006frd":{mark},"z":"é"}}"#
        );
        let redacted = Secrets::default().redacted(json).unwrap();
        assert_eq!(redacted, wanted);
        assert!(serde_json::from_str::<serde_json::Value>(&redacted).is_ok());
        assert_eq!(Secrets::default().redacted(&redacted), None, "once is enough");
        assert_eq!(Secrets::default().redacted(r#"{"a":"b","c":{}}"#), None);
        assert_eq!(Secrets::none().redacted(json), None);
    }
}
