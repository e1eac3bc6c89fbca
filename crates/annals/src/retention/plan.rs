//! What each rule would remove.

use super::policy::Policy;
use crate::error::Result;
use crate::event::Timestamp;
use crate::log::Positions;
use crate::store::{Month, Removed, Retain, Spot, Store, Surveyed};

/// Events that are looked at in one go.
const SLICE: usize = 20_000;

/// What rules would remove now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// For each rule, in the policy's order.
    pub rules: Vec<Due>,
    /// The log's size: events at or above it are not looked at.
    pub below: u64,
    /// Months that go with their tables.
    pub months: Vec<Month>,
}

/// What one rule would remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Due {
    /// What occurred before this; `None` if the rule keeps for ever.
    pub before: Option<Timestamp>,
    /// How much.
    pub goes: Removed,
    /// The earliest of it.
    pub oldest: Option<Timestamp>,
    /// The latest of it.
    pub newest: Option<Timestamp>,
    /// Events as old, which stay since they are under a hold.
    pub held: u64,
}

/// Says what each rule would remove now; `archiving` if what goes is archived first.
///
/// # Errors
/// If the store cannot be read, or nothing is removed from it by rules.
pub async fn plan(
    store: &dyn Store,
    policy: &Policy,
    now: Timestamp,
    archiving: bool,
) -> Result<Plan> {
    let mut looking = Looking::begin(store, policy, now, archiving, usize::MAX).await?;
    // The lists are not kept.
    looking.round(store.retain()?, false).await?;
    let months = looking.whole();
    Ok(Plan { rules: looking.due, below: looking.below, months })
}

/// The events that are old enough for some rule, looked at in the order of their time.
pub(super) struct Looking<'a> {
    policy: &'a Policy,
    /// By rule.
    pub(super) due: Vec<Due>,
    /// By rule, the positions of what goes, of this round.
    pub(super) lists: Vec<Positions>,
    pub(super) below: u64,
    /// The latest time before which something may go; `None` if nothing ever does.
    pub(super) before: Option<Timestamp>,
    /// Where the round began, and where it is.
    pub(super) began: Option<Spot>,
    pub(super) at: Option<Spot>,
    months: Vec<Tally>,
    most_runs: usize,
}

/// A month, and what was seen of it.
struct Tally {
    month: Month,
    goes: u64,
    stays: u64,
}

impl<'a> Looking<'a> {
    /// Begins with the oldest event. A round ends when what goes lies in `most_runs` places
    /// that do not touch.
    pub(super) async fn begin(
        store: &dyn Store,
        policy: &'a Policy,
        now: Timestamp,
        archiving: bool,
        most_runs: usize,
    ) -> Result<Self> {
        let due = |before| Due { before, ..Due::default() };
        let due: Vec<Due> =
            policy.rules().iter().map(|rule| due(rule.before(now, archiving))).collect();
        Ok(Self {
            policy,
            lists: vec![Positions::default(); due.len()],
            below: store.ledger()?.standing().await?.size,
            before: due.iter().filter_map(|due| due.before).max(),
            due,
            began: None,
            at: None,
            months: Vec::new(),
            most_runs,
        })
    }

    /// Looks at the next round; answers whether there is anything behind it. With `listing`
    /// the positions are kept.
    pub(super) async fn round(&mut self, retain: &dyn Retain, listing: bool) -> Result<bool> {
        let Some(before) = self.before else { return Ok(false) };
        self.began = self.at;
        for (due, list) in self.due.iter_mut().zip(&mut self.lists) {
            *due = Due { before: due.before, ..Due::default() };
            *list = Positions::default();
        }
        let months = retain.months().await?.into_iter();
        let whole = |month: &Month| {
            month.until <= before && self.began.is_none_or(|began| began.occurred_at < month.from)
        };
        self.months =
            months.filter(whole).map(|month| Tally { month, goes: 0, stays: 0 }).collect();
        let tags = self.policy.wants_tags();
        loop {
            let events = retain.survey(self.at, before, self.below, tags, SLICE).await?;
            events.iter().for_each(|event| self.look(event, listing));
            let Some(last) = events.last() else { return Ok(false) };
            self.at = Some(last.spot());
            let runs: usize = self.lists.iter().map(|list| list.runs().len()).sum();
            if runs >= self.most_runs {
                // What was not seen of a month may stay.
                self.months.retain(|tally| tally.month.until <= last.occurred_at);
                return Ok(true);
            }
        }
    }

    fn look(&mut self, event: &Surveyed, listing: bool) {
        let rule = self.policy.rule_of(event);
        let due = rule.filter(|rule| {
            let before = self.due[*rule].before;
            before.is_some_and(|before| event.occurred_at < before)
        });
        // The months are in order, and none overlaps another.
        let month = self.months.partition_point(|tally| tally.month.until <= event.occurred_at);
        let month = self.months.get_mut(month);
        let month = month.filter(|tally| tally.month.from <= event.occurred_at);
        let Some(rule) = due else {
            // What is held would move elsewhere when its month goes.
            if let Some(tally) = month.filter(|_| !event.held) {
                tally.stays += 1;
            }
            return;
        };
        let due = &mut self.due[rule];
        if event.held {
            due.held += 1;
            return;
        }
        due.goes.add(Removed { events: 1, bytes: event.bytes });
        due.oldest = due.oldest.or(Some(event.occurred_at));
        due.newest = Some(event.occurred_at);
        if let Some(tally) = month {
            tally.goes += 1;
        }
        if listing {
            self.lists[rule].add(event.position, event.position + 1);
        }
    }

    /// The months of this round that go with their tables.
    pub(super) fn whole(&self) -> Vec<Month> {
        let whole = self.months.iter().filter(|tally| tally.goes > 0 && tally.stays == 0);
        whole.map(|tally| tally.month.clone()).collect()
    }
}
