//! `annals retention`: removes what is older than the configuration's rules keep it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use annals::Timestamp;
use annals::archive::Writer;
use annals::config::RetentionSettings;
use annals::proof::Signer;
use annals::retention::{self, Applied, Apply as Applying, Due, Keep, Rule};
use annals::store::{Removed, Store};
use annals::unit::format_duration;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::prune::{by, cut_short, tell_of_holds};
use crate::failure::Failure;
use crate::remote::Remote;
use crate::render::line::{Clock, time};
use crate::render::shown;
use crate::render::size::{bytes, count, plural};
use crate::render::table::Table;
use crate::session::Session;
use crate::signals::Signals;

/// Remove what is older than the rules of the configuration keep it
#[derive(Debug, Subcommand)]
pub(crate) enum Retention {
    /// Say what each rule would remove now, and remove nothing
    Plan(Plan),
    /// Remove it, beside workers that run
    Apply(Apply),
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    archive: Where,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    archive: Where,
}

#[derive(Debug, Args)]
struct Where {
    /// Write what goes into archive files here first, with proofs, and check them; what need
    /// not be at hand then goes earlier [default: retention.archive]
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
}

impl Retention {
    pub(crate) async fn run(&self, session: &Session) -> Result<(), Failure> {
        if let Some(remote) = session.remote() {
            let Self::Plan(Plan { archive }) = self else {
                return session.here_only("`annals retention apply`", true);
            };
            session.here_only("--archive", archive.archive.is_some())?;
            return far(session, remote).await;
        }
        let mut retention = session.config.retention.clone();
        let (Self::Plan(Plan { archive }) | Self::Apply(Apply { archive })) = self;
        if let Some(directory) = &archive.archive {
            retention.archive = Some(directory.clone());
        }
        if retention.policy.rules().is_empty() {
            return Err(Failure::usage("the configuration has no rules of retention").hint(
                "add [[retention.rule]] to annals.toml, as `annals init` shows; `annals prune` removes by age alone",
            ));
        }
        let store = session.store().await?;
        match self {
            Self::Plan(_) => plan(session, &*store, &retention).await,
            Self::Apply(_) => apply(session, store, &retention).await,
        }
    }
}

async fn plan(
    session: &Session,
    store: &dyn Store,
    retention: &RetentionSettings,
) -> Result<(), Failure> {
    let archiving = retention.archive.is_some();
    let now = Timestamp::now();
    let plan = retention::plan(store, &retention.policy, now, archiving).await?;
    let rules = || retention.policy.rules().iter().zip(&plan.rules);
    if session.out.json() {
        let rules: Vec<Value> = rules().map(|(rule, due)| machine(rule, due)).collect();
        let months: Vec<&str> = plan.months.iter().map(|month| month.name.as_str()).collect();
        return session.out.object(&json!({ "rules": rules, "whole_months": months }));
    }
    let mut table = Table::new(&[
        "RULE",
        "KEEPS",
        "OLDER THAN",
        ">WOULD REMOVE",
        ">SIZE",
        "FROM",
        "TO",
        ">HELD",
    ]);
    let day = |time_of: Option<Timestamp>| {
        time_of.map_or_else(|| "-".to_owned(), |time_of| time(time_of, Clock::Date))
    };
    for (rule, due) in rules() {
        table.row([
            shown(&rule.name).into_owned(),
            keeps(rule),
            day(due.before),
            count(due.goes.events),
            bytes(due.goes.bytes),
            day(due.oldest),
            day(due.newest),
            count(due.held),
        ]);
    }
    session.out.text(table.to_string())?;
    if !plan.months.is_empty() {
        let months = plural(plan.months.len() as u64, "month");
        session.out.line(format!("{months} would go with their tables"))?;
    }
    tell_of_holds(session, store, plan.rules.iter().map(|due| due.held).sum()).await
}

