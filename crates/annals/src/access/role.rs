//! What people may do.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::TENANT;
use super::api_key::{Grant, Scope};
use crate::query::Tenants;

/// What somebody may do, who signs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read the events of applications, and what is said of them.
    Reader,
    /// Look after what could not be stored, and after holds, too.
    Operator,
    /// Read the events of applications, and in the tenant [`TENANT`] who looked at them.
    Auditor,
    /// All of that, and say who may use the server.
    Administrator,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Reader, Self::Operator, Self::Auditor, Self::Administrator];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
            Self::Administrator => "administrator",
        }
    }

    /// What for.
    #[must_use]
    pub fn scopes(self) -> &'static [Scope] {
        match self {
            Self::Reader | Self::Auditor => &[Scope::Read],
            Self::Operator => &[Scope::Read, Scope::Operate],
            Self::Administrator => &[Scope::Read, Scope::Operate, Scope::Administer],
        }
    }

    /// Whether it sees who used the server.
    #[must_use]
    pub fn audits(self) -> bool {
        matches!(self, Self::Auditor | Self::Administrator)
    }

    /// What somebody with this role may do with the data of those.
    pub(super) fn grant(self, tenants: &Tenants) -> Grant {
        let tenants = match tenants {
            Tenants::All if !self.audits() => Tenants::Besides { besides: TENANT.to_owned() },
            tenants => tenants.clone(),
        };
        Grant { scopes: BTreeSet::from_iter(self.scopes().iter().copied()), tenants, source: None }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            format!("expected reader, operator, auditor or administrator, found {text:?}")
        })
    }
}
