//! Somebody who signs in, and what that one may do.

use serde::{Deserialize, Serialize};

use super::TENANT;
use super::api_key::{ApiKey, Grant, fault_of_tenants};
use super::entries::Kept;
use super::role::Role;
use crate::event::{Actor, Timestamp};
use crate::query::Tenants;

/// Somebody who signs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Person {
    /// What the trail calls them by: 16 hexadecimal digits.
    #[serde(skip)]
    pub id: String,
    /// What they sign in as, such as an address of mail; unlike all others' in more than case.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// With whose data.
    pub tenants: Tenants,
    /// When they were asked in.
    #[serde(with = "super::times")]
    pub created_at: Timestamp,
    /// Since when they may not sign in.
    #[serde(with = "super::times::maybe", default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<Timestamp>,
    /// Who they are at a provider of identities, if they have signed in by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// Their password's hash, if they have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<String>,
    /// The link by which they may set one, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) link: Option<Link>,
    /// Sessions that began before then are over.
    #[serde(with = "super::times::maybe", default, skip_serializing_if = "Option::is_none")]
    pub(super) sessions_since: Option<Timestamp>,
}

/// Who somebody is at a provider of identities (`iss` and `sub` of OpenID Connect).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// The provider.
    pub issuer: String,
    /// What it calls them.
    pub subject: String,
}

/// A link that sets a password, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Link {
    #[serde(with = "super::digits")]
    pub(super) hash: [u8; 32],
    #[serde(with = "super::times")]
    pub(super) expires_at: Timestamp,
}

impl Person {
    pub(super) fn new(id: String, name: &str, role: Role, tenants: Tenants) -> Self {
        Self {
            id,
            name: name.trim().to_owned(),
            role,
            tenants,
            created_at: Timestamp::now(),
            disabled_at: None,
            subject: None,
            password: None,
            link: None,
            sessions_since: None,
        }
    }

    /// What they may do.
    #[must_use]
    pub fn grant(&self) -> Grant {
        self.role.grant(&self.tenants)
    }

    /// As whom they act.
    #[must_use]
    pub fn actor(&self) -> Actor {
        let mut actor = Actor::new("person", &self.id);
        actor.name = Some(self.name.clone().into());
        actor
    }

    /// Whether they have a password or a provider that says who they are.
    #[must_use]
    pub fn can_sign_in(&self) -> bool {
        self.disabled_at.is_none() && (self.password.is_some() || self.subject.is_some())
    }

    /// Until when the link that was made for them last can be used.
    #[must_use]
    pub fn asked_until(&self) -> Option<Timestamp> {
        self.link.as_ref().map(|link| link.expires_at)
    }

    /// Whether they go by that name.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name.to_lowercase() == name.trim().to_lowercase()
    }

    /// What is wrong with it, if something is.
    pub(super) fn fault(&self) -> Option<String> {
        if let Some(fault) = ApiKey::fault_of_name(&self.name) {
            return Some(fault);
        }
        if self.tenants.left_out().is_some() {
            return Some("somebody is for all tenants, or for some".to_owned());
        }
        if let Some(fault) = fault_of_tenants("somebody", &self.tenants) {
            return Some(fault);
        }
        let looks = self.tenants.only().is_some_and(|tenants| tenants.contains(TENANT));
        (looks && !self.role.audits()).then(|| {
            format!(
                "the tenant {TENANT} is for auditors and administrators, and not for a {}",
                self.role
            )
        })
    }
}

impl Kept for Person {
    const KIND: &'static str = "person";
    const WORD: &'static str = "person";
    const LIST: &'static str = "annals people list";

    fn id(&self) -> &str {
        &self.id
    }

    fn body(&self) -> String {
        // Texts, lists and nothing else: there is no way to fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn read(id: &str, body: &str) -> Result<Self, String> {
        let read: Self = serde_json::from_str(body).map_err(|error| error.to_string())?;
        Ok(Self { id: id.to_owned(), ..read })
    }
}
