//! Retention by rules: which events go when, and removing them.
//!
//! A [`Policy`] is a list of rules; the first that matches an event says how long it is
//! kept. What no rule matches is kept for ever, and so is what is under a
//! [hold](crate::store::hold). [`plan`] says what each rule would remove now, [`apply`]
//! removes it: all events that are old enough for some rule are looked at once, in the
//! order of their time; what goes is listed, signed and told of in the trail, rule by rule,
//! before the first of it goes; and where all of a month goes that lies in a table of its
//! own, that table is dropped.
//!
//! Constraints: bounded memory, whatever there is to remove, since it is done in rounds;
//! bounded steps, between which appends get their turn; cut short at any point, the trail
//! explains every event that is missing, and applying it again goes on.
//!
//! What it is not: a law. Presets are named after rules that they support, and nobody is
//! certified by setting one.

mod apply;
mod plan;
mod policy;

pub use apply::{Applied, Apply, apply};
pub use plan::{Due, Plan, plan};
pub use policy::{Keep, Policy, Preset, Rule};
