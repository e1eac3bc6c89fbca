//! Rules, and which of them an event falls under.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::event::Timestamp;
use crate::store::Surveyed;

const DAY: Duration = Duration::from_secs(86_400);

/// Rules in order: the first that matches an event decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// How long events are kept that match all that is given here. Of several tenants, types,
/// actions or tags one is enough; what is not given matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// What it is called, in the trail too.
    pub name: String,
    /// Of one of these tenants.
    pub tenants: Vec<String>,
    /// Of entities of one of these types.
    pub entity_types: Vec<String>,
    /// With one of these actions.
    pub actions: Vec<String>,
    /// With one of these tags.
    pub tags: Vec<String>,
    /// For how long.
    pub keep: Keep,
    /// For how long in the store itself, if what goes from there is archived.
    pub at_hand: Option<Duration>,
    /// Whether what goes is never archived, even if the rest is: it is to be forgotten.
    pub unarchived: bool,
}

/// How long events are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// As long as the store is.
    #[default]
    ForEver,
    /// For this time after they occurred.
    For(Duration),
}

/// Times that requirements name, as whole days that are never short of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// PCI DSS 4.0, 10.5.1: twelve months, three of them at hand.
    PciDss,
    /// HIPAA, 45 CFR 164.316(b)(2)(i): six years.
    Hipaa,
    /// Sarbanes-Oxley, 18 USC 1520 and 17 CFR 210.2-06: seven years.
    Sox,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::PciDss, Self::Hipaa, Self::Sox];

    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PciDss => "pci-dss",
            Self::Hipaa => "hipaa",
            Self::Sox => "sox",
        }
    }

    /// How long events are kept: leap days count.
    #[must_use]
    pub fn keep(self) -> Duration {
        match self {
            Self::PciDss => DAY * 366,
            Self::Hipaa => DAY * (6 * 365 + 2),
            Self::Sox => DAY * (7 * 365 + 2),
        }
    }

    /// How long of that in the store itself.
    #[must_use]
    pub fn at_hand(self) -> Option<Duration> {
        (self == Self::PciDss).then_some(DAY * 92)
    }
}

impl Rule {
    /// What is older goes from the store; `None` if nothing ever does.
    #[must_use]
    pub fn before(&self, now: Timestamp, archiving: bool) -> Option<Timestamp> {
        let keep = match self.keep {
            Keep::ForEver => None,
            Keep::For(time) => Some(time),
        };
        let at_hand = self.at_hand.filter(|_| archiving && !self.unarchived);
        let shortest = [keep, at_hand].into_iter().flatten().min()?;
        Some(now.before(shortest))
    }

    /// Whether it matches every event.
    pub(super) fn is_for_all(&self) -> bool {
        let scope = [&self.tenants, &self.entity_types, &self.actions, &self.tags];
        scope.iter().all(|names| names.is_empty())
    }

    fn matches(&self, event: &Surveyed) -> bool {
        let one_of = |wanted: &[String], is: Option<&str>| {
            wanted.is_empty() || is.is_some_and(|is| wanted.iter().any(|wanted| wanted == is))
        };
        one_of(&self.tenants, event.tenant.as_deref())
            && one_of(&self.entity_types, Some(&event.entity_type))
            && one_of(&self.actions, Some(&event.action))
            && (self.tags.is_empty() || self.tags.iter().any(|tag| event.tags.contains(tag)))
    }
}

