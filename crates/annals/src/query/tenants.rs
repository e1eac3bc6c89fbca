//! Whose data somebody may see.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Whose data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Tenants {
    /// That of these tenants, and nothing that has no tenant.
    Only(BTreeSet<String>),
    /// All but that of this tenant.
    Besides {
        /// Whose is left out.
        besides: String,
    },
    /// All, and what has no tenant.
    #[default]
    All,
}

impl Tenants {
    /// Whether data of this tenant, or of none, is among it.
    #[must_use]
    pub fn has(&self, tenant: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Only(tenants) => tenant.is_some_and(|tenant| tenants.contains(tenant)),
            Self::Besides { besides } => tenant != Some(besides),
        }
    }

    /// Whether all of another's data is among it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (_, Self::Only(others)) => others.iter().all(|tenant| self.has(Some(tenant))),
            (Self::Only(_), _) => false,
            (Self::Besides { .. }, _) => self == other,
        }
    }

    /// The tenants that it is, if they are named.
    #[must_use]
    pub fn only(&self) -> Option<&BTreeSet<String>> {
        match self {
            Self::Only(tenants) => Some(tenants),
            _ => None,
        }
    }

    /// The tenant that is left out, if one is.
    #[must_use]
    pub fn left_out(&self) -> Option<&str> {
        match self {
            Self::Besides { besides } => Some(besides),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_covers_what_is_what_has_all_of_it() {
        let only = |tenants: &[&str]| {
            Tenants::Only(tenants.iter().map(|tenant| (*tenant).to_owned()).collect())
        };
        let besides = |tenant: &str| Tenants::Besides { besides: tenant.to_owned() };
        let some = [
            Tenants::All,
            only(&[]),
            only(&["a"]),
            only(&["a", "b"]),
            only(&["b", "c"]),
            besides("a"),
            besides("b"),
        ];
        for (one, other) in some.iter().flat_map(|one| some.iter().map(move |other| (one, other))) {
            // "d" stands for all that are not named here.
            let tenants = [None, Some("a"), Some("b"), Some("c"), Some("d")];
            let covers = tenants.iter().all(|tenant| !other.has(*tenant) || one.has(*tenant));
            assert_eq!(one.covers(other), covers, "{one:?} {other:?}");
        }
    }
}
