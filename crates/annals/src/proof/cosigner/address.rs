//! Where a witness is, and how it signs.

use std::fmt;
use std::str::FromStr;

use crate::log::{KeyType, VerifierKey};

/// A witness to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WitnessAddress {
    /// The public half of its key.
    pub key: VerifierKey,
    /// What `/add-checkpoint` is put behind, without a slash at its end.
    pub url: String,
}

impl fmt::Display for WitnessAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.url)
    }
}

impl FromStr for WitnessAddress {
    type Err = String;

    /// Reads a verifier key, a space and a URL of http or https.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((key, url)) = text.trim().split_once(char::is_whitespace) else {
            return Err(format!("{text:?} is no witness: give its key, a space and its URL"));
        };
        let key: VerifierKey =
            key.parse().map_err(|fault| format!("{key:?} is no key of a witness: {fault}"))?;
        if key.key_type() != KeyType::Witness {
            return Err(format!(
                "the key {key} is a log's: a witness prints its own when it starts"
            ));
        }
        let url = url.trim();
        if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(format!("{url:?} is no URL of http or https"));
        }
        Ok(Self { key, url: url.trim_end_matches('/').to_owned() })
    }
}