impl Policy {
    /// The policy of these rules.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if a name is empty or not its own, or a rule can match nothing
    /// since one before it matches all.
    pub fn new(rules: Vec<Rule>) -> Result<Self> {
        let wrong = |found: String, hint: &str| {
            Err(Error::new(ErrorKind::Usage, "read the rules of retention", found).hint(hint))
        };
        let mut all: Option<&Rule> = None;
        for (index, rule) in rules.iter().enumerate() {
            if rule.name.trim().is_empty() {
                let found = format!("the rule at place {} has no name", index + 1);
                return wrong(found, "give each a name: the trail tells of it");
            }
            if rules[..index].iter().any(|other| other.name == rule.name) {
                let found = format!("two rules are called {:?}", rule.name);
                return wrong(found, "give each a name of its own");
            }
            if let Some(all) = all {
                let found = format!(
                    "{:?} never matches, since {:?} before it matches all",
                    rule.name, all.name
                );
                return wrong(found, "put the rule for all the rest last");
            }
            if rule.is_for_all() {
                all = Some(rule);
            }
        }
        Ok(Self { rules })
    }

    /// The rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule that an event falls under, by its place.
    #[must_use]
    pub fn rule_of(&self, event: &Surveyed) -> Option<usize> {
        self.rules.iter().position(|rule| rule.matches(event))
    }

    /// Whether a rule asks for tags, which are not among the columns.
    pub(super) fn wants_tags(&self) -> bool {
        self.rules.iter().any(|rule| !rule.tags.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;

    fn event(tenant: Option<&str>, kind: &str, action: &str, tags: &[&str]) -> Surveyed {
        let occurred_at = Timestamp::from_micros(0).unwrap();
        Surveyed {
            position: 0,
            id: EventId::at(occurred_at),
            occurred_at,
            bytes: 1,
            held: false,
            tenant: tenant.map(str::to_owned),
            entity_type: kind.to_owned(),
            action: action.to_owned(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        }
    }

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|one| (*one).to_owned()).collect()
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = Policy::new(vec![
            Rule { name: "cards".into(), tags: texts(&["card", "pan"]), ..Rule::default() },
            Rule {
                name: "sign-ins".into(),
                actions: texts(&["login", "logout"]),
                tenants: texts(&["acme"]),
                ..Rule::default()
            },
            Rule { name: "orders".into(), entity_types: texts(&["order"]), ..Rule::default() },
            Rule { name: "rest".into(), ..Rule::default() },
        ])
        .unwrap();
        let rule = |event: Surveyed| policy.rules()[policy.rule_of(&event).unwrap()].name.clone();
        assert_eq!(rule(event(Some("acme"), "order", "login", &["x", "pan"])), "cards");
        assert_eq!(rule(event(Some("acme"), "order", "login", &["x"])), "sign-ins");
        assert_eq!(rule(event(Some("other"), "order", "login", &[])), "orders");
        assert_eq!(rule(event(None, "user", "login", &[])), "rest");
    }

    #[test]
    fn rules_that_cannot_be_meant_are_refused() {
        let named = |name: &str| Rule { name: name.into(), ..Rule::default() };
        let order = Rule { entity_types: texts(&["order"]), ..named("orders") };
        for (rules, found) in [
            (vec![named(" ")], "has no name"),
            (vec![order.clone(), order.clone()], "two rules are called \"orders\""),
            (vec![named("rest"), order], "\"orders\" never matches, since \"rest\""),
        ] {
            let error = Policy::new(rules).unwrap_err();
            assert!(error.found().contains(found), "{error}");
        }
    }

    #[test]
    fn what_is_archived_leaves_the_store_when_it_need_not_be_at_hand() {
        let now = Timestamp::from_micros(2_000_000_000_000_000).unwrap();
        let (keep, at_hand) = (Keep::For(Preset::PciDss.keep()), Preset::PciDss.at_hand());
        let rule = Rule { name: "pci".into(), keep, at_hand, ..Rule::default() };
        assert_eq!(rule.before(now, false), Some(now.before(DAY * 366)));
        assert_eq!(rule.before(now, true), Some(now.before(DAY * 92)));
        let forgotten = Rule { unarchived: true, ..rule.clone() };
        assert_eq!(forgotten.before(now, true), Some(now.before(DAY * 366)));
        let kept = Rule { keep: Keep::ForEver, at_hand: None, ..rule };
        assert_eq!(kept.before(now, true), None);
    }
}
