//! The rules of retention in `annals.toml`, which are tables of their own.
//!
//! ```toml
//! [[retention.rule]]
//! name = "sign-ins"
//! action = ["login", "logout"]
//! keep = "90d"
//! ```

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Origin};
use super::suggest::closest;
use crate::retention::{Keep, Policy, Preset, Rule};
use crate::unit::parse_duration;

/// What a rule may have.
const KEYS: [&str; 9] =
    ["name", "tenant", "entity_type", "action", "tag", "keep", "at_hand", "preset", "archive"];

/// How events are kept that are never removed.
const FOR_EVER: &str = "for ever";

/// Reads the rules; what is wrong with them is added to `faults`, with its place by `at`.
pub(super) fn policy(
    tables: &[Spanned<DeValue<'_>>],
    at: &dyn Fn(usize) -> Origin,
    faults: &mut Vec<Fault>,
) -> Policy {
    let before = faults.len();
    let mut rules = Vec::new();
    for table in tables {
        let mut fault = |offset: usize, what: String| faults.push(Fault::new(at(offset), what));
        match table.get_ref() {
            DeValue::Table(fields) => rules.push(rule(fields, table.span().start, &mut fault)),
            _ => fault(
                table.span().start,
                "`retention.rule` is a list of tables; write [[retention.rule]] before each"
                    .to_owned(),
            ),
        }
    }
    match Policy::new(rules) {
        Ok(policy) => policy,
        // What is wrong with one alone is told already.
        Err(_) if faults.len() > before => Policy::default(),
        Err(error) => {
            let start = tables.first().map_or(0, |table| table.span().start);
            let hint = error.advice().map(|hint| format!("; {hint}")).unwrap_or_default();
            faults
                .push(Fault::new(at(start), format!("`retention.rule`: {}{hint}", error.found())));
            Policy::default()
        }
    }
}

fn rule(table: &DeTable<'_>, start: usize, fault: &mut dyn FnMut(usize, String)) -> Rule {
    let (mut rule, mut keep) = (Rule::default(), None);
    for (name, value) in table {
        let (offset, key) = (name.span().start, name.get_ref().as_ref());
        let mut wrong = |expected: &str| {
            fault(offset, format!("`retention.rule.{key}`: expected {expected}"));
        };
        let text = match value.get_ref() {
            DeValue::String(text) => Some(text.as_ref()),
            _ => None,
        };
        match (key, text) {
            ("name", Some(text)) => text.clone_into(&mut rule.name),
            ("tenant" | "entity_type" | "action" | "tag", _) => match texts(value.get_ref()) {
                Some(texts) => match key {
                    "tenant" => rule.tenants = texts,
                    "entity_type" => rule.entity_types = texts,
                    "action" => rule.actions = texts,
                    _ => rule.tags = texts,
                },
                None => wrong("a text in quotes, or a list of them"),
            },
            ("keep", Some(FOR_EVER)) => keep = Some(Keep::ForEver),
            ("keep", Some(text)) => match time(text) {
                Some(time) => keep = Some(Keep::For(time)),
                None => wrong("a time such as \"90d\" or \"7y\", or \"for ever\""),
            },
            ("at_hand", Some(text)) => match time(text) {
                Some(time) => rule.at_hand = Some(time),
                None => wrong("a time such as \"90d\""),
            },
            ("preset", Some(text)) => match Preset::ALL.iter().find(|preset| preset.name() == text)
            {
                Some(preset) => {
                    keep = keep.or(Some(Keep::For(preset.keep())));
                    rule.at_hand = rule.at_hand.or(preset.at_hand());
                }
                None => wrong(&format!("one of {}", Preset::ALL.map(Preset::name).join(", "))),
            },
            ("archive", _) => match value.get_ref() {
                DeValue::Boolean(archive) => rule.unarchived = !archive,
                _ => wrong("true or false"),
            },
            (key, None) if KEYS.contains(&key) => wrong("a text in quotes"),
            (key, _) => {
                let near = closest(key, KEYS);
                let hint =
                    near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                fault(offset, format!("unknown setting `retention.rule.{key}`{hint}"));
            }
        }
    }
    match keep {
        Some(keep) => rule.keep = keep,
        None => fault(
            start,
            format!("the rule {:?} does not say how long: give it `keep` or a `preset`", rule.name),
        ),
    }
    rule
}

fn texts(value: &DeValue<'_>) -> Option<Vec<String>> {
    match value {
        DeValue::String(text) => Some(vec![text.to_string()]),
        DeValue::Array(list) if !list.is_empty() => list
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}

/// A time with its unit; of years as many days as they have at most.
fn time(text: &str) -> Option<Duration> {
    let time = match text.strip_suffix('y').and_then(|years| years.parse::<u64>().ok()) {
        Some(years) => {
            let days = years.checked_mul(365)?.checked_add(years.div_ceil(4))?;
            Duration::from_secs(days.checked_mul(86_400)?)
        }
        None => parse_duration(text).ok()?,
    };
    (!time.is_zero()).then_some(time)
}