/// What a server says that its rules would remove.
async fn far(session: &Session, remote: &Remote) -> Result<(), Failure> {
    let plan: Value = remote.json("/v1/retention/plan", Vec::new()).await?;
    if session.out.json() {
        return session.out.object(&plan);
    }
    let rules = plan["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    if rules.is_empty() {
        return session.out.line("the server has no rules of retention");
    }
    let mut table =
        Table::new(&["RULE", "OLDER THAN", ">WOULD REMOVE", ">SIZE", "FROM", "TO", ">HELD"]);
    for rule in rules {
        let number = |name: &str| rule[name].as_u64().unwrap_or_default();
        let day = |name: &str| {
            let found = rule[name].as_str().and_then(|text| text.parse::<Timestamp>().ok());
            found.map_or_else(|| "-".to_owned(), |found| time(found, Clock::Date))
        };
        table.row([
            shown(rule["rule"].as_str().unwrap_or_default()).into_owned(),
            day("before"),
            count(number("events")),
            bytes(number("bytes")),
            day("oldest"),
            day("newest"),
            count(number("held")),
        ]);
    }
    session.out.text(table)
}

async fn apply(
    session: &Session,
    store: Arc<dyn Store>,
    retention: &RetentionSettings,
) -> Result<(), Failure> {
    let signer = session.signer_of(Arc::clone(&store))?;
    let mut signals = Signals::listen()?;
    let mut so_far = Removed::default();
    let applied = tokio::select! {
        name = signals.next() => Err(name),
        applied = apply_once(&signer, &*store, retention, |removed| so_far = removed) => Ok(applied?),
    };
    let applied = applied.map_err(|name| cut_short(name, so_far))?;
    let rules = || retention.policy.rules().iter().zip(&applied);
    if session.out.json() {
        let rule = |(rule, applied): (&Rule, &Applied)| {
            json!({
                "rule": rule.name, "held": applied.held,
                "removed": { "events": applied.removed.events, "bytes": applied.removed.bytes },
                "told_by": applied.events.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })
        };
        let rules: Vec<Value> = rules().map(rule).collect();
        return session.out.object(&json!({ "rules": rules }));
    }
    for (rule, applied) in rules() {
        session.out.line(sentence(rule, applied.removed))?;
    }
    tell_of_holds(session, &*store, applied.iter().map(|applied| applied.held).sum()).await
}

/// Applies the rules of the configuration.
pub(crate) async fn apply_once(
    signer: &Signer,
    store: &dyn Store,
    retention: &RetentionSettings,
    progress: impl FnMut(Removed) + Send,
) -> annals::Result<Vec<Applied>> {
    let archivist = retention.archive.clone().map(|directory| Writer::new(directory, signer));
    let mut applying = Applying::new(&retention.policy).by(by()).signed_by(signer);
    if let Some(archivist) = &archivist {
        applying = applying.archived_by(archivist);
    }
    retention::apply(store, &applying, Timestamp::now(), progress).await
}

pub(crate) fn sentence(rule: &Rule, removed: Removed) -> String {
    format!(
        "{}: removed {} ({})",
        shown(&rule.name),
        plural(removed.events, "event"),
        bytes(removed.bytes)
    )
}

fn machine(rule: &Rule, due: &Due) -> Value {
    let text = |time: Option<Timestamp>| time.map(|time| time.to_string());
    json!({
        "rule": rule.name, "before": text(due.before), "held": due.held,
        "would_remove": { "events": due.goes.events, "bytes": due.goes.bytes },
        "oldest": text(due.oldest), "newest": text(due.newest),
    })
}

fn keeps(rule: &Rule) -> String {
    match rule.keep {
        Keep::ForEver => "for ever".to_owned(),
        Keep::For(time) => length(time),
    }
}

/// A time as people write it in the configuration.
fn length(time: Duration) -> String {
    years(time).map_or_else(|| format_duration(time), |years| format!("{years}y"))
}

/// A rule in one line: for how long, and what it is for.
pub(crate) fn described(rule: &Rule) -> String {
    let mut text = format!("{}: {}", rule.name, keeps(rule));
    if let Some(time) = rule.at_hand {
        text.push_str(&format!(", {} of it in the store", length(time)));
    }
    if rule.unarchived {
        text.push_str(", not archived");
    }
    let scope = [
        ("tenant", &rule.tenants),
        ("entity type", &rule.entity_types),
        ("action", &rule.actions),
        ("tag", &rule.tags),
    ];
    for (what, names) in scope.into_iter().filter(|(_, names)| !names.is_empty()) {
        text.push_str(&format!("; {what} {}", names.join(" or ")));
    }
    text
}

/// Of as many days as years have at most, how many years.
fn years(time: Duration) -> Option<u64> {
    let days = time.as_secs() / 86_400;
    (1..=100_u64).find(|years| {
        let most = years * 365 + years.div_ceil(4);
        most == days && time == Duration::from_secs(most * 86_400)
    })
}
