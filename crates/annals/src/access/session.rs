//! A session of somebody who has signed in.

use serde::{Deserialize, Serialize};

use super::entries::Kept;
use super::person::Person;
use crate::event::Timestamp;

/// How long a session lasts, unless somebody ends it.
pub const SESSION: std::time::Duration = std::time::Duration::from_secs(12 * 3_600);

/// How somebody has shown who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Means {
    /// By their password.
    Password,
    /// By a link that set it.
    Link,
    /// By a provider of identities.
    Provider,
}

/// A session of somebody who has signed in. Its entry is taken by another one when it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Session {
    /// What it is called by: 16 hexadecimal digits.
    #[serde(skip)]
    pub id: String,
    /// Whose it is.
    pub person: String,
    /// How they have shown who they are.
    pub means: Means,
    /// From where, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// With which program, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// When it began.
    #[serde(with = "super::times")]
    pub created_at: Timestamp,
    /// When it ends at the latest.
    #[serde(with = "super::times")]
    pub expires_at: Timestamp,
    /// When it was ended.
    #[serde(with = "super::times::maybe", default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    #[serde(with = "super::digits")]
    pub(super) hash: [u8; 32],
}

impl Session {
    /// Whether it lasts at a time, as far as it decides that itself.
    #[must_use]
    pub fn lasts_at(&self, now: Timestamp) -> bool {
        self.ended_at.is_none() && now < self.expires_at
    }

    /// Whether it was over before it expired, of this person.
    pub(super) fn was_ended(&self, person: &Person) -> bool {
        self.ended_at.is_some()
            || person.sessions_since.is_some_and(|since| self.created_at < since)
            || !person.can_sign_in()
    }
}

impl Kept for Session {
    const KIND: &'static str = "session";
    const WORD: &'static str = "session";
    const LIST: &'static str = "annals people sessions";

    fn id(&self) -> &str {
        &self.id
    }

    fn body(&self) -> String {
        // Texts and nothing else: there is no way to fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn read(id: &str, body: &str) -> Result<Self, String> {
        let read: Self = serde_json::from_str(body).map_err(|error| error.to_string())?;
        Ok(Self { id: id.to_owned(), ..read })
    }
}
