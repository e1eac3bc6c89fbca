//! Our own keys beside the list, and the scripts that move events between them.

use std::collections::BTreeMap;

use redis::{Cmd, Value};

use super::super::{Receipt, Want};
use crate::event::Timestamp;
use crate::redis::{Call, Script};

/// A script, behind what all of them have.
macro_rules! script {
    ($name:literal) => {
        Script::new(concat!(include_str!("common.lua"), include_str!($name)))
    };
}

static RECEIVE: Script = script!("receive.lua");
static SETTLE: Script = script!("settle.lua");
static BURY: Script = script!("bury.lua");
static REVIVE: Script = script!("revive.lua");
static STATS: Script = script!("stats.lua");

/// The list, and how the names of our keys begin.
#[derive(Debug)]
pub(super) struct Keys {
    list: String,
    own: String,
}

impl Keys {
    pub(super) fn of(list: &str) -> Self {
        // What stands between braces decides which server of a cluster has a key.
        let tagged =
            list.split_once('{').is_some_and(|(_, rest)| rest.find('}').is_some_and(|at| at > 0));
        let own = if tagged { format!("{list}:annals:") } else { format!("{{{list}}}:annals:") };
        Self { list: list.to_owned(), own }
    }

    pub(super) fn list(&self) -> &str {
        &self.list
    }

    fn call(&self, script: &'static Script) -> Call {
        script.on(&[&self.list, &self.own])
    }

    pub(super) fn receive(&self, want: Want, lease: u64) -> Call {
        self.call(&RECEIVE)
            .arg(want.events)
            .arg(want.bytes.max(1))
            .arg(u64::try_from(want.lease.as_millis()).unwrap_or(u64::MAX))
            .arg(lease)
    }

    /// Receipts by their leases, the numbers of each in order and once.
    pub(super) fn settle(&self, what: &str, at: i64, receipts: &[Receipt]) -> Call {
        let mut leases: BTreeMap<u64, Vec<u128>> = BTreeMap::new();
        for receipt in receipts {
            leases.entry(receipt.lease).or_default().push(receipt.key);
        }
        let mut call = self.call(&SETTLE).arg(what).arg(at);
        for (lease, mut numbers) in leases {
            numbers.sort_unstable();
            numbers.dedup();
            let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            call = call.arg(lease).arg(numbers.len()).arg(numbers);
        }
        call
    }

    pub(super) fn bury(&self, burials: &[(Receipt, String)]) -> Call {
        let mut call = self.call(&BURY).arg(Timestamp::now().as_micros());
        for (receipt, why) in burials {
            call = call.arg(receipt.key.to_string()).arg(receipt.lease).arg(why);
        }
        call
    }

    pub(super) fn revive(&self, back: bool, numbers: &[u64]) -> Call {
        self.call(&REVIVE).arg(u8::from(back)).arg(numbers)
    }

    pub(super) fn stats(&self) -> Call {
        self.call(&STATS)
    }

    /// A command that lists what was buried after that number.
    pub(super) fn failed(&self, after: u64, limit: usize) -> Cmd {
        let mut list = redis::cmd("XRANGE");
        list.arg(format!("{}failed", self.own)).arg(format!("({after}-0")).arg("+");
        list.arg("COUNT").arg(limit);
        list
    }
}

/// One that was received before: its number, how often with this time, and what was
/// pushed.
type Again = (u64, u32, Vec<u8>);

/// What the script says: the number of the first from the list, those, and the others.
type Answer = (u64, Vec<Vec<u8>>, Vec<Again>);

/// What a receive brought.
pub(super) struct Received {
    first: u64,
    fresh: Vec<Vec<u8>>,
    again: Vec<Again>,
}

impl Received {
    pub(super) fn of((first, fresh, again): Answer) -> Self {
        Self { first, fresh, again }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.again.is_empty()
    }

    /// Each event's number, how often it was received, and what was pushed: those that
    /// were received before come first.
    pub(super) fn into_events(self) -> impl Iterator<Item = Again> {
        let fresh = (self.first..).zip(self.fresh).map(|(number, payload)| (number, 1, payload));
        self.again.into_iter().chain(fresh)
    }
}

/// One that was buried.
pub(super) struct Failure {
    pub(super) number: u64,
    pub(super) body: Vec<u8>,
    pub(super) reason: String,
    pub(super) attempts: u32,
    pub(super) failed_at: Timestamp,
}

impl Failure {
    /// Those of a page of the stream; `None` if it is none of ours.
    pub(super) fn all(page: Value) -> Option<Vec<Self>> {
        type Entry = (String, Vec<(String, Vec<u8>)>);
        let entries: Vec<Entry> = redis::from_redis_value(page).ok()?;
        entries.into_iter().map(|(id, fields)| Self::of(&id, fields)).collect()
    }

    fn of(id: &str, fields: Vec<(String, Vec<u8>)>) -> Option<Self> {
        let number = id.strip_suffix("-0")?.parse().ok()?;
        let (mut body, mut texts) = (None, BTreeMap::new());
        for (name, value) in fields {
            match name.as_str() {
                "body" => body = Some(value),
                _ => drop(texts.insert(name, String::from_utf8_lossy(&value).into_owned())),
            }
        }
        Some(Self {
            number,
            body: body?,
            attempts: texts.get("attempts")?.parse().ok()?,
            failed_at: Timestamp::from_micros(texts.get("at")?.parse().ok()?)?,
            reason: texts.remove("reason")?,
        })
    }
}
